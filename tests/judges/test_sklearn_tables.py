"""Accuracy on files as people have them, beside scikit-learn's pipeline on the same rows.

The pipeline fills, standardises and one-hot encodes, and trains a network of the same shape by the
same optimizer. The medians over first weights are compared: of three in each run, of ten in the
nightly one. ``pytest -m judges -rP`` prints the table.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastgrad import MLP, Adam
from fastgrad.cli import _report, main
from fastgrad.cli._untrained import begin
from fastgrad.datasets import stratified_split
from support.lookalikes import FORMATS, Sample

pandas = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
Capture = pytest.CaptureFixture[str]
EPOCHS = 60
APART = 0.03  # of a share or of R2; or half more than a row


def score(sample: Sample, truth, predicted, mean: float) -> float:
    if sample.is_regression:
        return float(1 - np.mean((predicted - truth) ** 2) / np.mean((truth - mean) ** 2))
    return float(np.mean(predicted == truth))


def ours(sample: Sample, frame, first: MLP, train, held, seeds: int) -> list[float]:
    """The model of the command line, and others of its table with other first weights."""
    table = first.table
    assert table is not None
    x, y = table.encode(frame), table.encode_target(frame)
    truth = frame[table.target.name].to_numpy()[held]
    found = []
    for seed in range(seeds):
        model = first
        if seed:
            model = begin(
                MLP(first.sizes, loss=first.loss, optimizer=Adam(0.003), seed=seed), table
            )
            model.fit(x[train], y[train], EPOCHS, 32, progress=False)
        predicted = table.decode(model.predict(x[held]))
        found.append(score(sample, truth, predicted, table.target.center))
    return found


def theirs(sample: Sample, frame, target: str, train, held, seeds: int) -> list[float]:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    y = frame[target].to_numpy()
    x = frame.drop(columns=[target, *sample.dropped])
    for name in x.columns:
        if name == "dteday":
            x[name] = pandas.to_datetime(x[name]).astype("int64") / 8.64e13
    numbers = [n for n in x.columns if x[n].dtype.kind in "iuf"]
    texts = [n for n in x.columns if n not in numbers]
    found = []
    for seed in range(seeds):
        net = (MLPRegressor if sample.is_regression else MLPClassifier)(
            hidden_layer_sizes=(128,), alpha=0, learning_rate_init=0.003, batch_size=32,
            max_iter=EPOCHS, n_iter_no_change=EPOCHS, random_state=seed,
        )  # fmt: skip
        pipe = make_pipeline(
            ColumnTransformer([
                ("n", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
                ("t", OneHotEncoder(handle_unknown="ignore"), texts),
            ]),
            net,
        )  # fmt: skip
        scale = (y[train].mean(), y[train].std()) if sample.is_regression else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            learned = (y[train] - scale[0]) / scale[1] if scale else y[train]
            pipe.fit(x.iloc[train], learned)
            predicted = pipe.predict(x.iloc[held])
        if scale:
            predicted = predicted * scale[1] + scale[0]
        found.append(score(sample, y[held], predicted, scale[0] if scale else 0.0))
    return found


@pytest.mark.parametrize("seeds", [3, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FORMATS)
def test_beside_sklearn(
    name: str, seeds: int, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = FORMATS[name]()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_report, "SAMPLE", 0.001)
    Path(sample.file).write_bytes(sample.data)
    options = [word.replace("Unnamed:_0", "Unnamed: 0") for word in sample.options.split()]
    command = ["train", "--data", sample.file, *options, "--epochs", str(EPOCHS)]
    assert main([*command, "--save", "m.npz"]) == 0
    out = capsys.readouterr().out
    frame = pandas.read_csv(sample.file, sep=sample.separator, **sample.reads)
    frame.columns = sample.names
    model = MLP.load("m.npz")
    assert model.table is not None
    target = model.table.target
    strata = np.zeros(len(frame), np.int64)
    if not sample.is_regression:
        strata = model.table.encode_target(frame)
    train, held = stratified_split(strata)
    mine = ours(sample, frame, model, train, held, seeds)
    peers = theirs(sample, frame, target.name, train, held, seeds)
    print(
        f"{name:<17} {np.median(mine):.3f} ({min(mine):.3f} to {max(mine):.3f})  scikit-learn "
        f"{np.median(peers):.3f} ({min(peers):.3f} to {max(peers):.3f}), {seeds} seeds"
    )
    shown = r"^error .* R2 (\S+) " if sample.is_regression else r"^accuracy +(\S+) %"
    value = float(re.findall(shown, out, re.M)[0])
    assert value == pytest.approx(mine[0] * (1 if sample.is_regression else 100), abs=0.006)
    assert np.median(mine) >= np.median(peers) - max(APART, 1.5 / len(held))
