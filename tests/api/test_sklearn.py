"""fastgrad.sklearn at work: pipelines, searches, files, frames, kinds of targets, and mistakes."""

from __future__ import annotations

import hashlib
import pickle
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgrad.datasets import load_digits

pytest.importorskip("sklearn")
import joblib
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastgrad
from fastgrad.sklearn import MLPClassifier, MLPRegressor
from fastgrad.sklearn.rows import GATHERED, Batches, Rows
from support.printed import promised

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
KINDS = [MLPClassifier, MLPRegressor]
by_kind = pytest.mark.parametrize("kind", KINDS)


def small(kind: Any = MLPClassifier, **settings: Any) -> Any:
    return kind(**{"hidden_layer_sizes": 8, "max_iter": 5, "random_state": 0, **settings})


def digest(estimator: Any) -> str:
    arrays = [*estimator.coefs_, *estimator.intercepts_]
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()[:16]


# with the rest of scikit-learn -----------------------------------------------------------------


@pytest.mark.process
def test_a_search_in_two_processes() -> None:
    pipeline = make_pipeline(StandardScaler(), small(max_iter=60, learning_rate_init=0.05))
    grid = {"mlpclassifier__alpha": [1e-4, 1e-1], "mlpclassifier__dtype": ["float32", None]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=3).fit(X, Y)
    assert search.best_score_ > 0.9
    alone = GridSearchCV(pipeline, grid, cv=3).fit(X, Y)
    for name in ("mean_test_score", "std_test_score"):
        np.testing.assert_array_equal(search.cv_results_[name], alone.cv_results_[name])


def test_a_pipeline_is_cross_validated() -> None:
    x, y = load_diabetes(return_X_y=True)
    regressor = small(MLPRegressor, max_iter=300, learning_rate_init=0.05, early_stopping=True)
    assert cross_val_score(make_pipeline(StandardScaler(), regressor), x, y, cv=3).mean() > 0.35


def test_the_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "sklearn.md"
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    exec(compile(code, str(page), "exec"), {})
    assert capsys.readouterr().out.splitlines() == promised(code)


@by_kind
def test_copies_of_an_estimator(kind: Any, tmp_path: Path) -> None:
    """clone has the parameters alone; pickle and joblib all, and they train on as it does."""
    one = small(kind, activation="gelu", dtype="float32").fit(X, Y)
    assert clone(one).get_params() == one.get_params() and not hasattr(clone(one), "coefs_")
    joblib.dump(one, tmp_path / "model.joblib")
    copies = [pickle.loads(pickle.dumps(one)), joblib.load(tmp_path / "model.joblib")]
    wanted = one.predict(X).tobytes()
    assert all(copy.predict(X).tobytes() == wanted for copy in copies)
    for estimator in (one, *copies):
        estimator.partial_fit(X[:20], Y[:20])
    assert {digest(e) for e in copies} == {digest(one)}


def test_a_file_that_memory_maps(tmp_path: Path) -> None:
    one = small().fit(X, Y)
    joblib.dump(one, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert digest(mapped.partial_fit(X, Y)) == digest(one.partial_fit(X, Y))


def test_frames_and_names() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    names = pandas.Series(np.array(["setosa", "versicolor", "virginica"])[Y])
    classifier = small(max_iter=100, learning_rate_init=0.05).fit(frame, names)
    assert list(classifier.feature_names_in_) == list("abcd")
    assert set(classifier.predict(frame)) <= set(names)
    assert classifier.score(frame, names) > 0.8
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(frame[list("dcba")])


# what is computed ------------------------------------------------------------------------------


BITS = {
    ("adam", "float32"): "cc4169eb1eb0ee94",
    ("adam", "float64"): "17692b4c7ae66812",
    ("sgd", "float32"): "5496595f034fbeed",
    ("sgd", "float64"): "f955e2016bf36ae0",
}


@pytest.mark.parametrize("solver, dtype", BITS)
def test_a_random_state_gives_the_same_bits_everywhere(solver: str, dtype: str) -> None:
    """On every CPU, for any number of threads."""
    x, y = load_digits()
    fits = []
    for threads in (1, 2):
        with fastgrad.num_threads(threads):
            fits.append(small(solver=solver, dtype=dtype, max_iter=3).fit(x[:600] / 16, y[:600]))
    assert [digest(e) for e in fits] == 2 * [BITS[solver, dtype]]


@by_kind
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "silu"])
def test_further_activations(kind: Any, activation: str) -> None:
    estimator = small(kind, activation=activation, max_iter=200, learning_rate_init=0.05)
    assert estimator.fit(X, Y).score(X, Y) > 0.8


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32, None])
def test_dtypes(dtype: Any) -> None:
    classifier = small(dtype=dtype).fit(X, Y)
    wanted = np.dtype(dtype or "float64")
    assert {a.dtype for a in classifier.coefs_ + classifier.intercepts_} == {wanted}
    assert classifier.predict_proba(X).dtype == wanted


def test_one_class_two_outputs_and_sparse_labels() -> None:
    one = small().fit(X, np.full(len(X), "only"))
    assert set(one.predict(X)) == {"only"} and one.n_outputs_ == 1
    several = small(solver="lbfgs", max_iter=100).fit(X, sparse.csr_matrix(np.eye(3)[Y]))
    found = several.predict(X)
    assert sparse.issparse(found) and np.mean(found.toarray() == np.eye(3)[Y]) > 0.95


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows_are_as_dense_ones(form: Any, solver: str) -> None:
    x = np.where(np.abs(X) > 0.7, X, 0)
    for settings in ({}, {"shuffle": False, "batch_size": 40}, {"early_stopping": True}):
        dense, thin = (small(solver=solver, **settings).fit(a, Y) for a in (x, form(x)))
        assert digest(dense) == digest(thin)
        np.testing.assert_array_equal(dense.predict(x), thin.predict(form(x)))


