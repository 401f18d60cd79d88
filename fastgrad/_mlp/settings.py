"""What a model says of itself: settings, counts and arrays, read-only but for some."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._ops.numbers import count, shown
from .._ops.optimizers import Optimizer, checked_rate
from .config import SETTINGS, Activations, Config, LossName
from .history import copied
from .parameters import Parameters
from .state import Run
from .step import Step

if TYPE_CHECKING:
    from ..tables import Table

Array = NDArray[Any]
_MAY_BE_SET = ("learning_rate", "steps", "epochs")
PARTS = ("_config", "_parameters", "_step", "_run", "_table")  # what a model consists of
_ADVICE = {
    "weights": "write into the arrays: model.weights[i][...] = values",
    "biases": "write into the arrays: model.biases[i][...] = values",
    "weight_grads": "write into the arrays: model.weight_grads[i][...] = values",
    "bias_grads": "write into the arrays: model.bias_grads[i][...] = values",
    "history": "model.reset() begins a new one",
    "lr": "the rate of the next step is model.learning_rate",
    **dict.fromkeys(SETTINGS, "make a new MLP with it"),
    "optimizer": "the rate of the next step is model.learning_rate; for the rest make a new MLP",
}


class Settings:
    """The attributes of a model. What may not be assigned is an AttributeError with advice."""

    _config: Config
    _parameters: Parameters
    _step: Step
    _run: Run
    _table: Table | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """(inputs, hidden ..., outputs)"""
        return self._config.sizes

    @property
    def activation(self) -> Activations:
        """Of the hidden layers or, a tuple, one a layer; settings are read-only."""
        return self._config.activation

    @property
    def loss(self) -> LossName:
        """The name of the loss."""
        return self._config.loss

    @property
    def optimizer(self) -> Optimizer:
        """SGD or Adam: its settings as they were given."""
        return self._config.optimizer

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of parameters, and of what is computed."""
        return self._config.dtype

    @property
    def seed(self) -> int:
        """Of the first weights, and of the order of the rows."""
        return self._config.seed

    @property
    def label_smoothing(self) -> float:
        """From 0 to 1; of softmax_cross_entropy."""
        return self._config.label_smoothing

    @property
    def max_grad_norm(self) -> float | None:
        """The norm that a step's gradients are clipped to, or None."""
        return self._config.max_grad_norm

    @property
    def weights(self) -> tuple[Array, ...]:
        """Live arrays, changed in place: (sizes[i], sizes[i+1])."""
        return self._parameters.weights

    @property
    def biases(self) -> tuple[Array, ...]:
        """Live arrays, changed in place: (sizes[i+1],)."""
        return self._parameters.biases

    @property
    def weight_grads(self) -> tuple[Array, ...]:
        """Live arrays, (sizes[i], sizes[i+1]): the gradients that the last call left."""
        return self._parameters.weight_grads

    @property
    def bias_grads(self) -> tuple[Array, ...]:
        """Live arrays, (sizes[i+1],): the gradients that the last call left."""
        return self._parameters.bias_grads

    @property
    def table(self) -> Table | None:
        """What a model that ``fastgrad train`` saved knows of its table: ``table.encode(frame)``
        makes x of a pandas.DataFrame, ``table.decode(model.predict(x))`` names of the classes, or
        numbers in the target's own unit. None for a model that was trained on arrays."""
        return self._table

    @property
    def steps(self) -> int:
        """Steps done so far."""
        return self._step.steps

    @steps.setter
    def steps(self, value: int) -> None:
        steps = count("MLP", "steps", value, 0)
        if steps >= 2**63:
            raise ValueError(f"MLP: steps is {shown(steps)}; it must be below 2**63")
        self._step.steps = steps

    @property
    def epochs(self) -> int:
        """Epochs of fit done so far; the order of the rows of the next one follows from it."""
        return self._run.epochs

    @epochs.setter
    def epochs(self, value: int) -> None:
        self._run.epochs = count("MLP", "epochs", value, 0)

    @property
    def learning_rate(self) -> float:
        """Of the next step; may be set."""
        return self._step.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        dtype = self._config.dtype
        self._step.learning_rate = checked_rate("MLP", "learning_rate", value, dtype)

    @property
    def history(self) -> dict[str, list[float]]:
        """Of all epochs of all calls of fit; NaN where an epoch had no such value."""
        return copied(self._run.history)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _MAY_BE_SET:
            self._check_free(name, "assigned")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._check_free(name, "deleted")
        object.__delattr__(self, name)

    def _check_free(self, name: str, what: str) -> None:
        """Names of MLP's are not, nor, but in a subclass, any other."""
        model = next(kind for kind in type(self).__mro__ if Settings in kind.__bases__)  # MLP
        if hasattr(model, name) or name in PARTS:
            advice = _ADVICE.get(name, "a subclass may add attributes of other names")
            raise AttributeError(f"MLP: {name} cannot be {what}; {advice}")
        if type(self) is model:
            near = difflib.get_close_matches(name, [n for n in dir(model) if n[0] != "_"], 1)
            advice = f"there is {near[0]}" if near else "a subclass may add attributes"
            advice = _ADVICE.get(name, advice)
            raise AttributeError(f"MLP: there is no attribute {shown(name)}; {advice}")
