"""The multi-layer perceptron: batches in, trained parameters out.

X (N, sizes[0]) -> act(X·W0 + b0) -> ... -> logits (N, sizes[-1]); hidden layers have the
activation, the last has none, unless one a layer is given. Here is what users call; each idea
has a module beside this one.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._files import Path, check_path, check_place, check_writable
from .._kernels.layer.inference import LOGITS
from .._ops.checks import flag
from .._ops.linear import ActivationName
from .._ops.optimizers import SGD, Optimizer
from .._ops.schedules import Schedule
from . import checkpoint as files
from . import fit as training
from .batch import checked_x, looked_at_x
from .config import SETTINGS, Config, LossName
from .finite import check_finite as refuse_what_is_not
from .forward import (
    evaluate,
    forward,
    predictions,
    probabilities,
    quick_predictions,
    quick_probabilities,
)
from .grad_norms import grad_norms
from .history import History
from .old_pickles import plain_of
from .parameters import Parameters
from .settings import PARTS, Settings
from .state import Run, State, from_plain, to_plain
from .step import Step
from .targets import checked_grad, checked_y, looked_at_y
from .weighting import counted, in_dtype

Array = NDArray[Any]
DEFAULT_OPTIMIZER = SGD(0.01)


class MLP(Settings):
    """sizes (inputs, hidden ..., outputs); activation, loss: names; optimizer: its settings.

    activation: of the hidden layers, or a sequence with one a layer, the last one's too; None for
    none. float32 or float64; the same seed gives the same bits on every machine. ``weights`` and
    ``biases`` are tuples of live arrays, weight i (sizes[i], sizes[i+1]), bias i (sizes[i+1],): a
    step, and you, change them in place. ``learning_rate``, at first the optimizer's, is the one of
    the next step, and may be set, as may ``steps`` and ``epochs``, the numbers done so far; the
    rest is read-only, but a subclass may add attributes. label_smoothing: the share of every target
    of softmax cross-entropy that is spread over all classes. max_grad_norm: where the norm of all
    gradients together is larger, a step scales them to it. ``weight_grads`` and ``bias_grads`` are
    live views of the gradients that the last call left. Steps of one model belong in one thread
    at a time. A process forked during a step of another thread refuses steps of that model, whose
    parameters may be half changed there.
    """

    __module__ = "fastgrad"  # its public place: what a pickle names

    def __init__(
        self,
        sizes: Sequence[int],
        activation: ActivationName | Sequence[ActivationName | None] | None = "relu",
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
                sizes,  # type: ignore[arg-type]  # Config makes tuples and a dtype of these
                activation,  # type: ignore[arg-type]
                loss, optimizer,
                dtype,  # type: ignore[arg-type]
                seed, label_smoothing, max_grad_norm,
            )
        )  # fmt: skip
        self._parameters.initialise()

    # work -----------------------------------------------------------------------------------------

    def forward(self, x: Array, keep: bool = False) -> Array:
        """x (N, sizes[0]) -> logits (N, sizes[-1]), of the model's dtype.

        keep: what ``backward`` wants is kept, x included, until the next step, loss_and_grads or
        update; N is 1 or more.
        """
        if flag("MLP.forward", "keep", keep):
            kept: Array | None = self._step.quick_forward(x)
            if kept is not None:
                return kept
            x = looked_at_x(self._config, "MLP.forward", x)
            if len(x) == 0:
                raise ValueError("MLP.forward: x has no rows; keep=True needs 1 or more")
            return self._step.forward(x)
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
        """Softmax of the logits, (N, sizes[-1]); for binary cross-entropy their sigmoid: of each
        output being 1, (N, sizes[-1]), or (N,) where sizes[-1] is 1."""
        if self._config.loss == "mse":
            raise ValueError("MLP.predict_proba: a model with loss 'mse' has no probabilities")
        found = quick_probabilities(self._config, self._step, x)
        if found is not None:
            return found
        logits = self.forward(looked_at_x(self._config, "MLP.predict_proba", x))
        return probabilities(self._config, logits)

    def train_step(self, x: Array, y: Array, weights: Array | None = None) -> float:
        """One optimizer step on x (N, sizes[0]) and its targets -> the loss before the step.

        y as the loss takes it: labels (N,) or probabilities (N, M); else (N, M), or (N,) if M is 1.
        An x of the model's dtype and int64 labels are read where they lie, whatever their strides;
        other dtypes are converted, into memory that is kept.
        It has the bits of loss_and_grads(x, y, weights) and update().
        """
        loss: float | None = self._step.quick(x, y, weights)
        if loss is not None:
            return loss
        caller = "MLP.train_step"
        x = looked_at_x(self._config, caller, x)
        y = looked_at_y(self._config, caller, y, len(x))
        return self._step.checked(caller, x, y, counted(caller, weights, len(x)))

    def loss_and_grads(
        self,
        x: Array,
        y: Array,
        weights: Array | None = None,
        denominator: float | None = None,
        accumulate: bool = False,
    ) -> float:
        """The loss of x (N, sizes[0]) and y; its gradients are in ``weight_grads``, ``bias_grads``.

        They are neither clipped nor decayed. weights (N,), denominator: as the loss functions take
        them. accumulate: the gradients are added to those that are there: of micro-batches of
        multiples of KC rows, with the denominator of the whole batch, they have its bits.
        """
        caller, step = "MLP.loss_and_grads", self._step
        accumulate = flag(caller, "accumulate", accumulate)
        loss: float | None = step.quick_grads(x, y, accumulate, weights, denominator)
        if loss is not None:
            return loss
        x = looked_at_x(self._config, caller, x)
        y = looked_at_y(self._config, caller, y, len(x))
        how = counted(caller, weights, len(x), denominator)
        return step.gradients(caller, x, y, accumulate, how)

    def backward(
        self, grad_logits: Array, input_grad: bool = False, accumulate: bool = False
    ) -> Array | None:
        """grad_logits (N, sizes[-1]), dF/dlogits of any F -> dF/dX (N, sizes[0]), or None.

        Goes back through the last ``forward(x, keep=True)``, as often as it is asked to, and leaves
        the gradients in ``weight_grads``, ``bias_grads``; accumulate: adds to what is there.
        """
        caller = "MLP.backward"
        input_grad = flag(caller, "input_grad", input_grad)
        accumulate = flag(caller, "accumulate", accumulate)
        found = self._step.quick_backward(grad_logits, input_grad, accumulate)
        if found is not None:
            return found if input_grad else None
        check = functools.partial(checked_grad, self._config, caller, grad_logits)
        return self._step.backward(check, input_grad, accumulate)

    def update(self) -> None:
        """Clip the gradients that are there to max_grad_norm, and do the optimizer's step."""
        self._step.update()

    def evaluate(
        self, x: Array, y: Array, weights: Array | None = None, *, check_finite: bool = True
    ) -> dict[str, float]:
        """The loss of x (N, sizes[0]) and y, without label smoothing, as "loss"; but for mse the
        "accuracy": the share of rows whose outputs are all right. weights (N,): of the rows."""
        caller = "MLP.evaluate"
        check_finite = flag(caller, "check_finite", check_finite)
        x = checked_x(self._config, caller, x)
        y = checked_y(self._config, caller, y, len(x))
        weights = counted(caller, weights, len(x)).weights
        if check_finite:
            refuse_what_is_not(caller, x=x, y=y, **in_dtype(self._config, weights))
        return evaluate(self._config, self.forward, x, y, weights, caller)

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
        batch_size: int = 32,
        validation: tuple[Array, Array] | tuple[Array, Array, Array] | float | None = None,
        progress: bool = True,
        *,
        weights: Array | None = None,
        shuffle: bool = True,
        patience: int | None = None,
        schedule: Schedule | None = None,
        checkpoint: Path | None = None,
        callback: Callable[[dict[str, list[float]]], bool | None] | None = None,
        check_finite: bool = True,
        block_rows: int | None = None,
        comm: Any = None,
    ) -> dict[str, list[float]]:
        """``epochs`` passes over x (N, sizes[0]) and y -> history, a list of values for each name.

        A second call goes on where the first ended: with its parameters, optimizer state, order of
        the rows and early stopping, so that 2 epochs and then 3 give the bits of 5. For a new
        training, as of each fold of a cross-validation, make a new model or call ``reset()``.

        shuffle: in an order drawn from the seed, else as they are. history: "loss", the mean over
        each pass, "learning_rate", "seconds"; with ``validation=(x, y)``, or (x, y, weights), also
        "validation_loss" and, but for mse, "validation_accuracy". validation may be a fraction: of
        every class so many rows, drawn by the seed as ``fastgrad train`` draws them, are kept
        apart. patience: stop after so many epochs without a better validation loss, with the
        parameters of the best; a call after that does nothing, and warns, unless it has more
        patience, or other data or options, or ``learning_rate`` was assigned, with which early
        stopping starts anew. schedule: a function of the number of epochs done that gives the
        learning rate. checkpoint: save to this path after each epoch. progress: a bar on a
        terminal, lines in a pipe.

        weights (N,): of the rows, as the loss functions take them; a batch whose weights are all 0
        is passed over. callback: called with this call's history after each epoch; a true answer
        ends the call. check_finite: NaN and Inf in the data, as the model's dtype holds them, are a
        ValueError. A loss that is no longer finite ends the call, with a RuntimeWarning.

        block_rows: a batch is cut into blocks of so many rows, the last may have fewer; the
        gradients of each, with the batch's denominator, are added one after another, and so are
        the losses. None: one block. comm: an intracommunicator of mpi4py, on all of whose ranks
        fit is called, with the same arguments and equal models. Each computes whole blocks; the
        bits are those of one process with the same block_rows, on any number of ranks. Files,
        progress and callback are rank 0's; an error is everybody's. See docs/distributed.md.
        """
        return self._fit(
            x, y, epochs, batch_size, validation, progress, shuffle, patience, schedule, checkpoint,
            callback, weights=weights, check_finite=check_finite, block_rows=block_rows, comm=comm,
        )  # fmt: skip

    def _fit(
        self,
        x: Array,
        y: Array,
        epochs: int,
        batch_size: int,
        validation: tuple[Array, ...] | float | None = None,
        progress: bool = True,
        shuffle: bool = True,
        patience: int | None = None,
        schedule: Schedule | None = None,
        checkpoint: Path | None = None,
        callback: Callable[[dict[str, list[float]]], bool | None] | None = None,
        **more: Any,
    ) -> History:
        """fit, with the option that the command line has more."""
        save: Callable[[], None] | None = None
        check: Callable[[], None] | None = None
        if checkpoint is not None:
            place = checkpoint
            save = lambda: self.save(place)  # noqa: E731
            check = lambda: check_writable(check_place("MLP.fit", "checkpoint", place))  # noqa: E731
        model = training.Model(
            self._config, self._parameters, self._live(), self._step, self._run, self.forward,
            save, check,
        )  # fmt: skip
        return training.fit(
            model, x, y, epochs, batch_size, validation, progress, shuffle, patience, schedule,
            callback, **more,
        )  # fmt: skip

    def reset(self) -> None:
        """As new, with the same settings: parameters drawn from the seed again, in the same arrays;
        no optimizer state, no steps, epochs, history; the optimizer's learning rate."""
        self._parameters.initialise()
        self._step.forget()
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

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: a State, and what a subclass has added."""
        own = {name: value for name, value in vars(self).items() if name not in PARTS}
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