def test_batches_are_the_rows_in_order() -> None:
    """Also where they are gathered in several parts."""
    x = np.arange(3.0 * GATHERED / 8).reshape(-1, 128)
    rows = Rows(x, np.arange(len(x)), np.ones(len(x)))
    for size in (7, 100, len(x)):
        for order in (None, np.random.default_rng(0).permutation(len(x))):
            parts = [(b.x.copy(), b.y.copy(), n) for b, n in Batches(rows, size)(order)]
            assert [n for *_, n in parts[:-1]] == [size] * (len(parts) - 1)
            y = np.concatenate([y for _, y, _ in parts])
            np.testing.assert_array_equal(y, rows.y if order is None else order)
            np.testing.assert_array_equal(np.concatenate([a for a, *_ in parts]), x[y])


@by_kind
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_weight_is_a_repetition(kind: Any, solver: str) -> None:
    count = np.random.default_rng(0).integers(0, 3, len(X))
    weighted = small(kind, solver=solver).fit(X, Y, sample_weight=count)
    repeated = small(kind, solver=solver, batch_size=len(X) * 2)
    with pytest.warns(UserWarning, match="clipped") if solver == "adam" else nullcontext():
        repeated.fit(np.repeat(X, count, axis=0), np.repeat(Y, count))
    for a, b in zip(weighted.coefs_, repeated.coefs_, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_a_batch_whose_weights_are_zero_is_passed_over() -> None:
    weights = (np.arange(len(X)) >= 50).astype(float)
    settings: dict[str, Any] = {"shuffle": False, "batch_size": 50, "solver": "sgd", "momentum": 0}
    whole, part = small(MLPRegressor, **settings), small(MLPRegressor, **settings)
    whole.fit(X, Y, sample_weight=weights)
    part.fit(X[50:], Y[50:])
    assert digest(whole) == digest(part)


def test_parameters_that_a_user_puts_in() -> None:
    """coefs_ are what counts: of a pretrained net, or changed in place."""
    one, other = small().fit(X, Y), small(random_state=1).fit(X, Y)
    one.coefs_, one.intercepts_ = other.coefs_, other.intercepts_
    assert one.predict_proba(X).tobytes() == other.predict_proba(X).tobytes()
    one.coefs_[-1][...] = 0
    one.intercepts_[-1][...] = [0, 5, 0]
    assert set(one.predict(X)) == {1}
    assert set(other.predict(X)) != {1}


def test_it_prints_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for settings in ({"early_stopping": True}, {"solver": "lbfgs"}, {"tol": 1.0, "max_iter": 30}):
        small(verbose=True, **settings).fit(X, Y)
        assert "Iteration 1, loss = " in capsys.readouterr().out


# mistakes --------------------------------------------------------------------------------------


@by_kind
@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": -1}, {"activation": "swish"}, {"solver": "newton"}, {"momentum": 1.5},
        {"hidden_layer_sizes": 0}, {"hidden_layer_sizes": (3, -1)}, {"dtype": "float16"},
        {"batch_size": 0}, {"beta_1": 1.0}, {"max_iter": 0}, {"tol": "small"}, {"epsilon": 0.0},
    ],
    ids=str,
)  # fmt: skip
def test_parameters_are_checked_as_scikit_learn_does(kind: Any, settings: dict[str, Any]) -> None:
    estimator = small(kind, **settings)
    with pytest.raises(ValueError, match=next(iter(settings))):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "coefs_")


def test_data_are_checked_as_scikit_learn_does() -> None:
    with pytest.raises(NotFittedError):
        small().predict(X)
    with pytest.raises(ValueError, match="NaN"):
        small().fit(np.where(X > 1, np.nan, X), Y)
    with pytest.raises(ValueError, match="Unknown label type"):
        small().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="Multioutput target data is not supported"):
        small().fit(X, np.stack([Y, Y], axis=1))
    with pytest.raises(ValueError, match="features"):
        small().fit(X, Y).predict(X[:, :3])
    with pytest.raises(ValueError, match="Negative values"):
        small().fit(X, Y, sample_weight=-np.ones(len(X)))
    with pytest.raises(ValueError, match="below 0"):
        small(MLPRegressor, loss="poisson").fit(X, -Y)
    with pytest.raises(ValueError, match="has 2 outputs"):
        small(MLPRegressor).partial_fit(X, Y).partial_fit(X, np.stack([Y, Y], axis=1))
    with pytest.raises(ValueError, match="classes must be passed"):
        small().partial_fit(X, Y)
    with pytest.raises(ValueError, match="early_stopping"):
        small(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2])
    assert not hasattr(small(solver="lbfgs"), "partial_fit")


def test_an_interrupt_leaves_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastgrad.sklearn.optimizers import AdamOptimizer

    def interrupt(self: Any, samples: int) -> None:
        if samples == 2 * len(X):
            raise KeyboardInterrupt

    monkeypatch.setattr(AdamOptimizer, "epoch_ends", interrupt)
    estimator = small(max_iter=50)
    with pytest.warns(UserWarning, match="interrupted"):
        estimator.fit(X, Y)
    assert estimator.n_iter_ == 2 and len(estimator.predict(X)) == len(X)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "sklearn":
            monkeypatch.setitem(sys.modules, name, None)
        elif name.startswith("fastgrad.sklearn"):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"pip install 'scikit-learn>=1\.6'"):
        import fastgrad.sklearn  # noqa: F401
