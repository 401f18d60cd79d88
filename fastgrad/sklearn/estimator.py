"""What classifier and regressor share: parameters and data in, fitted attributes out."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import MLP
from .constraints import CONSTRAINTS
from .lbfgs import minimise
from .network import ACTIVATIONS, initial, network, parameters
from .objective import objective
from .optimizers import OPTIMIZERS
from .rows import Batches, Rows, dense
from .stochastic import Score, begin, train

Array = NDArray[Any]


def is_stochastic(estimator: Any) -> bool:
    """Whether there is a partial_fit; without, asking for it is to say why."""
    if estimator.solver not in OPTIMIZERS:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not "
            f"stochastic."
        )
    return True


class Perceptron(BaseEstimator):
    """``coefs_`` and ``intercepts_`` are views of a network's live arrays; a user may put others
    into their place, and it is then made of those."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS
    loss: str
    hidden_layer_sizes: Any
    activation: str
    solver: str
    early_stopping: bool
    warm_start: bool
    dtype: Any
    coefs_: list[Array]
    intercepts_: list[Array]
    n_outputs_: int
    out_activation_: str
    _live: list[Array]  # of _network, which stands in for coefs_ and intercepts_

    # what the two differ in -----------------------------------------------------------------------

    @abstractmethod
    def _targets(self, y: Array, first: bool, incremental: bool) -> Array:
        """Checked y -> as the loss takes it, labels (N,) int64 or numbers (N, M); sets n_outputs_
        and, the classifier, classes_."""

    @abstractmethod
    def _out(self) -> str:
        """out_activation_."""

    @abstractmethod
    def _scorer(self, net: MLP, held: Rows) -> Score:
        """What early stopping goes by."""

    # fit ------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """X (N, K), an array, a DataFrame or a sparse matrix; y (N,) or (N, M) -> self.

        sample_weight (N,): of the rows, 0 or more.
        """
        return self._fit(X, y, sample_weight, False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Any:
        self._validate_params()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        hidden = _hidden(self.hidden_layer_sizes)
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        dtype = (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, order="C", reset=first,
            dtype=dtype if first else self._net().dtype, y_numeric=self.loss != "log_loss",
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets = self._targets(y, first, incremental)
        if not np.issubdtype(targets.dtype, np.int64):
            targets = targets.astype(X.dtype, copy=False)
        x = X.tocsr() if issparse(X) else X
        rows = Rows(x, targets, None if sample_weight is None else _weights(sample_weight, X))
        random = check_random_state(self.random_state)
        if first:
            self._begin([X.shape[1], *hidden, self.n_outputs_], X.dtype, random)
        self._solve(rows, random, incremental)
        if not all(np.isfinite(a).all() for a in parameters(self._net())):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _begin(self, sizes: list[int], dtype: Any, random: np.random.RandomState) -> None:
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._out()
        self.coefs_, self.intercepts_ = initial(sizes, self.activation, dtype, random)
        if self.solver in OPTIMIZERS:
            self.__dict__.pop("loss_curve_", None)
            self.best_loss_ = self.validation_scores_ = None
            begin(self, self.early_stopping)

    def _solve(self, rows: Rows, random: np.random.RandomState, incremental: bool) -> None:
        net = self._net()
        of = objective(net, self.out_activation_)
        if self.solver not in OPTIMIZERS:
            x = rows.x.toarray() if issparse(rows.x) else rows.x
            minimise(self, net, of, rows._replace(x=x))
            return
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = OPTIMIZERS[self.solver](net, self)
        score = None
        if self.early_stopping:
            rows, held = self._split(rows, random)
            score = self._scorer(net, held)
        batches = Batches(rows, self._batch_rows(rows.x.shape[0]))
        train(self, net, of, batches, self._optimizer, random, score, incremental)

    def _split(self, rows: Rows, random: np.random.RandomState) -> tuple[Rows, Rows]:
        """Rows to train on and to validate with; of two classes, as many of each (scikit-learn)."""
        binary = self.out_activation_ == "logistic" and self.n_outputs_ == 1
        train_rows, held = train_test_split(
            np.arange(rows.x.shape[0]),
            random_state=random,
            test_size=self.validation_fraction,
            stratify=rows.y.astype(bool) if binary else None,
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return rows.some(train_rows), rows.some(held)

    def _batch_rows(self, count: int) -> int:
        if self.batch_size == "auto":
            return min(200, count)
        if self.batch_size > count:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=5,  # the caller of fit
            )
        return int(min(self.batch_size, count))

    # the network ----------------------------------------------------------------------------------

    def _net(self) -> MLP:
        """The network of coefs_, intercepts_ and activation as they are now."""
        net = self.__dict__.get("_network")
        own = [*self.coefs_, *self.intercepts_]
        if (
            net is None
            or len(own) != 2 * len(net.weights)
            or not all(a is b for a, b in zip(own, self._live, strict=True))
            or net.activation != ACTIVATIONS[self.activation]
        ):
            net = network(self.coefs_, self.intercepts_, self.activation, self.out_activation_)
            self.coefs_, self.intercepts_ = list(net.weights), list(net.biases)
            self._network, self._live = net, parameters(net)
        return net

    def _of_rows(self, call: Callable[[MLP, Array], Array], X: Any) -> Array:
        """call(network, x) for the rows of a user's X."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        net = self._net()
        return dense(lambda x: call(net, x), X)

    def __getstate__(self) -> dict[str, Any]:
        """Without the network, which coefs_ and intercepts_ say all of."""
        state = dict(super().__getstate__())
        for name in ("_network", "_live"):
            state.pop(name, None)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _hidden(sizes: Any) -> list[int]:
    hidden = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if any(size <= 0 for size in hidden):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
    return hidden


def _weights(sample_weight: Any, X: Any) -> Array:
    weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if weights.min() < 0:
        raise ValueError("Negative values in data passed to `sample_weight`")
    if not weights.any():
        raise ValueError("sample_weight: all weights are zero; no row counts")
    return weights
