"""train --weights COLUMN: rows that count more or less; and what is no weight."""

from __future__ import annotations

import numpy as np
import pytest

from fastgrad import MLP, Adam
from fastgrad._mlp.checkpoint import digest
from fastgrad.cli._untrained import begin
from fastgrad.datasets import stratified_split
from fastgrad.tables import DataError
from support.commands import TRAIN
from support.commands import points as classes
from support.commands import run as run_one

pandas = pytest.importorskip("pandas")
Capture = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("folder")
TRAIN += "--weights w --epochs 6 "


def points(rows: int = 120, seed: int = 0):
    frame = classes(rows, seed, 2)
    return frame.assign(w=np.random.default_rng(seed).integers(0, 5, rows) / 2)


def run(words: str, capsys: Capture, code: int = 0) -> tuple[str, list[str]]:
    out, err = run_one(words, capsys, code)
    return out, err.splitlines()


def test_weights_are_those_of_fit(capsys: Capture) -> None:
    frame = points()
    frame.to_csv("t.csv", index=False)
    out, _ = run(TRAIN + "--save m.npz", capsys)
    zero = int((frame.w == 0).sum())
    said = f"column 'w', how much a row counts, from 0 to 2, 0 in {zero} of 120"
    assert f"\nweights: {said}\n" in out and "\ninputs: 4 columns as 4 numbers\n" in out
    model = MLP.load("m.npz")
    table = model.table
    assert table is not None and table.weights == "w" and "w" not in table.dropped
    x, y, w = table.encode(frame), table.encode_target(frame), table.encode_weights(frame)
    assert np.array_equal(w, frame.w)
    train, held = stratified_split(y)
    same = begin(MLP(model.sizes, optimizer=Adam(0.003)), table)
    same.fit(x[train], y[train], 6, 32, weights=w[train], progress=False)
    assert digest(same) == digest(model)
    right = np.average(model.predict(x[held]) == y[held], weights=w[held])
    assert f"\naccuracy  {100 * right:.2f} % of the held-out fifth, by weight: " in out
    right = np.average(model.predict(x) == y, weights=w)
    _, err = run("predict m.npz --data t.csv", capsys)
    assert err[0].startswith(f"accuracy: {100 * right:.2f} %, by weight, ")


def test_files_to_predict_may_have_no_weights(capsys: Capture) -> None:
    frame = points()
    frame.to_csv("t.csv", index=False)
    run(TRAIN + "--save m.npz", capsys)
    whole, _ = run("predict m.npz --data t.csv", capsys)
    frame.drop(columns=["kind", "w"]).to_csv("n.csv", index=False)
    assert run("predict m.npz --data n.csv", capsys) == (whole, [])
    frame.drop(columns="w").to_csv("n.csv", index=False)
    out, err = run("predict m.npz --data n.csv", capsys)
    assert out == whole and "weight" not in err[0]
    frame.assign(w=-1).to_csv("n.csv", index=False)
    out, err = run("predict m.npz --data n.csv", capsys)
    assert out == whole and "weight" not in err[1]
    assert err[0].startswith(
        "all rows count alike: line 2, column 'w', the weights: -1 is negative"
    )
    table = MLP.load("m.npz").table
    assert table is not None
    with pytest.raises(DataError, match=r"^no column 'w', the weights$"):
        table.encode_weights(frame.drop(columns="w"))


def test_rows_that_validate_count_as_well(capsys: Capture) -> None:
    frame, other = points(), points(60, 1)
    frame.to_csv("t.csv", index=False)
    other.to_csv("v.csv", index=False)
    run(TRAIN + "--validation v.csv --save m.npz --resume", capsys)
    model = MLP.load("m.npz")
    table = model.table
    assert table is not None
    parts = (table.encode(other), table.encode_target(other), table.encode_weights(other))
    last = {name: values[-1] for name, values in model.history.items()}
    for name, value in model.evaluate(*parts).items():
        assert last[f"validation_{name}"] == value
    fit = begin(MLP(model.sizes, optimizer=Adam(0.003)), table).fit
    y = table.encode_target(frame)
    train, _ = stratified_split(y)
    x, w = table.encode(frame), table.encode_weights(frame)
    history = fit(x[train], y[train], 6, 32, parts, False, weights=w[train])
    assert history["validation_loss"] == model.history["validation_loss"]
    with pytest.raises(ValueError, match=r"^MLP.fit \(validation\): weights\["):
        fit(x, y, 1, 32, (*parts[:2], -parts[2]), False)
    out, _ = run(TRAIN + "--validation v.csv --save m.npz --resume", capsys)
    assert "m.npz: nothing is left after epoch 6 of 6" in out
    frame.assign(w=frame.w + 1).to_csv("t.csv", index=False)
    _, err = run(TRAIN + "--validation v.csv --save m.npz --resume", capsys, 2)
    assert "--resume: m.npz was trained on other data" in err[0]
    other.drop(columns="w").to_csv("v.csv", index=False)
    _, err = run(TRAIN + "--validation v.csv", capsys, 2)
    assert err == ["fastgrad train: --validation v.csv: no column 'w', the weights"]
    other.assign(w=0).to_csv("v.csv", index=False)
    _, err = run(TRAIN + "--validation v.csv", capsys, 2)
    assert err[0].startswith(
        "fastgrad train: --validation v.csv: line 2 and all others, column 'w'"
    )


