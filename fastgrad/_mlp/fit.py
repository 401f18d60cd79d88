"""The training loop: data and what fit was told in, a history out; see MLP.fit.

Whatever an epoch needs follows from the data and from what the model keeps and saves: the order of
the rows from the seed and the number of epochs behind it, the learning rate from that number. So 2
epochs and then 3 give the bits of 5, of the same data and arguments; which these were is saved as
well, and ``train --resume`` compares. The last batch is smaller where the rows do not divide.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._draws import SHUFFLE, permutation
from .._ops.checks import flag
from .._ops.loss_checks import How
from .._ops.numbers import count
from .._ops.optimizers import checked_rate
from .._ops.schedules import Schedule
from .batch import Batches, checked_x
from .config import Config
from .finite import check_finite as refuse_what_is_not
from .forward import evaluate
from .history import EarlyStop, Fit, History, append, fingerprint
from .progress import Progress
from .state import Run
from .step import Step
from .targets import checked_y
from .validation import Set, validation_set
from .weighting import counted, in_dtype

Array = NDArray[Any]
_CALLER = "MLP.fit"


@dataclass(frozen=True)
class Model:
    """What the loop changes and calls. ``live``: weight 0, bias 0, ...; ``save``: a checkpoint."""

    config: Config
    live: list[Array]
    step: Step
    run: Run
    forward: Callable[[Array], Array]
    save: Callable[[], None] | None = None


def fit(
    model: Model,
    x: Array,
    y: Array,
    epochs: int,
    batch_size: int,
    validation: Any = None,
    progress: bool = True,
    shuffle: bool = True,
    patience: int | None = None,
    schedule: Schedule | None = None,
    callback: Callable[[History], bool | None] | None = None,
    *,
    weights: Array | None = None,
    check_finite: bool = True,
    total: int | None = None,
) -> History:
    """MLP.fit. total: of how many epochs these are the last, in what progress shows (default:
    ``epochs``)."""
    config, run = model.config, model.run
    epochs = count(_CALLER, "epochs", epochs, 0)
    batch_size = count(_CALLER, "batch_size", batch_size)
    data, held = _data(config, x, y, weights, validation, check_finite)
    if patience is not None:
        patience = count(_CALLER, "patience", patience)
        if held is None:
            raise ValueError(f"{_CALLER}: patience needs validation; pass validation=(x, y)")
    if schedule is not None and not callable(schedule):
        raise TypeError(
            f"{_CALLER}: schedule is {schedule!r}; pass a function of the epoch, as cosine_schedule"
        )
    if callback is not None and not callable(callback):
        raise TypeError(
            f"{_CALLER}: callback is {callback!r}; pass a function of the history, or None"
        )
    history: History = {"loss": [], "learning_rate": [], "seconds": []}
    given = Fit.of(data[0], data[1], batch_size, shuffle, *data[2:])
    batches = Batches(data, given.batch_size)
    run.early = _early_stop(model, given, held, patience, schedule)
    early = run.early
    total = epochs if total is None else total
    with Progress(total, "training", progress, total - epochs) as shown:
        try:
            for _ in range(epochs):
                if early is not None:
                    if patience is not None and early.is_over(patience):
                        break
                    early.work(model.live)
                values = _epoch(model, batches, shuffle, schedule, held)
                append(run.history, values)
                run.last_fit = given
                for name, value in values.items():
                    history.setdefault(name, []).append(value)
                if early is not None:
                    early.observe(model.live, run.epochs, values["validation_loss"])
                    early.rest(model.live)
                if model.save is not None and math.isfinite(values["loss"]):
                    model.save()
                shown.update(history)
                if callback is not None and callback(history):
                    break
                if not is_finite(history):
                    warnings.warn(
                        f"{_CALLER}: the loss is {values['loss']} after epoch {run.epochs}; "
                        f"training has diverged and ends here: lower the learning rate, which is "
                        f"{values['learning_rate']:g}, or scale the columns of x",
                        RuntimeWarning,
                        stacklevel=4,  # the caller of MLP.fit
                    )
                    break
        finally:
            if early is not None:
                early.rest(model.live)
    return history


def is_finite(history: History) -> bool:
    """Whether the last epoch's loss is a number: False once a run has diverged."""
    return all(math.isfinite(value) for value in history["loss"][-1:])


