"""Files as people have them: held-out accuracy of `fastgrad train` beside scikit-learn's pipelines.

    python benchmarks/compare/table_accuracy.py [--seeds 10] [--format iris_csv ...] [-- OPTIONS]

The files are the look-alikes of tests/support/lookalikes.py. A seed draws the rows held out, the
same on all sides, and the first weights. scikit-learn fills, standardises and one-hot encodes; its
network is that of the command (a hidden layer of 128, Adam(0.003), batches of 32, 60 epochs, no
penalty), or the one it has by default (100, Adam(0.001), batches of 200, 200 epochs, alpha 1e-4).
Printed: means and standard deviations over the seeds, of the share of right classes or of R2, in
per cent, and the mean difference to the same network with its standard error. OPTIONS are those of
`fastgrad train`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tables import markdown

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from support.lookalikes import FORMATS, Sample

SAME = {
    "hidden_layer_sizes": (128,), "alpha": 0, "learning_rate_init": 0.003, "batch_size": 32,
    "max_iter": 60, "n_iter_no_change": 60,
}  # fmt: skip


def score(sample: Sample, truth: Any, predicted: Any, mean: float) -> float:
    if sample.is_regression:
        return float(100 * (1 - np.sum((predicted - truth) ** 2) / np.sum((truth - mean) ** 2)))
    return float(100 * np.mean(predicted == truth))


def ours(sample: Sample, seed: int, options: list[str]) -> Any:
    """The model that the command makes, without what it says of it in the end."""
    from fastgrad.cli import _parser
    from fastgrad.cli._prepare import prepare

    words = [word.replace("Unnamed:_0", "Unnamed: 0") for word in sample.options.split()]
    command = ["train", "--data", sample.file, *words, "--seed", str(seed), *options]
    job = prepare(_parser().parse_args(command))
    job.model.fit(job.x, job.y, job.epochs, job.batch_size, progress=False)
    return job.model


def theirs(sample: Sample, x: Any, y: Any, settings: dict[str, Any], seed: int) -> Any:
    """(rows to train on) -> a fitted pipeline."""
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [n for n in x.columns if x[n].dtype.kind in "iuf"]
    texts = [n for n in x.columns if n not in numbers]
    kind = MLPRegressor if sample.is_regression else MLPClassifier
    net = kind(random_state=seed, **settings)
    if sample.is_regression:
        net = TransformedTargetRegressor(net, transformer=StandardScaler())
    columns = [
        ("n", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        ("t", OneHotEncoder(handle_unknown="ignore"), texts),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(ColumnTransformer(columns), net).fit(x, y)


def one(name: str, seed: int, options: list[str]) -> tuple[float, float, float]:
    import pandas

    from fastgrad.datasets import stratified_split

    sample = FORMATS[name]()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path(sample.file).write_bytes(sample.data)
        model = ours(sample, seed, options)
        frame = pandas.read_csv(sample.file, sep=sample.separator, **sample.reads)
    frame.columns = sample.names
    table = model.table
    target = table.target
    strata = np.zeros(len(frame), np.int64)
    if not sample.is_regression:
        strata = table.encode_target(frame)
    train, held = stratified_split(strata, seed)
    truth = frame[target.name].to_numpy()
    predicted = table.decode(model.predict(table.encode(frame)[held]))
    found = [score(sample, truth[held], predicted, target.center)]
    x = frame.drop(columns=[target.name, *sample.dropped])
    for column in x.columns:
        if column == "dteday":
            x[column] = pandas.to_datetime(x[column]).astype("int64") / 8.64e13
    settings: tuple[dict[str, Any], ...] = (SAME, {})
    for some in settings:
        pipe = theirs(sample, x.iloc[train], truth[train], some, seed)
        found.append(score(sample, truth[held], pipe.predict(x.iloc[held]), target.center))
    return found[0], found[1], found[2]


def row(name: str, found: list[tuple[float, float, float]]) -> list[str]:
    values = np.array(found)
    cells = [
        f"{m:.1f} ± {s:.1f}" for m, s in zip(values.mean(0), values.std(0, ddof=1), strict=True)
    ]
    apart = values[:, 0] - values[:, 1]
    error = apart.std(ddof=1) / np.sqrt(len(apart))
    measure = "R2" if FORMATS[name]().is_regression else "right"
    return [name.replace("_", " "), measure, *cells, f"{apart.mean():+.1f} ± {error:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--format", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTGRAD_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # a process a seed instead
    rows = []
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for name in args.format:
            jobs = [pool.submit(one, name, seed, args.options) for seed in range(args.seeds)]
            rows.append(row(name, [job.result() for job in jobs]))
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ["file", "measure", "fastgrad", "scikit-learn, same network", "scikit-learn, its own",
            "fastgrad less the same"]  # fmt: skip
    print(markdown(head, rows))


if __name__ == "__main__":
    main()
