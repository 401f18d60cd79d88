"""scikit-learn's own tests of its multi-layer perceptron, run on ours.

They are imported from the scikit-learn that is installed, with our estimators in the place of its
own; its conftest's global_random_seed is 42, as by default there. One that is about its private
functions is skipped, and one that we cannot pass is expected to fail: both with the reason.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("sklearn")
try:
    theirs: Any = importlib.import_module("sklearn.neural_network.tests.test_mlp")
    inside: Any = importlib.import_module("sklearn.neural_network._multilayer_perceptron")
except ImportError as missing:  # a scikit-learn without its tests
    pytest.skip(f"{missing}", allow_module_level=True)

from sklearn.utils.estimator_checks import estimator_checks_generator
from threadpoolctl import threadpool_limits  # scikit-learn's own dependency

from fastgrad.sklearn import MLPClassifier, MLPRegressor

# The name of a test -> why it is not for us.
PRIVATE = {
    "test_gradient": "calls _loss_grad_lbfgs; tests/api/test_sklearn_agrees.py compares coefs_",
}
FAILS: dict[str, str] = {}

pytestmark = [
    pytest.mark.judges,
    # many of theirs stop before they converge, and their own settings do not make errors of it
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module", autouse=True)
def _one_blas_thread() -> Iterator[None]:
    """scipy's L-BFGS-B waits for others longer than it computes."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def global_random_seed() -> int:
    return 42


@pytest.fixture(autouse=True)
def _ours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (MLPClassifier, MLPRegressor):
        monkeypatch.setattr(theirs, kind.__name__, kind)
    monkeypatch.setattr(inside, "check_random_state", None)  # theirs cannot be fitted
    name = request.node.originalname
    if name in PRIVATE:
        pytest.skip(PRIVATE[name])
    if name in FAILS:
        request.applymarker(pytest.mark.xfail(reason=FAILS[name], strict=True))


def _with_ours(test: Any) -> Any:
    """A test whose marks give it theirs as parameters gets ours."""
    ours = {getattr(theirs, kind.__name__): kind for kind in (MLPClassifier, MLPRegressor)}
    marks = []
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args
            values = [ours.get(v, v) if inspect.isclass(v) else v for v in values]
            mark = getattr(pytest.mark, mark.name)(names, values, **mark.kwargs).mark
        marks.append(mark)
    test.pytestmark = marks
    return test


for _name, _test in list(vars(theirs).items()):
    if _name.startswith("test_"):
        globals()[_name] = _with_ours(_test)
del _name, _test


def test_the_names_in_the_tables_are_tests_of_theirs() -> None:
    assert {*PRIVATE, *FAILS} <= set(vars(theirs))


def _checks() -> Iterator[Any]:
    """What check_estimator runs."""
    for kind in (MLPClassifier, MLPRegressor):
        for estimator, check in estimator_checks_generator(kind()):
            name = getattr(check, "func", check).__name__
            yield pytest.param(estimator, check, id=f"{kind.__name__}-{name}")


@pytest.mark.parametrize("estimator, check", list(_checks()))
def test_checks_of_estimators(estimator: Any, check: Any) -> None:
    check(estimator)
