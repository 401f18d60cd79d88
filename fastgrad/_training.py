"""The training loop: a model and data in, a history out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._atomic import Path, check_writable
from ._ops.numbers import at_least_0, count
from ._ops.schedules import Schedule
from ._progress import Progress
from ._run import Fit, History, start_run
from .datasets._draws import SHUFFLE, permutation

if TYPE_CHECKING:
    from ._mlp import MLP

Array = NDArray[Any]
Pair = tuple[Array, Array]


def fit(
    model: MLP,
    x: Array,
    y: Array,
    epochs: int,
    batch_size: int,
    validation: Pair | None = None,
    progress: bool = True,
    shuffle: bool = True,
    patience: int | None = None,
    schedule: Schedule | None = None,
    checkpoint: Path | None = None,
    *,
    stop: Callable[[History], bool] | None = None,
    total: int | None = None,
) -> History:
    """MLP.fit. ``stop`` sees the history after every epoch and ends the run by returning True.

    total: of how many epochs these are the last, in what progress shows (default: ``epochs``).

    Whatever an epoch needs follows from the data and from what the model keeps and saves: the order
    of the rows from the seed and the number of epochs behind it, the learning rate from that
    number. So 2 epochs and then 3 give the bits of 5, of the same data and arguments; which these
    were is saved as well, and ``train --resume`` compares. The last batch is smaller where the rows
    do not divide.
    """
    caller = "MLP.fit"
    epochs = count(caller, "epochs", epochs, 0)
    batch_size = count(caller, "batch_size", batch_size)
    x = np.ascontiguousarray(model._check_x(caller, x))
    y = model._check_y(caller, y, len(x))
    y = np.ascontiguousarray(y, np.int64 if y.ndim == 1 else None)  # labels as a step reads them
    if validation is not None:
        validation = _check_validation(model, validation)
    if patience is not None:
        patience = count(caller, "patience", patience)
        if validation is None:
            raise ValueError(f"{caller}: patience needs validation; pass validation=(x, y)")
    if schedule is not None and not callable(schedule):
        raise TypeError(
            f"{caller}: schedule is {schedule!r}; pass a function of the epoch, as cosine_schedule"
        )
    if checkpoint is not None:
        check_writable(checkpoint)
    history: History = {"loss": [], "learning_rate": [], "seconds": []}
    given = Fit.of(x, y, batch_size, shuffle)
    batches = _Batches(x, y, given.batch_size)
    run = start_run(model, validation if patience is not None else None)
    total = epochs if total is None else total
    with Progress(total, "training", progress, total - epochs) as shown:
        try:
            for _ in range(epochs):
                if run.early is not None:
                    if patience is not None and run.early.waited >= patience:
                        break
                    run.early.work(model)
                values = _epoch(model, batches, shuffle, schedule, validation)
                run.append(values)
                run.last_fit = given
                for name, value in values.items():
                    history.setdefault(name, []).append(value)
                if run.early is not None:
                    run.early.observe(model, values["validation_loss"])
                    run.early.rest(model)
                if checkpoint is not None and math.isfinite(values["loss"]):
                    model.save(checkpoint)
                shown.update(history)
                if stop is not None and stop(history):
                    break
        finally:
            if run.early is not None:
                run.early.rest(model)
    return history


def evaluate(model: MLP, x: Array, y: Array) -> dict[str, float]:
    """x (N, K) and its targets -> {"loss": ...} and, for class labels or rows, "accuracy".

    The loss is that of the targets as they are, without label smoothing.
    """
    from ._mlp import LOSSES

    logits = model.forward(x)
    target = model._check_y("evaluate", y, len(logits))
    found = {"loss": LOSSES[model.loss](logits, target, np.empty_like(logits))}
    if model.loss == "softmax_cross_entropy":
        classes = target if target.ndim == 1 else np.argmax(target, axis=1)
        right = np.count_nonzero(np.argmax(logits, axis=1) == classes)
        found["accuracy"] = right / len(logits)
    return found


def is_finite(history: History) -> bool:
    """Whether the last epoch's loss is a number: False once a run has diverged."""
    return all(math.isfinite(value) for value in history["loss"][-1:])


class _Batches:
    """x (N, K) and y (N, ...), contiguous, in pieces of ``rows``; the pieces are reused."""

    def __init__(self, x: Array, y: Array, rows: int):
        self.x, self.y, self.rows = x, y, rows
        self._x = np.empty((rows, *x.shape[1:]), x.dtype)
        self._y = np.empty((rows, *y.shape[1:]), y.dtype)

    def in_order(self, order: NDArray[np.int64]) -> Iterator[Pair]:
        # The methods cost a third of np.take; "raise" would copy through a buffer.
        take_x, take_y = self.x.take, self.y.take
        for start in range(0, len(order), self.rows):
            part = order[start : start + self.rows]
            bx, by = self._x, self._y
            if len(part) < self.rows:
                bx, by = bx[: len(part)], by[: len(part)]
            take_x(part, 0, bx, "clip")
            take_y(part, 0, by, "clip")
            yield bx, by

    def as_they_are(self) -> Iterator[Pair]:
        for start in range(0, len(self.x), self.rows):
            yield self.x[start : start + self.rows], self.y[start : start + self.rows]


def _epoch(
    model: MLP,
    batches: _Batches,
    shuffle: bool,
    schedule: Schedule | None,
    validation: Pair | None,
) -> dict[str, float]:
    """One pass over the data -> what the history says of it."""
    start = time.perf_counter()
    if schedule is not None:
        model.learning_rate = _rate(schedule, model.epochs)
    rows = len(batches.x)
    if shuffle:
        parts = batches.in_order(permutation(rows, model.seed, SHUFFLE, model.epochs))
    else:
        parts = batches.as_they_are()
    step, total = model._step, 0.0
    for x, y in parts:
        total += step(x, y) * len(x)
    model.epochs += 1
    values = {"loss": total / rows}
    if validation is not None:
        for name, value in evaluate(model, *validation).items():
            values[f"validation_{name}"] = value
    values["learning_rate"] = model.learning_rate
    values["seconds"] = time.perf_counter() - start
    return values


def _rate(schedule: Schedule, epoch: int) -> float:
    return at_least_0("MLP.fit", f"schedule({epoch})", schedule(epoch))


def _check_validation(model: MLP, validation: Pair) -> Pair:
    caller = "MLP.fit (validation)"
    if not isinstance(validation, tuple) or len(validation) != 2:
        raise TypeError(f"MLP.fit: validation is {type(validation).__name__}; pass a tuple (x, y)")
    x = model._check_x(caller, validation[0])
    return x, model._check_y(caller, validation[1], len(x))
