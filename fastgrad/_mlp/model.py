"""The multi-layer perceptron: batches in, trained parameters out.

X (N, sizes[0]) -> act(X·W0 + b0) -> ... -> logits (N, sizes[-1]); hidden layers have the
activation, the last has none. Here is what users call; each idea has a module beside this one.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._files import Path, check_path, check_place, check_writable
from .._kernels.layer.inference import LOGITS
from .._ops.linear import ActivationName
from .._ops.numbers import at_least_0, count, shown
from .._ops.optimizers import SGD, Optimizer
from .._ops.schedules import Schedule
from ..tables import Table
from . import checkpoint as files
from . import fit as training
from .batch import checked_x, checked_y, looked_at_x, looked_at_y
from .config import SETTINGS, Config, LossName
from .forward import (
    forward,
    predictions,
    probabilities,
    quick_predictions,
    quick_probabilities,
)
from .grad_norms import grad_norms
from .history import History, copied
from .old_pickles import plain_of
from .parameters import Parameters
from .state import Run, State, from_plain, to_plain
from .step import Step

Array = NDArray[Any]
DEFAULT_OPTIMIZER = SGD(0.01)
_MAY_BE_SET = ("learning_rate", "steps", "epochs")
_PARTS = ("_config", "_parameters", "_step", "_run", "_table")  # what a model consists of
_ADVICE = {
    "weights": "write into the arrays: model.weights[i][...] = values",
    "biases": "write into the arrays: model.biases[i][...] = values",
    "history": "model.reset() begins a new one",
    "lr": "the rate of the next step is model.learning_rate",
    **dict.fromkeys(SETTINGS, "make a new MLP with it"),
    "optimizer": "the rate of the next step is model.learning_rate; for the rest make a new MLP",
}


class MLP:
    """sizes (inputs, hidden ..., outputs); activation, loss: names; optimizer: SGD or Adam.

    float32 or float64; the same seed gives the same bits on every machine. ``weights`` and
    ``biases`` are tuples of live arrays, weight i (sizes[i], sizes[i+1]), bias i (sizes[i+1],): a
    step, and you, change them in place. ``learning_rate``, at first the optimizer's, is the one of
    the next step, and may be set, as may ``steps`` and ``epochs``, the numbers done so far; the
    rest is read-only, but a subclass may add attributes. label_smoothing: the share of every target
    of softmax cross-entropy that is spread over all classes. max_grad_norm: where the norm of all
    gradients together is larger, a step scales them to it. Steps of one model belong in one thread
    at a time. A process forked during a step of another thread refuses steps of that model, whose
    parameters may be half changed there.
    """

    __module__ = "fastgrad"  # its public place: what a pickle names
    _config: Config
    _parameters: Parameters
    _step: Step
    _run: Run
    _table: Table | None = None

    def __init__(
        self,
        sizes: Sequence[int],
        activation: ActivationName | None = "relu",
        loss: LossName = "softmax_cross_entropy",
        optimizer: Optimizer = DEFAULT_OPTIMIZER,
        dtype: DTypeLike = np.float32,
        seed: int = 0,
        *,
        label_smoothing: float = 0.0,
        max_grad_norm: float | None = None,
    ):
        self._begin(
            Config(
                sizes,  # type: ignore[arg-type]  # Config makes a tuple and a dtype of these
                activation, loss, optimizer,
                dtype,  # type: ignore[arg-type]
                seed, label_smoothing, max_grad_norm,
            )
        )  # fmt: skip
        self._parameters.initialise()

    # settings and counts --------------------------------------------------------------------------

    @property
    def sizes(self) -> tuple[int, ...]:
        """(inputs, hidden ..., outputs)"""
        return self._config.sizes

    @property
    def activation(self) -> ActivationName | None:
        """Of the hidden layers; settings are read-only."""
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
        self._step.learning_rate = at_least_0("MLP", "learning_rate", value)

    @property
    def history(self) -> dict[str, list[float]]:
        """Of all epochs of all calls of fit; NaN where an epoch had no such value."""
        return copied(self._run.history)

    @property
    def table(self) -> Table | None:
        """What a model that ``fastgrad train`` saved knows of its table: ``table.encode(frame)``
        makes x of a pandas.DataFrame, ``table.decode(model.predict(x))`` names of the classes, or
        numbers in the target's own unit. None for a model that was trained on arrays."""
        return self._table

    # work -----------------------------------------------------------------------------------------

    def forward(self, x: Array) -> Array:
        """x (N, sizes[0]) -> logits (N, sizes[-1]), of the model's dtype."""
        logits = self._step.infer_floats(x, LOGITS)
        if logits is not None:
            return logits
        x = checked_x(self._config, "MLP.forward", x)
        return forward(self._config, self._parameters, self._step, x)

    def predict(self, x: Array) -> Array:
        """Class numbers (N,) int64; for binary cross-entropy 0 or 1 an output; for mse the outputs.

        The last two are (N, sizes[-1]), or (N,) where sizes[-1] is 1.
        """
        found = quick_predictions(self._config, self._step, x)
        if found is not None:
            return found
        logits = self.forward(looked_at_x(self._config, "MLP.predict", x))
        return predictions(self._config, logits)

    def predict_proba(self, x: Array) -> Array:
        """Probabilities (N, sizes[-1]): softmax of the logits; sigmoid for binary cross-entropy."""
        if self._config.loss == "mse":
            raise ValueError("MLP.predict_proba: a model with loss 'mse' has no probabilities")
        found = quick_probabilities(self._config, self._step, x)
        if found is not None:
            return found
        logits = self.forward(looked_at_x(self._config, "MLP.predict_proba", x))
        return probabilities(self._config, logits)

    def train_step(self, x: Array, y: Array) -> float:
        """One optimizer step on x (N, sizes[0]) and its targets -> the loss before the step.

        y as the loss takes it: labels (N,) or probabilities (N, M); else (N, M), or (N,) if M is 1.
        An x of the model's dtype and int64 labels are read where they lie, whatever their strides.
        """
        step = self._step
        if step.quick(x, y):
            return step.loss.value
        caller = "MLP.train_step"
        x = looked_at_x(self._config, caller, x)
        return step(x, looked_at_y(self._config, caller, y, len(x)))

    def grad_norms(self, x: Array, y: Array) -> Array:
        """For each row of x (N, sizes[0]) the norm of its own gradient by all parameters: (N,).

        float64. Its own gradient is that of the loss of a batch of this row alone, without clipping
        or weight decay. Nothing in the model changes. See _mlp/grad_norms.py for the formula.
        """
        caller = "MLP.grad_norms"
        x = checked_x(self._config, caller, x)
        y = checked_y(self._config, caller, y, len(x))
        return grad_norms(self._config, self._parameters, x, y)

    def fit(
        self,
        x: Array,
        y: Array,
        epochs: int,
        batch_size: int,
        validation: tuple[Array, Array] | None = None,
        progress: bool = True,
        *,
        shuffle: bool = True,
        patience: int | None = None,
        schedule: Schedule | None = None,
        checkpoint: Path | None = None,
    ) -> dict[str, list[float]]:
        """``epochs`` passes over x (N, sizes[0]) and y -> history, a list of values for each name.

        A second call goes on where the first ended: with its parameters, optimizer state, order of
        the rows and early stopping, so that 2 epochs and then 3 give the bits of 5. For a new
        training, as of each fold of a cross-validation, make a new model or call ``reset()``.

        shuffle: in an order drawn from the seed, else as they are. history: "loss", the mean over
        each pass, "learning_rate", "seconds"; with ``validation=(x, y)`` also "validation_loss"
        and, for classes, "validation_accuracy". patience: stop after so many epochs without a
        better validation loss, with the parameters of the best; a call after that does nothing,
        unless it has more patience, or other data or options, or ``learning_rate`` was assigned,
        with which early stopping starts anew. schedule: a function of the number of epochs done
        that gives the learning rate. checkpoint: save to this path after each epoch. progress: a
        bar on a terminal, lines in a pipe.
        """
        return self._fit(
            x, y, epochs, batch_size, validation, progress, shuffle, patience, schedule, checkpoint
        )

    def _fit(
        self,
        x: Array,
        y: Array,
        epochs: int,
        batch_size: int,
        validation: tuple[Array, Array] | None = None,
        progress: bool = True,
        shuffle: bool = True,
        patience: int | None = None,
        schedule: Schedule | None = None,
        checkpoint: Path | None = None,
        **more: Any,
    ) -> History:
        """fit, with the options that the command line has more."""
        save: Callable[[], None] | None = None
        if checkpoint is not None:
            place = check_place("MLP.fit", "checkpoint", checkpoint)
            check_writable(place)
            save = lambda: self.save(place)  # noqa: E731
        model = training.Model(
            self._config, self._live(), self._step, self._run, self.forward, save
        )
        return training.fit(
            model, x, y, epochs, batch_size, validation, progress, shuffle, patience, schedule,
            **more,
        )  # fmt: skip

    def reset(self) -> None:
        """As new, with the same settings: parameters drawn from the seed again, in the same arrays;
        no optimizer state, no steps, epochs, history; the optimizer's learning rate."""
        self._parameters.initialise()
        self._step.steps, self._step.learning_rate = 0, float(self._config.optimizer.lr)
        vars(self)["_run"] = Run()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, optimizer state and settings to ``path`` (.npz), all or nothing."""
        files.save(self._state(), check_place("MLP.save", "path", path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MLP:
        """The model that ``save`` wrote; any other file is a ValueError of one line."""
        state = files.load(check_path("MLP.load", "path", path))
        settings = {name: getattr(state.config, name) for name in SETTINGS}
        model = cls(**settings)
        model._resume(state)
        return model

    def optimizer_state(self) -> list[Array]:
        """Copies of the optimizer's arrays (velocity; m, v), flat, in the order of parameters."""
        return self._parameters.optimizer_state()

    def set_optimizer_state(self, states: Sequence[Array]) -> None:
        """The reverse of optimizer_state."""
        self._parameters.set_optimizer_state("MLP.set_optimizer_state", states)

    def __repr__(self) -> str:
        c = self._config
        return (
            f"MLP({c.sizes}, {c.activation!r}, {c.loss!r}, {c.optimizer}, "
            f"{c.dtype.name}, seed={c.seed})"
        )

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _MAY_BE_SET:
            self._check_free(name, "assigned")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._check_free(name, "deleted")
        object.__delattr__(self, name)

    def _check_free(self, name: str, what: str) -> None:
        """Names of MLP's are not, nor, but in a subclass, any other."""
        if hasattr(MLP, name) or name in _PARTS:
            advice = _ADVICE.get(name, "a subclass may add attributes of other names")
            raise AttributeError(f"MLP: {name} cannot be {what}; {advice}")
        if type(self) is MLP:
            near = difflib.get_close_matches(name, [n for n in dir(MLP) if n[0] != "_"], 1)
            advice = f"there is {near[0]}" if near else "a subclass may add attributes"
            advice = _ADVICE.get(name, advice)
            raise AttributeError(f"MLP: there is no attribute {shown(name)}; {advice}")

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: a State, and what a subclass has added."""
        own = {name: value for name, value in vars(self).items() if name not in _PARTS}
        return to_plain(self._state()) | {"own": own}

    def __setstate__(self, plain: dict[str, Any]) -> None:
        plain = plain_of(plain)
        vars(self).update(plain.pop("own", {}))
        state = from_plain(plain)
        self._begin(state.config)
        self._resume(state)

    def _begin(self, config: Config) -> None:
        """With arrays of zeros."""
        parameters = Parameters(config)
        vars(self).update(
            _config=config, _parameters=parameters, _step=Step(config, parameters), _run=Run()
        )

    def _state(self) -> State:
        """A copy of all that this model is now."""
        run = self._run.copy()
        if run.early is not None and not run.early.is_of(self._live()):
            run.early = None  # nor would fit go on from it
        return State(
            self._config, self._parameters.values(), self.optimizer_state(),
            self.steps, self.learning_rate, run, self._table,
        )  # fmt: skip

    def _resume(self, state: State) -> None:
        self._parameters.set_values(state.values)
        self.set_optimizer_state(state.optimizer_state)
        self.steps, self.learning_rate = state.steps, state.learning_rate
        vars(self).update(_run=state.run, _table=state.table)

    def _live(self) -> list[Array]:
        """Weight 0, bias 0, weight 1, ...: the live arrays."""
        own = self._parameters
        return [array for pair in zip(own.weights, own.biases, strict=True) for array in pair]
