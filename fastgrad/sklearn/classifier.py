"""MLPClassifier: labels of any kind in, softmax or sigmoid outputs trained, labels out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from .. import MLP
from .estimator import Perceptron, is_stochastic
from .rows import Rows, dense
from .stochastic import Score

Array = NDArray[Any]
MULTILABEL = "multilabel-indicator"


class MLPClassifier(ClassifierMixin, Perceptron):
    """scikit-learn's MLPClassifier, trained by fastgrad: a multi-layer perceptron.

    Parameters and fitted attributes are scikit-learn's, with its meaning and defaults; see the page
    of sklearn.neural_network.MLPClassifier. Beside them, activation may be "gelu", "gelu_tanh" or
    "silu"; dtype, "float32" or "float64", is what is computed in (default: as X, which is float64
    but for a float32 X). y: labels of two or more classes, or a (N, M) indicator matrix.
    """

    __module__ = "fastgrad.sklearn"
    loss = "log_loss"

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dtype: Any = None,
    ):
        given = locals()
        for name in self._get_param_names():
            setattr(self, name, given[name])

    @available_if(is_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """One epoch over X and y -> self. classes: all there are, at least at the first call."""
        if getattr(self, "classes_", None) is None:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            is_multilabel = type_of_target(y).startswith("multilabel")
            self._take_classes(y if is_multilabel else classes)
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{self.classes_!r}"
            )
        return self._fit(X, y, sample_weight, True)

    def predict(self, X: Any) -> Any:
        """X (N, K) -> labels (N,), or an indicator matrix (N, M), sparse as the y of fit was."""
        found = self._of_rows(MLP.predict, X)
        if self._kind != MULTILABEL:
            return self.classes_[np.minimum(found, len(self.classes_) - 1)]
        return csr_matrix(found) if self._is_sparse else found

    def predict_proba(self, X: Any) -> Array:
        """X (N, K) -> the probability of each class, in the order of ``classes_``: (N, M)."""
        found = self._of_rows(MLP.predict_proba, X)
        return np.stack([1 - found, found], axis=1) if found.ndim == 1 else found

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of predict_proba."""
        found = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(found, out=found)

    def _take_classes(self, y: Any) -> None:
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass", MULTILABEL):
            raise ValueError(
                f"Multioutput target data is not supported: y is {kind}; pass labels (n_samples,) "
                f"or an indicator matrix (n_samples, n_classes)"
            )
        self._kind, self._is_sparse = kind, issparse(y)
        self.classes_ = np.arange(y.shape[1]) if kind == MULTILABEL else np.unique(y)

    def _targets(self, y: Any, first: bool, incremental: bool) -> Array:
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._take_classes(y)
        else:
            self._check_classes(unique_labels(y))
        if (y.ndim == 2) != (self._kind == MULTILABEL):
            raise ValueError(f"y has shape {y.shape}, but the y of the first fit was {self._kind}")
        if self._kind == MULTILABEL:
            self.n_outputs_ = y.shape[1]
            return (y.toarray() if issparse(y) else y) != 0  # type: ignore[no-any-return]
        numbers = np.searchsorted(self.classes_, y).astype(np.int64, copy=False)
        if self._kind == "multiclass":
            self.n_outputs_ = len(self.classes_)
            return numbers
        self.n_outputs_ = 1
        return numbers[:, None] != 0

    def _check_classes(self, classes: Array) -> None:
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous "
                    f"call to fit. Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _out(self) -> str:
        return "softmax" if self._kind == "multiclass" else "logistic"

    def _scorer(self, net: MLP, held: Rows) -> Score:
        """Accuracy; of several labels, of rows that are all right."""
        truth = held.y[:, 0] if held.y.ndim == 2 and self.n_outputs_ == 1 else held.y

        def score() -> float:
            right = dense(net.predict, held.x) == truth
            right = right.all(axis=1) if right.ndim == 2 else right
            return float(np.average(right, weights=held.weights))

        return score

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
