"""Scores and times of fastgrad.sklearn beside scikit-learn's own MLP, on its data sets.

    python benchmarks/compare/sklearn_mlp.py
    python benchmarks/compare/sklearn_mlp.py --data digits --solver adam --dtype float32

Ten seeds: each splits the rows, standardises by those to train on and, for a regressor, the
targets, and fits both in turns with default settings. A time is that of the whole fit; printed are
medians, the median of the ratios of a seed and the lowest of them. A score is of the rows kept
apart, accuracy or R², as mean ± standard deviation of the seeds.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fastgrad.sklearn

KINDS = {
    "iris": "MLPClassifier",
    "wine": "MLPClassifier",
    "breast_cancer": "MLPClassifier",
    "digits": "MLPClassifier",
    "diabetes": "MLPRegressor",
    "linnerud": "MLPRegressor",
}
HEAD = """\
| data | solver | dtype | its score | our score | its ms | our ms | ratio | lowest |
|---|---|---|---|---|---|---|---|---|"""


def split(name: str, seed: int) -> tuple[Any, Any, Any, Any]:
    """x and y to train on, x and y kept apart."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    classes = y if KINDS[name] == "MLPClassifier" else None
    x, x_apart, y, y_apart = train_test_split(x, y, random_state=seed, stratify=classes)
    scaler = StandardScaler().fit(x)
    x, x_apart = scaler.transform(x), scaler.transform(x_apart)
    if classes is None:
        y, y_apart = (y - y.mean(0)) / y.std(0), (y_apart - y.mean(0)) / y.std(0)
    return x, y, x_apart, y_apart


def fit(module: Any, name: str, seed: int, data: Any, **settings: Any) -> tuple[float, float]:
    """Milliseconds, score."""
    x, y, x_apart, y_apart = data
    estimator = getattr(module, KINDS[name])(random_state=seed, **settings)
    start = time.perf_counter()
    estimator.fit(x, y)
    taken = time.perf_counter() - start
    return 1e3 * taken, float(estimator.score(x_apart, y_apart))


def row(name: str, solver: str, dtype: str, seeds: int) -> str:
    """The two fits of each seed, now one first and now the other, as a row of the table."""
    found: dict[Any, list[tuple[float, float]]] = {neural_network: [], fastgrad.sklearn: []}
    more = {neural_network: {}, fastgrad.sklearn: {"dtype": dtype}}
    fit(
        fastgrad.sklearn, name, 0, split(name, 0), solver=solver, dtype=dtype, max_iter=2
    )  # compiles
    for seed in range(seeds):
        data = split(name, seed)
        for module in list(found)[:: 1 if seed % 2 else -1]:
            found[module].append(fit(module, name, seed, data, solver=solver, **more[module]))
    (theirs, their_scores), (ours, our_scores) = (np.array(v).T for v in found.values())
    ratios = theirs / ours
    scores = (f"{s.mean():.3f} ± {s.std():.3f}" for s in (their_scores, our_scores))
    return (
        f"| {name} | {solver} | {dtype} | {' | '.join(scores)} | {np.median(theirs):.0f} "
        f"| {np.median(ours):.1f} | {np.median(ratios):.1f} | {ratios.min():.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=KINDS, action="append")
    parser.add_argument("--solver", choices=["adam", "sgd"], action="append")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(HEAD)
    for name in args.data or KINDS:
        for solver in args.solver or ["adam", "sgd"]:
            print(row(name, solver, args.dtype, args.seeds), flush=True)


if __name__ == "__main__":
    main()
