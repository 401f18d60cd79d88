"""fastgrad.sklearn beside scikit-learn's own: one random_state, the same fit but for rounding.

Parameters, curves, counts and predictions are compared after a few epochs of each solver, schedule,
loss and kind of target. A difference in what is computed would be seen in the first digits; that of
rounding is 1e-15 an epoch, and grows with the steps.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn import neural_network
from sklearn.datasets import load_iris, load_linnerud, make_multilabel_classification

import fastgrad.sklearn

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:lbfgs failed"),
]
ROUNDING = 1e-9  # of parameters, relative to the largest: 30 epochs grow 1e-15 to less than 1e-13
THEIRS: Any = neural_network
HAS_WEIGHTS = "sample_weight" in inspect.signature(THEIRS.MLPClassifier.fit).parameters  # 1.7
by_kind = pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])

SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "adam, betas": {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "alpha": 0.1},
    "sgd": {"solver": "sgd", "batch_size": 7},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
    "plain momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.01},
    "no momentum": {"solver": "sgd", "momentum": 0, "shuffle": False, "alpha": 0},
    "momentum 1": {"solver": "sgd", "momentum": 1, "learning_rate_init": 1e-3, "max_iter": 5},
    "stops": {"tol": 0.02, "n_iter_no_change": 3},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 4},
    "lbfgs": {"solver": "lbfgs", "max_iter": 10},
    "lbfgs, max_fun": {"solver": "lbfgs", "max_fun": 5},
    "two layers": {"hidden_layer_sizes": (9, 8), "activation": "tanh", "batch_size": 20},
    "logistic": {"activation": "logistic", "hidden_layer_sizes": 6},
    "identity": {"activation": "identity", "hidden_layer_sizes": [6]},
}


def data(kind: str) -> tuple[Any, Any]:
    if kind == "MLPClassifier":
        x, y = load_iris(return_X_y=True)
    else:
        x, y = load_linnerud(return_X_y=True)
        y = (y - y.mean(0)) / y.std(0)
    return (x - x.mean(0)) / x.std(0), y


def pair(kind: str, **settings: Any) -> tuple[Any, Any]:
    """Theirs and ours."""
    given = {"random_state": 3, "max_iter": 25, "hidden_layer_sizes": (12,), **settings}
    return getattr(THEIRS, kind)(**given), getattr(fastgrad.sklearn, kind)(**given)


def assert_agree(theirs: Any, ours: Any, x: Any) -> None:
    for name in public(theirs):
        a, b = getattr(theirs, name), getattr(ours, name)
        if name in ("coefs_", "intercepts_"):
            for p, q in zip(a, b, strict=True):
                assert p.dtype == q.dtype
                assert np.max(np.abs(p - q)) <= ROUNDING * np.max(np.abs(p)), name
        elif a is None or isinstance(a, str):
            assert a == b, name
        else:
            np.testing.assert_allclose(b, a, rtol=ROUNDING, err_msg=name)
    np.testing.assert_allclose(
        ours.predict(x).astype(float), theirs.predict(x).astype(float), rtol=ROUNDING
    )
    if hasattr(theirs, "predict_proba"):
        for method in ("predict_proba", "predict_log_proba"):
            np.testing.assert_allclose(
                getattr(ours, method)(x), getattr(theirs, method)(x), rtol=1e3 * ROUNDING
            )


def public(estimator: Any) -> list[str]:
    """Fitted attributes."""
    return sorted(name for name in vars(estimator) if name.endswith("_") and name[0] != "_")


@by_kind
@pytest.mark.parametrize("name", SETTINGS)
def test_fits_agree(kind: str, name: str) -> None:
    x, y = data(kind)
    theirs, ours = (e.fit(x, y) for e in pair(kind, **SETTINGS[name]))
    assert public(ours) == public(theirs)
    assert_agree(theirs, ours, x)


@by_kind
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.skipif(not HAS_WEIGHTS, reason="this scikit-learn has no sample_weight")
def test_weights_agree(kind: str, solver: str) -> None:
    x, y = data(kind)
    w = np.random.default_rng(0).uniform(0, 2, len(x)) * (np.arange(len(x)) % 3 > 0)
    theirs, ours = (
        e.fit(x, y, sample_weight=w) for e in pair(kind, solver=solver, max_iter=8, batch_size=10)
    )
    assert_agree(theirs, ours, x)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("early", [False, True])
def test_two_classes_and_several_labels_agree(solver: str, early: bool) -> None:
    x, y = data("MLPClassifier")
    many = make_multilabel_classification(60, 5, n_classes=4, random_state=0)
    for a, t in ((x[:100], y[:100]), many):
        settings = {"solver": solver, "early_stopping": early, "max_iter": 8}
        theirs, ours = (e.fit(a, t) for e in pair("MLPClassifier", **settings))
        assert_agree(theirs, ours, a)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_poisson_agrees(solver: str) -> None:
    if "loss" not in inspect.signature(THEIRS.MLPRegressor).parameters:
        pytest.skip("this scikit-learn has no loss='poisson'")
    x, _ = data("MLPClassifier")
    y = np.random.default_rng(0).poisson(np.exp(x[:, :2] / 2))
    theirs, ours = (
        e.fit(x, y) for e in pair("MLPRegressor", loss="poisson", solver=solver, max_iter=8)
    )
    assert_agree(theirs, ours, x)


@by_kind
@pytest.mark.parametrize("early", [False, True])
def test_a_warm_start_agrees(kind: str, early: bool) -> None:
    """Curves, counts and the best so far go on."""
    x, y = data(kind)
    for settings in ({"solver": "sgd", "learning_rate": "invscaling"}, {"solver": "adam"}):
        theirs, ours = pair(kind, warm_start=True, early_stopping=early, max_iter=6, **settings)
        for _ in range(2):
            assert_agree(theirs.fit(x, y), ours.fit(x, y), x)


@by_kind
def test_partial_fits_agree(kind: str) -> None:
    x, y = data(kind)
    more = {"classes": [0, 1, 2]} if kind == "MLPClassifier" else {}
    theirs, ours = pair(kind, learning_rate_init=0.01)
    for part in range(3):
        rows = slice(part * 5, part * 5 + 40)
        for e in (theirs, ours):
            e.partial_fit(x[rows], y[rows], **more)
    assert_agree(theirs, ours, x)


@by_kind
def test_parameters_are_theirs_and_ours_stand_behind_them(kind: str) -> None:
    theirs, ours = (
        inspect.signature(getattr(m, kind)).parameters for m in (THEIRS, fastgrad.sklearn)
    )
    shared = [p for p in ours.values() if p.name in theirs]
    assert [(p.name, p.default, p.kind) for p in shared] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]
    assert list(ours)[-1] == "dtype" and ours["dtype"].default is None
    assert set(ours) - set(theirs) <= {"dtype", "loss"}  # loss came with 1.7