def test_a_regression_counts_its_errors(capsys: Capture) -> None:
    frame = points().drop(columns="kind")
    frame.assign(y=2 * frame.a - frame.b).to_csv("t.csv", index=False)
    out, _ = run("train --data t.csv --target y --weights w --epochs 2 --save m.npz", capsys)
    assert "mean absolute, of the held-out fifth, by weight; " in out
    assert ", by weight" in run("predict m.npz --data t.csv", capsys)[1][-1]


def test_files_without_a_header(capsys: Capture) -> None:
    frame = points()[["kind", "a", "b", "w", "c", "d"]]
    frame.to_csv("t.csv", index=False, header=False)
    run("train --data t.csv --target 1 --weights 4 --epochs 2 --save m.npz", capsys)
    whole, _ = run("predict m.npz --data t.csv", capsys)
    frame.drop(columns=["kind", "w"]).to_csv("n.csv", index=False, header=False)
    assert run("predict m.npz --data n.csv", capsys) == (whole, [])
    frame.drop(columns="kind").to_csv("n.csv", index=False, header=False)
    _, err = run("predict m.npz --data n.csv", capsys, 2)
    assert "has no header and 5 columns; the model's table has 6, or 4 without target and" in err[0]


@pytest.mark.parametrize(
    ("w", "words"),
    [
        ([1, -0.5], "line 3, column 'w', the weights: -0.5 is negative; a weight is 0 or more"),
        ([1, ""], "line 3, column 'w', the weights: no value; a weight must be there, 0 for a row"),
        ([1, "x"], "line 3, column 'w', the weights: 'x' is not a number"),
        ([1, "?"], "line 3, column 'w', the weights: no value; a weight"),
        ([1, "inf"], "line 3, column 'w', the weights: inf is too large for float32"),
        ([1, "1e39"], "line 3, column 'w', the weights: 1e+39 is too large for float32"),
        (["2020-01-01", "2020-01-02"], "line 2, column 'w', the weights: '2020-01-01' is not a nu"),
        ([True, False], "column 'w', the weights: 'False' is not a number"),
        ([0, 0], "line 2 and all others, column 'w', the weights: 0; a row or more must count"),
    ],
)
def test_what_is_no_weight(w: list[object], words: str, capsys: Capture) -> None:
    points().drop(columns="w").assign(w=(w * 60)[:120]).to_csv("t.csv", index=False)
    _, err = run(TRAIN, capsys, 2)
    assert len(err) == 1 and err[0].startswith("fastgrad train: --data t.csv: ") and words in err[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--weights kind", "column 'kind' is both in --weights and in --target"),
        ("--drop w", "column 'w' is both in --weights and in --drop"),
        ("--columns a,w", "column 'w' is both in --weights and in --columns"),
        ("--weights v", "--weights: no column named 'v' (columns: 'a', "),
        ("--data t.npz", "--weights names a column of a table such as a .csv file; t.npz holds "),
    ],
)
def test_columns_that_cannot_be_weights(options: str, words: str, capsys: Capture) -> None:
    points().to_csv("t.csv", index=False)
    np.savez("t.npz", x=np.ones((9, 2)), y=np.arange(9) % 2)
    command = TRAIN if "npz" not in options else TRAIN.replace("--target kind ", "")
    _, err = run(command + options, capsys, 2)
    assert len(err) == 1 and words in err[0]


def test_parts_whose_weights_are_all_0(capsys: Capture) -> None:
    frame = points()
    _, held = stratified_split(frame.kind.to_numpy())
    only = np.isin(np.arange(120), held)
    for weights, words in ((only, "to train on"), (~only, "that are held out")):
        frame.assign(w=weights.astype(int)).to_csv("t.csv", index=False)
        _, err = run(TRAIN, capsys, 2)
        assert err[0].endswith(f"rows {words}")
