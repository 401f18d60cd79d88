"""MLPRegressor: numbers in and out; trained for the squared error or the Poisson deviance."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from .. import MLP
from .constraints import CONSTRAINTS
from .estimator import Perceptron, is_stochastic
from .rows import Rows, dense
from .stochastic import Score

Array = NDArray[Any]


class MLPRegressor(RegressorMixin, Perceptron):
    """scikit-learn's MLPRegressor, trained by fastgrad: a multi-layer perceptron.

    Parameters and fitted attributes are scikit-learn's, with its meaning and defaults; see the page
    of sklearn.neural_network.MLPRegressor. Beside them, activation may be "gelu", "gelu_tanh" or
    "silu"; dtype, "float32" or "float64", is what is computed in (default: as X, which is float64
    but for a float32 X). y (N,) or (N, M); for loss "poisson" of 0 or more.
    """

    __module__ = "fastgrad.sklearn"
    _parameter_constraints: ClassVar = {
        **CONSTRAINTS,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """One epoch over X and y -> self."""
        return self._fit(X, y, sample_weight, True)

    def predict(self, X: Any) -> Array:
        """X (N, K) -> numbers (N,) or (N, M)."""
        return self._of_rows(self._outputs, X)

    def _outputs(self, net: MLP, x: Array) -> Array:
        found = net.predict(x)
        if self.out_activation_ == "exp":
            with np.errstate(over="ignore"):
                return np.exp(found)
        return found

    def _targets(self, y: Array, first: bool, incremental: bool) -> Array:
        targets = y.reshape(-1, 1) if y.ndim == 1 else y
        if not first and targets.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {targets.shape[1]} outputs, but MLPRegressor was fitted with "
                f"{self.n_outputs_}"
            )
        if self.loss == "poisson" and targets.min() < 0:
            raise ValueError("Some value(s) of y are below 0, where loss='poisson' has no value")
        self.n_outputs_ = targets.shape[1]
        return targets if targets.dtype.kind == "f" else targets.astype(np.float64)

    def _out(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _scorer(self, net: MLP, held: Rows) -> Score:
        """R²; NaN of what has diverged."""

        def score() -> float:
            found = dense(lambda x: self._outputs(net, x), held.x)
            if not np.isfinite(found).all():
                return float("nan")
            return float(r2_score(held.y, found, sample_weight=held.weights))

        return score
