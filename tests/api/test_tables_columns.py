"""What is in the columns of tables: gaps by other names, signs around numbers, dates, indices; and
which of them is learned. Each is said, or refused with the remedy."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest

from fastgrad import MLP
from fastgrad._ops import optimizers
from support.commands import TRAIN, accuracy, points, run, write

pandas = pytest.importorskip("pandas")
pytestmark = pytest.mark.usefixtures("folder")
Capture = pytest.CaptureFixture[str]
TRAIN += "--epochs 1 "


@pytest.mark.parametrize("gap", ["-", ".", "\\N", "missing", "n.a.", "#N/A", "NULL"])
def test_gaps_by_other_names(gap: str, capsys: Capture) -> None:
    frame = points()
    frame.loc[::7, "a"] = np.nan
    write(frame)
    expected, _ = run(TRAIN, capsys)
    assert "\nfilled: missing values by the mean, 'a' 18 by " in expected
    frame.to_csv("g.csv", index=False, na_rep=gap)
    frame.to_csv("c.csv", index=False, na_rep=gap, sep=";", decimal=",")
    for name in ("g", "c"):
        out, _ = run(TRAIN.replace("t.csv", f"{name}.csv") + "--save m.npz", capsys)
        assert out.splitlines()[2:7] == expected.splitlines()[2:7]
    frame.head(1).to_csv("g.csv", index=False, na_rep=gap)
    assert "filled: missing" in run("predict m.npz --data g.csv", capsys)[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.a.map("${:.2f}".format), "is no plain number; write it as 1234.5, or leave "),
        (lambda f: f.a.map("{:.1f} %".format), "is no plain number"),
        (lambda f: (1e6 + 1e5 * f.a).map("{:,.0f}".format), "is no plain number"),
        (lambda f: f.a.map(str).str.replace(".", ","), "pass --decimal comma"),
        (lambda f: [f"n{min(i, 110)}" for i in f.index], " different texts; nearly every row has"),
        (lambda f: f.index.map("Doe, Mr. {}".format), "96 different texts; nearly every row has"),
        (lambda f: [f"0{1 + i % 9}/0{1 + i % 5}/2024" for i in f.index],
         "which is the day and which the month of '01/01/2024' cannot be told; write it as 2024"),
        (lambda f: 1000 + f.index, "column 'a' numbers the rows"),
        (lambda f: np.random.default_rng(0).permutation(120), "column 'a' numbers the rows"),
    ],
)  # fmt: skip
def test_columns_that_are_no_inputs(change, words: str, capsys: Capture) -> None:
    frame = points()
    write(frame.assign(a=change(frame)))
    _, err = run(TRAIN, capsys, 2)
    assert words in err and "--drop a" in err


@pytest.mark.parametrize("name", ["id", "customer_id", "PassengerId", "Row", "index"])
def test_ids_are_refused(name: str, capsys: Capture) -> None:
    ids = np.random.default_rng(0).permutation(10_000)[:120]
    write(points().assign(**{name: ids}))
    assert f"column '{name}' numbers the rows" in run(TRAIN, capsys, 2)[1]
    write(points().assign(humid=ids, squid=ids % 7))
    out, _ = run(TRAIN, capsys)
    assert "\nnote: 'humid' is a different whole number in every row; if it names rows, le" in out
    assert "'squid' is" not in out


def test_numbers_that_stand_for_none_are_said(capsys: Capture) -> None:
    frame = points()
    frame.loc[::9, "b"] = -999
    frame.loc[::9, "c"] = 7
    write(frame)
    out, _ = run(TRAIN, capsys)
    assert out.count("\nnote: ") == 1
    assert (
        "note: 'b' is -999 in 14 rows, far from all others; if that stands for no value, l" in out
    )


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y", "%d.%m.%y %H:%M", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%Y %H:%M:%S", "%d-%b-%Y",
             "%Y-%m-%dT%H:%M:%SZ"],
)  # fmt: skip
def test_dates(form: str, capsys: Capture) -> None:
    moments = pandas.Series(
        np.datetime64("2023-12-20T00:00") + np.arange(120) * np.timedelta64(1, "D")
    )
    write(points().assign(day=moments.dt.strftime(form)))
    out, _ = run(TRAIN + "--save m.npz", capsys)
    assert "\ndates: 'day', as days since 1970-01-01, standardised\n" in out
    table = MLP.load("m.npz").table
    assert table is not None and table.columns is not None
    x = table.encode(points().assign(day=moments))
    y = table.encode(points().assign(day=moments.dt.strftime(form)))
    np.testing.assert_array_equal(x, y)
    _, err = run(TRAIN.replace("kind", "day"), capsys, 2)
    assert "120 of 120 classes have one row" in err


def test_targets_that_are_not_guessed(capsys: Capture) -> None:
    frame = points()
    write(frame[["a", "kind", "b", "c"]])
    _, err = run("train --data t.csv", capsys, 2)
    assert "'kind', which could be it, stands neither first nor last; say which" in err
    write(frame.set_axis(["x", "y", "c", "d", "kind"], axis=1))
    _, err = run("train --data t.csv", capsys, 2)
    assert "'y', 'kind' could each be it; say which" in err
    write(frame.assign(d=np.arange(120) // 2).astype({"d": str}).assign(d=lambda f: "t" + f.d))
    assert "'d', 'kind' could each be it" in run("train --data t.csv", capsys, 2)[1]
    _, err = run("train --data t.csv --target Kind", capsys, 2)
    assert err.endswith(
        "no column named 'Kind' (columns: 'a', 'b', 'c', 'd', 'kind'; 'kind' is one)"
    )


def test_classes_that_are_large_numbers(capsys: Capture) -> None:
    for values in ([-1e300, 0.0, 1e300], [7, 2**53 + 1, 2**63 + 5]):
        frame = points()
        frame["kind"] = np.array(values)[frame.kind]
        write(frame)
        run(TRAIN + "--epochs 20 --save m.npz", capsys)
        _, err = run("predict m.npz --data t.csv", capsys)
        assert float(err.split()[1]) > 90


def test_as_many_are_held_out_as_is_said(capsys: Capture) -> None:
    write(points(180).assign(kind=[f"c{i // 3}" for i in range(180)]))
    out, _ = run(TRAIN, capsys)
    assert "144 rows to train on, 36 held out, a fifth of each class" in out
    assert (
        out.count("rare: no row of class ") == 1 and "and 19 more is held out: they have 3" in out
    )


def test_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = points()
    write(frame)
    run(TRAIN + "--save m.npz", capsys)
    expected = run("predict m.npz --data t.csv", capsys)
    text = frame.to_csv(index=False).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run("predict m.npz --data -", capsys) == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert "standard input: 120 rows, 5 columns\n" in run(TRAIN.replace("t.csv", "-"), capsys)[0]


def test_layout_of_other_files_is_said(capsys: Capture) -> None:
    frame = points()
    write(frame)
    frame.to_csv("s.csv", index=False, sep=";", decimal=",")
    said = "s.csv: 120 rows, 5 columns, separated by semicolons, decimal commas"
    out, _ = run(TRAIN + "--validation s.csv --save m.npz", capsys)
    assert f"\n--validation: {said}\n" in out
    out, err = run("predict m.npz --data s.csv --proba", capsys)
    assert err.startswith(f"{said}\n")
    for cell in out.splitlines()[1].split(",")[1:]:  # the digits of float32, and no more
        assert str(np.float32(cell)) == cell


def test_adam_with_a_decay_tells_nothing(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "_has_told", False)
    write(points())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("adam", "adamw"):
            options = f"--optimizer {name} --weight-decay 0.01 --epochs 20 --save {name}.npz"
            assert accuracy(run(TRAIN + options, capsys)[0]) > 80
            run(f"predict {name}.npz --data t.csv", capsys)
    kinds = [type(MLP.load(f"{name}.npz").optimizer).__name__ for name in ("adam", "adamw")]
    assert kinds == ["Adam", "AdamW"] and not optimizers._has_told