def _data(
    config: Config, x: Array, y: Array, weights: Array | None, validation: Any, check_finite: bool
) -> tuple[tuple[Array, ...], Set | None]:
    """What steps are given: x, y and, if there are any, weights; and what validates them."""
    check_finite = flag(_CALLER, "check_finite", check_finite)
    x = checked_x(config, _CALLER, x)
    y = checked_y(config, _CALLER, y, len(x))
    w = counted(_CALLER, weights, len(x)).weights
    if check_finite:
        refuse_what_is_not(_CALLER, x=x, y=y, **in_dtype(config, w))
    own, held = validation_set(config, validation, (x, y, w))
    if check_finite and held is not None:
        refuse_what_is_not(f"{_CALLER} (validation)", x=held[0], y=held[1])
    x, y, w = own
    data = (
        np.ascontiguousarray(x),
        np.ascontiguousarray(y, np.int64 if y.ndim == 1 else None),  # labels as a step reads them
    )
    return (data if w is None else (*data, w)), held


def _early_stop(
    model: Model,
    given: Fit,
    held: Set | None,
    patience: int | None,
    schedule: Schedule | None,
) -> EarlyStop | None:
    """What watches this call: of the last one, where it goes on; else a new one, or none."""
    if patience is None or held is None:
        return None
    key, old = fingerprint(*(a for a in held if a is not None)), model.run.early
    if old is None or not old.belongs_to(model.live, key):
        return EarlyStop(key)
    if old.is_over(patience):
        changes = _changes(model, given, schedule)
        if changes:
            warnings.warn(
                f"{_CALLER}: the last call stopped early, and since then {' and '.join(changes)}: "
                f"early stopping starts anew, from the parameters that are there",
                UserWarning,
                stacklevel=5,  # the caller of MLP.fit
            )
            return EarlyStop(key)
    return old


def _changes(model: Model, given: Fit, schedule: Schedule | None) -> list[str]:
    """What this call is given that the epochs behind it were not: with it, to have stopped early
    is no reason to do nothing."""
    run, found = model.run, []
    rates = run.history.get("learning_rate", [])
    if len(rates) == run.epochs:  # else some were before there were histories
        if schedule is None:
            if rates[-1:] != [model.step.learning_rate]:
                found.append("learning_rate was assigned")
        elif any(
            not _gave(model.config, schedule, epoch, rate) for epoch, rate in enumerate(rates)
        ):
            found.append("schedule changed")
    if run.last_fit is not None:
        found += [f"{name} changed" for name, _, _ in run.last_fit.differences(given)]
    return found


def _epoch(
    model: Model,
    batches: Batches,
    shuffle: bool,
    schedule: Schedule | None,
    held: Set | None,
) -> dict[str, float]:
    """One pass over the data -> what the history says of it."""
    start, run, step = time.perf_counter(), model.run, model.step
    if schedule is not None:
        step.learning_rate = _rate(model.config, schedule, run.epochs)
    rows = len(batches.arrays[0])
    if shuffle:
        parts = batches.in_order(permutation(rows, model.config.seed, SHUFFLE, run.epochs))
    else:
        parts = batches.as_they_are()
    loss = _mean_loss(step, parts) if len(batches.arrays) == 2 else _weighted(step, parts)
    run.epochs += 1
    values = {"loss": loss}
    if held is not None:
        for name, value in evaluate(model.config, model.forward, *held).items():
            values[f"validation_{name}"] = value
    values["learning_rate"] = step.learning_rate
    values["seconds"] = time.perf_counter() - start
    return values


def _mean_loss(step: Step, parts: Iterator[tuple[Array, ...]]) -> float:
    rows, total = 0, 0.0
    for x, y in parts:
        total += step(x, y) * len(x)
        rows += len(x)
    return total / rows


def _weighted(step: Step, parts: Iterator[tuple[Array, ...]]) -> float:
    """Steps with a weight a row; a batch whose weights are all 0 is none."""
    total = count = 0.0
    for x, y, weights in parts:
        weight = float(weights.sum())
        if weight > 0:
            total += step.weighted(_CALLER, x, y, How(weights)) * weight
            count += weight
    return total / count


def _rate(config: Config, schedule: Schedule, epoch: int) -> float:
    return checked_rate(_CALLER, f"schedule({epoch})", schedule(epoch), config.dtype)


def _gave(config: Config, schedule: Schedule, epoch: int, rate: float) -> bool:
    """Whether an epoch that is over could have had its rate from this schedule."""
    try:
        return _rate(config, schedule, epoch) == rate
    except Exception:  # one that was made for the epochs to come
        return False
