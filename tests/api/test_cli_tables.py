"""train and predict on tables: what is learned, from what, by which names; and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from fastgrad import MLP
from fastgrad._mlp.checkpoint import digest
from fastgrad.tables import DataError, sums
from fastgrad.tables.table import from_plain, to_plain
from support.commands import TRAIN, accuracy, line, points, run, write

pandas = pytest.importorskip("pandas")
Capture = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("folder")
TRAIN += "--epochs 20 "


# names ------------------------------------------------------------------------------------------


def test_columns_of_other_files_are_matched_by_name(capsys: Capture) -> None:
    write(points())
    others = points(60, 1)
    write(others, "same.csv")
    write(others[["d", "kind", "b", "a", "c"]], "order.csv")
    outs = []
    for name in ("same", "order"):
        options = f"--validation {name}.csv --patience 3 --save {name}.npz"
        outs.append(run(TRAIN + options, capsys)[0])
    assert line(outs[0], "best") == line(outs[1], "best") != ""
    assert digest(MLP.load("same.npz")) == digest(MLP.load("order.npz"))
    predicted = [run(f"predict same.npz --data {n}.csv", capsys) for n in ("same", "order")]
    assert predicted[0] == predicted[1] and predicted[0][1].startswith("accuracy: 9")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="b"), "no column 'b', which the model was trained with"),
        (lambda f: f.rename(columns={"b": "B"}), "no column 'b', which"),
        (lambda f: f.assign(z=1), "column 'z': the model was trained without; leave it out (--dr"),
        (lambda f: f.drop(columns="kind"), "no column 'kind', the target"),
        (lambda f: f.assign(kind=f.kind + 1), "line 4, column 'kind': '3' is none of the model's"),
        (lambda f: f.assign(a=["x", *f.a[1:]]), "line 2, column 'a': 'x' is not a number"),
        (lambda f: f.assign(a=[np.inf, *f.a[1:]]), "line 2, column 'a': inf is not a finite num"),
    ],
)
def test_validation_files_that_do_not_match(change, words: str, capsys: Capture) -> None:
    write(points())
    write(change(points(60, 1)), "v.csv")
    _, err = run(TRAIN + "--validation v.csv", capsys, 2)
    assert err.startswith(f"fastgrad train: --validation v.csv: {words}")


def test_a_column_of_the_validation_file_alone_is_dropped(capsys: Capture) -> None:
    write(points())
    write(points(60, 1).assign(z=1), "v.csv")
    assert "60 to validate with" in run(TRAIN + "--validation v.csv --drop z", capsys)[0]
    _, err = run(TRAIN + "--validation v.csv --drop zz,z", capsys, 2)
    assert "--drop: no column named 'zz'" in err


def test_files_without_a_header(capsys: Capture) -> None:
    frame = points()[["kind", "a", "b", "c", "d"]]
    frame.to_csv("t.csv", index=False, header=False)
    out, _ = run("train --data t.csv --epochs 20 --save m.npz", capsys)
    assert "t.csv: 120 rows, 5 columns, no header\n" in out
    assert "\ntarget: column '1', 3 classes, 0 to 2 (the one column that looks like cl" in out
    frame.drop(columns="kind").to_csv("new.csv", index=False, header=False)
    predicted, _ = run("predict m.npz --data new.csv", capsys)
    assert predicted == run("predict m.npz --data t.csv", capsys)[0]
    write(points())
    _, err = run(TRAIN + "--save m.npz", capsys)
    _, err = run("predict m.npz --data new.csv", capsys, 2)
    assert "new.csv: has no header, but that of the model's table names the columns" in err


# the target ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("a b c d class", "column 'class', 3 classes, 0 to 2"),
        ("a y c x class", "column 'class', 3 classes, 0 to 2"),
        ("a b c d Label", "column 'Label', 3 classes, 0 to 2"),
        (
            "a b c d kind",
            "column 'kind', 3 classes, 0 to 2 (the one column that looks like classes; "
            "--target chooses another)",
        ),
        ("a b c d Y", "column 'Y', 3 classes, 0 to 2"),
    ],
)
def test_the_target_is_said(names: str, said: str, capsys: Capture) -> None:
    for order in ([0, 1, 2, 3, 4], [4, 0, 1, 2, 3]):
        frame = points().set_axis(names.split(), axis=1).iloc[:, order]
        write(frame)
        out, _ = run("train --data t.csv --epochs 1", capsys)
        assert f"\ntarget: {said}\n" in out


def test_a_target_that_is_not_known(capsys: Capture) -> None:
    write(points().assign(other="x").assign(other=list("xyz") * 40))
    _, err = run("train --data t.csv", capsys, 2)
    assert "'kind', 'other' could each be it; say which is to be learned with --target" in err
    write(points().set_axis(list("xzcdy"), axis=1))
    assert (
        "\ntarget: column 'y', 3 classes, 0 to 2\n"
        in run("train --data t.csv --epochs 1", capsys)[0]
    )
    write(points().rename(columns={"a": "class", "kind": "target"}))
    _, err = run("train --data t.csv", capsys, 2)
    assert "to learn is 'class' (column 1) or 'target' (column 5); say which" in err
    write(points().drop(columns="kind"))
    _, err = run("train --data t.csv", capsys, 2)
    assert "and none looks like classes; say which" in err


LABELS = {
    "tens": lambda y: 10 * (y + 1),
    "far apart": lambda y: 65_535 * (y > 0),
    "-1 and 1": lambda y: 2 * (y % 2) - 1,
    "bools": lambda y: y % 2 == 1,
    "texts": lambda y: np.array(["low", "not so low", "höher"])[y],
    "large": lambda y: 10**15 + y,
    "whole floats": lambda y: y * 1.0,
    "halves": lambda y: y / 2,
}


@pytest.mark.parametrize("kind", ["csv", "npz"])
@pytest.mark.parametrize("case", LABELS)
def test_labels_keep_their_names(case: str, kind: str, capsys: Capture) -> None:
    frame = points()
    y = LABELS[case](frame.kind.to_numpy())
    if kind == "csv":
        write(frame.assign(kind=y))
    else:
        np.savez("t.npz", x=frame[list("abcd")].to_numpy(), y=y)
    target = "--target kind" if kind == "csv" else ""
    task = "--task classification" if case == "halves" else ""
    out, _ = run(f"train --data t.{kind} {target} {task} --epochs 20 --save m.npz", capsys)
    classes = len(np.unique(y))
    assert f", {classes} classes" in out and MLP.load("m.npz").sizes == (4, 128, classes)
    predicted, err = run(f"predict m.npz --data t.{kind} --proba", capsys)
    names = [str(int(v)) if case == "whole floats" else str(v) for v in y.tolist()]
    if case == "halves":
        names = [name.removesuffix(".0") for name in names]
    header, *rows = predicted.splitlines()
    assert header.split(",")[1:] == sorted(set(names), key=(lambda n: n) if case in (
        "texts", "bools") else float)  # fmt: skip
    found = [row.split(",")[0].removesuffix(".0") for row in rows]
    assert np.mean([a == b for a, b in zip(found, names, strict=True)]) > 0.9
    assert err.startswith("accuracy: ") and float(err.split()[1]) > 90
    probabilities = np.array([row.split(",")[1:] for row in rows], float)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_regression(kind: str, capsys: Capture) -> None:
    frame = points(300)
    y = 250_000 + 40_000 * frame.a - 10_000 * frame.b
    if kind == "csv":
        write(frame.assign(kind=y))
    else:
        np.savez("t.npz", x=frame[list("abcd")].to_numpy(), y=y)
    target = "--target kind" if kind == "csv" else ""
    command = f"train --data t.{kind} {target} --validation 0.1 --patience 60 --save m.npz --resume"
    run(command + " --epochs 10", capsys)
    out, _ = run(command + " --epochs 60", capsys)
    assert "240 rows" not in out and "a fifth drawn with seed 0" in out
    assert ": a regression\n" in out and "goes on after epoch 10 of 60" in out
    words = line(out, "error").split()
    assert 0 < float(words[0]) < 12_000 and float(words[words.index("R2") + 1]) > 0.97
    assert "the same with 1 thread and with 2" in line(out, "threads")
    model = MLP.load("m.npz")
    assert model.loss == "mse" and model.sizes[-1] == 1 and model.table is not None
    predicted, err = run(f"predict m.npz --data t.{kind}", capsys)
    values = np.array(predicted.splitlines()[1:], float)
    assert np.sqrt(np.mean((values - y) ** 2)) == pytest.approx(float(err.split()[1]), rel=1e-3)
    assert float(err.split()[1]) < 12_000
    _, err = run(f"predict m.npz --data t.{kind} --proba", capsys, 2)
    assert "--proba: the model is a regression" in err


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda f: f.assign(kind=range(120)), "--task classification",
         "column 'kind': 120 of 120 classes have one row; for a number to be learned pass --task "),
        (lambda f: f.assign(kind=[f"n{i}" for i in range(120)]), "",
         "column 'kind': 120 of 120 classes have one row; choose another --target"),
        (lambda f: f.assign(kind="x"), "", "column 'kind': is 'x' in every row; nothing can be"),
        (lambda f: f.assign(kind=1.5), "", "column 'kind': is 1.5 in every row"),
        (lambda f: f.assign(kind=[None, *f.kind[1:]]), "", "line 2, column 'kind': no value, and"),
        (lambda f: f.assign(kind=list("xyz") * 40), "--task regression",
         "line 2, column 'kind': 'x' is not a number, as a regression needs"),
        (lambda f: f.assign(kind=[*f.a[1:], np.inf]), "", "line 121, column 'kind': inf is not"),
        (lambda f: f, "--target e", "no column named 'e' (columns: 'a', 'b', 'c', 'd', 'kind')"),
        (lambda f: f, "--drop e", "--drop: no column named 'e'"),
        (lambda f: f, "--columns a,e", "--columns: no column named 'e'"),
        (lambda f: f, "--drop a,b,c,d", "no column is left to learn from beside 'kind'"),
        (lambda f: f.assign(e=np.nan), "", "column 'e' is empty; leave it out (--drop e)"),
        (lambda f: f.assign(Id=f.index[::-1]), "", "column 'Id' numbers the rows, and says nothin"),
        (lambda f: f.assign(e=f.index), "", "column 'e' numbers the rows"),
        (lambda f: f.assign(e=f.index + 1.0), "", "column 'e' numbers the rows"),
        (lambda f: f.assign(e=[f"n{i}" for i in f.index]).loc[list(range(120)) * 2], "",
         "different texts; up to 100 are one-hot encoded; leave out what names rows (--drop e)"),
        (lambda f: f.assign(a=["x", *f.a[1:]]), "", "line 2, column 'a': 'x' is not a number, as"),
        (lambda f: f.assign(a=[1e39, *f.a[1:]]), "--no-standardize",
         "line 2, column 'a': 1e+39 is too large for float32; leave --no-standardize out"),
        (lambda f: f.head(3), "", "column 'kind': 3 of 3 classes have one row"),
        (lambda f: f.head(2).assign(kind=f.a[:2]), "--task regression", "2 rows are too few to"),
    ],
)  # fmt: skip
def test_tables_that_teach_nothing(change, options: str, words: str, capsys: Capture) -> None:
    write(change(points()))
    _, err = run(f"train --data t.csv --target kind {options}", capsys, 2)
    assert words in err


def test_rare_classes_are_named(capsys: Capture) -> None:
    y = np.array([*("x" * 60), *("y" * 57), "z", "z", "w"])
    write(points().assign(kind=y))
    out, _ = run(TRAIN, capsys)
    assert "\nrare: no row of class 'w', 'z' is held out: they have 2 or fewer\n" in out


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy_with_logits"])
def test_losses(loss: str, capsys: Capture) -> None:
    write(points().assign(kind=lambda f: np.where(f.kind == 1, "ja", "nein")))
    out, _ = run(TRAIN + f"--loss {loss} --save m.npz", capsys)
    assert accuracy(out) > 80 and " us beside " in line(out, "step")
    assert MLP.load("m.npz").sizes[-1] == (2 if loss[0] == "s" else 1)
    predicted, err = run("predict m.npz --data t.csv --proba", capsys)
    rows = [row.split(",") for row in predicted.splitlines()]
    assert rows[0] == ["prediction", "ja", "nein"] and float(err.split()[1]) > 80
    assert all((float(ja) > 0.5) == (name == "ja") for name, ja, _ in rows[1:])


# the inputs ---------------------------------------------------------------------------------------


def mixed(rows: int = 120):
    i = np.arange(rows)
    return pandas.DataFrame({
        "size": np.where(i % 10 == 0, np.nan, i * 37 % 101 / 7),
        "colour": np.array(["red", "blue", None, "green"], object)[i % 4],
        "since": (np.datetime64("2020-01-01") + i).astype(str),
        "flag": i % 5 == 0,
        "unused": 1,
        "kind": np.array(["yes", "no"])[i // 60],
    })  # fmt: skip


def test_everything_that_is_done_is_said(capsys: Capture) -> None:
    write(mixed())
    out, _ = run(TRAIN + "--drop unused --save m.npz", capsys)
    for words in (
        "t.csv: 120 rows, 6 columns",
        "target: column 'kind', 2 classes: no, yes",
        "inputs: 4 columns as 7 numbers",
        "standardised: 1 column of numbers, by mean and deviation of the training rows (--no-stand",
        "one-hot: 'colour' 3, 'flag' 2 texts (up to 100 a column)",
        "dates: 'since', as days since 1970-01-01, standardised",
        "filled: missing values by the mean, 'size' 12 by ",
        "missing texts: 'colour' 30, are 0 in all of their columns",
        "left out: 'unused'",
    ):
        assert f"\n{words}" in "\n" + out, words
    Path("new.csv").write_text(
        "since,flag,colour,size\n2020-01-02,True,pink,\n2020-04-28 12:00,False,,3\n"
    )
    predicted, err = run("predict m.npz --data new.csv", capsys)
    assert predicted == "prediction\nyes\nno\n"
    assert "unknown: 1 text that the training rows have not, such as 'pink' in 'colour'" in err


def test_the_numbers(capsys: Capture) -> None:
    """By the formula, of the rows that are trained on."""
    frame = mixed()
    write(frame)
    run(TRAIN + "--drop unused --save m.npz", capsys)
    table = MLP.load("m.npz").table
    assert table is not None and table.columns is not None
    size, colour, since, flag = table.columns
    assert (colour.texts, flag.texts) == (("blue", "green", "red"), ("False", "True"))
    x = table.encode(frame, np.float64)
    assert x.shape == (120, 7) and x.dtype == np.float64
    expected = (frame["size"].fillna(size.fill) - size.center) / size.scale
    np.testing.assert_array_equal(x[:, 0], expected)
    names = frame["colour"].tolist()
    assert [row.tolist() for row in x[:, 1:4]] == [
        [float(n == c) for c in ("blue", "green", "red")] for n in names
    ]
    days = 18_262 + np.arange(120)
    np.testing.assert_array_equal(x[:, 4], (days - since.center) / since.scale)
    shuffled = frame.iloc[::-1, ::-1].reset_index(drop=True)
    assert np.array_equal(table.encode(shuffled, np.float64)[::-1], x)
    shuffled["since"] = pandas.to_datetime(shuffled["since"])
    shuffled["colour"] = shuffled["colour"].astype("category")
    shuffled["size"] = shuffled["size"].astype("Float64")
    assert np.array_equal(table.encode(shuffled, np.float64)[::-1], x)
    with pytest.raises(
        DataError, match=r"^no column 'flag', which the model was trained with \(col"
    ):
        table.encode(frame.drop(columns="flag"))
    with pytest.raises(DataError, match=r"^row 5, column .size.: .x. is not a number$"):
        table.encode(frame.assign(size=["x" if i == 5 else 1 for i in range(120)]))
    assert table.decode(np.array([0, 1])).tolist() == ["no", "yes"]


def test_integers_that_float32_would_merge(capsys: Capture) -> None:
    frame = pandas.DataFrame({"t": 1_600_000_000 + 7 * np.arange(100) % 700})
    frame["kind"] = np.where(frame.t < 1_600_000_350, "a", "b")
    write(frame)
    for options in ("", "--no-standardize"):
        out, _ = run(f"{TRAIN} --epochs 60 --columns t {options} --save m.npz", capsys)
        assert accuracy(out) >= 95
        table = MLP.load("m.npz").table
        assert table is not None and len(np.unique(table.encode(frame))) == 100
    assert "standardised all the same: 't', whose numbers float32 would merge" in out


def test_numbers_as_they_are(capsys: Capture) -> None:
    frame = points()
    write(frame)
    run(TRAIN + "--no-standardize --save m.npz --columns b,a", capsys)
    table = MLP.load("m.npz").table
    assert table is not None and table.dropped == ("c", "d")
    assert np.array_equal(table.encode(frame), frame[["a", "b"]])
    assert table.encode(frame, np.float32).dtype == np.float32


def test_sums_are_exact_enough_and_of_one_order(rng: np.random.Generator) -> None:
    values = 1e9 + rng.standard_normal(100_003)
    mean, deviation = sums.mean_and_deviation(values)
    assert mean == pytest.approx(values.mean(), rel=1e-15)
    assert deviation == pytest.approx(values.std(), rel=1e-9)
    assert (mean, deviation) == sums.mean_and_deviation(values[::-1][::-1].copy())
    assert sums.mean_and_deviation(np.full(7, 0.1)) == (0.1, 0.0)
    large = sums.mean_and_deviation(np.array([1e300, -1e300, 1e300, -1e300]))
    assert large == (0.0, 1e300)
    small = sums.mean_and_deviation(np.array([0.0, 4e-300]))
    assert small == (pytest.approx(2e-300), pytest.approx(2e-300))
    assert sums.total(np.array([1.0, 2.0, 4.0])) == 7


# files --------------------------------------------------------------------------------------------


def test_the_table_lies_in_the_file(capsys: Capture) -> None:
    write(mixed())
    run(TRAIN + "--drop unused --save m.npz", capsys)
    model = MLP.load("m.npz")
    table = model.table
    assert table is not None and from_plain(json.loads(json.dumps(to_plain(table)))) == table
    with pytest.raises(AttributeError, match="table cannot be assigned"):
        model.table = None  # type: ignore[misc]
    with pytest.raises(AttributeError):
        table.header = False  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(model)).table == table
    model.save("n.npz")
    assert Path("n.npz").read_bytes() == Path("m.npz").read_bytes()
    model.reset()
    assert model.table == table and MLP((4, 3)).table is None
    with np.load("m.npz", allow_pickle=False) as file:
        assert file["table"].dtype == np.uint8


@pytest.mark.parametrize(
    "change",
    [
        lambda p: [],
        lambda p: p | {"columns": []},
        lambda p: p | {"columns": 3},
        lambda p: p | {"columns": p["columns"][1:]},
        lambda p: p | {"columns": [[*p["columns"][0][:3], 0.0, *p["columns"][0][4:]]]},
        lambda p: p | {"columns": [["a", "picture", *p["columns"][0][2:]]]},
        lambda p: p | {"columns": [p["columns"][0][:5]]},
        lambda p: p | {"header": 1},
        lambda p: p | {"dropped": "x"},
        lambda p: p | {"target": p["target"] | {"task": "ranking"}},
        lambda p: p | {"target": p["target"] | {"classes": ["a"]}},
        lambda p: p | {"target": p["target"] | {"classes": list("abcdefg")}},
        lambda p: p | {"target": p["target"] | {"scale": "1"}},
        lambda p: p | {"target": p["target"] | {"kind": "integer"}},
        lambda p: {name: p[name] for name in p if name != "header"},
        lambda p: "[" * 5000,
    ],
)
def test_tables_that_are_damaged(change, capsys: Capture) -> None:
    write(mixed())
    run(TRAIN + "--drop unused --epochs 1 --save m.npz", capsys)
    with np.load("m.npz") as file:
        arrays = dict(file)
    changed = change(json.loads(arrays["table"].tobytes()))
    text = changed if isinstance(changed, str) else json.dumps(changed)
    np.savez("m.npz", **(arrays | {"table": np.frombuffer(text.encode(), np.uint8)}))
    with pytest.raises(ValueError, match=r"^MLP.load: m.npz: "):
        MLP.load("m.npz")
    _, err = run("predict m.npz --data t.csv", capsys, 2)
    assert err.startswith("fastgrad predict: m.npz: ")


@pytest.mark.parametrize(
    "options", ["--drop a", "--no-standardize", "--target a --task regression"]
)
def test_resuming_with_another_table(options: str, capsys: Capture) -> None:
    write(points().assign(e=1))
    command = "train --data t.csv --save m.npz --resume --epochs 2 --target kind "
    run(command, capsys)
    _, err = run(command + options, capsys, 2)
    assert err.startswith("fastgrad train: --resume: m.npz was trained ")


# options ------------------------------------------------------------------------------------------


def test_layers_are_those_that_are_hidden(capsys: Capture) -> None:
    write(points())
    for given, sizes in (
        ("16", (4, 16, 3)),
        ("16,8", (4, 16, 8, 3)),
        ("none", (4, 3)),
        ("4,16,3", (4, 16, 3)),  # all of them
        ("4,3", (4, 3)),
        ("4,16", (4, 4, 16, 3)),
    ):
        run(TRAIN + f"--layers {given} --epochs 1 --save m.npz", capsys)
        assert MLP.load("m.npz").sizes == sizes


def test_options_that_the_library_has(capsys: Capture) -> None:
    write(points())
    options = "--weight-decay 0.01 --max-grad-norm 0.5 --threads 2 --save m.npz"
    out, _ = run(TRAIN + options, capsys)
    model = MLP.load("m.npz")
    assert (model.optimizer.weight_decay, model.max_grad_norm) == (0.01, 0.5)
    assert line(out, "step").startswith("not timed: plain numpy's step has no weight decay")
    first = line(out, "weights")
    out, _ = run(TRAIN + options.replace("--threads 2", "--threads 1"), capsys)
    assert line(out, "weights") == first


def test_predictions_of_models_without_a_table(capsys: Capture) -> None:
    x = points()[list("abcd")].to_numpy(np.float32)
    y = points().kind.to_numpy()
    model = MLP((4, 8, 3))
    model.save("m.npz")
    np.savez("x.npz", x=x)
    np.savez("xy.npz", x=x, y=y)
    expected = "\n".join(["prediction", *map(str, model.predict(x)), ""])
    assert run("predict m.npz --data x.npz", capsys) == (expected, "")
    out, err = run("predict m.npz --data xy.npz", capsys)
    assert out == expected and err.startswith("accuracy: ")
    points()[list("abcd")].astype(np.float32).to_csv("x.csv", index=False)
    assert run("predict m.npz --data x.csv", capsys) == (expected, "")
    write(points())
    _, err = run("predict m.npz --data t.csv", capsys, 2)
    assert "--data t.csv: has 5 columns but the model takes 4" in err
    assert run("predict m.npz --data t.csv --drop kind", capsys)[0] == expected
    out, _ = run("predict m.npz --data x.npz --proba --output p.csv", capsys)
    assert out == "p.csv: 120 predictions\n"
    rows = Path("p.csv").read_text().splitlines()
    assert rows[0] == "prediction,0,1,2" and len(rows) == 121
    MLP((4, 8, 2), loss="mse").save("m.npz")
    assert run("predict m.npz --data x.npz", capsys)[0].startswith("prediction 0,prediction 1\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("absent.npz --data t.csv", "absent.npz: No such file"),
        ("t.csv --data t.csv", "t.csv: not a whole .npz file"),
        ("m.npz --data absent.csv", "--data 'absent.csv': No such file"),
        ("m.npz --data x.npz", "--data x.npz: the model learned a table, whose columns have names"),
        ("m.npz --data t.csv --output o.parquet", "--output o.parquet: a .csv is written"),
        ("m.npz --data t.csv --output no/o.csv", "--output no/o.csv: cannot be written: No such"),
        ("m.npz", "the following arguments are required: --data"),
        ("m.npz --data t.csv --separator ab", "argument --separator: 'ab': give one character"),
        ("m.npz --data t.csv --decimal x", "argument --decimal: 'x': give point or comma"),
        ("m.npz --data t.csv --drop ,", "argument --drop: ',': give names of columns"),
    ],
)
def test_mistakes_of_predict(words: str, message: str, capsys: Capture) -> None:
    write(points())
    run(TRAIN + "--epochs 1 --save m.npz", capsys)
    np.savez("x.npz", x=np.zeros((3, 4)))
    out, err = run(f"predict {words}", capsys, 2)
    assert out == "" and err.startswith(f"fastgrad predict: {message}")
