"""A training that was asked for: data and options in, checked; and what they are, to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen import target
from .._ops.checks import flag
from .._ops.numbers import count
from .._ops.schedules import Schedule
from .._version import __version__
from .batch import checked_x
from .config import SETTINGS, Config
from .history import Fit, History, fingerprint
from .parameters import Parameters
from .state import Run
from .step import Step
from .targets import checked_y
from .team import Team
from .validation import Set, validation_set
from .weighting import counted, in_dtype

Array = NDArray[Any]
_CALLER = "MLP.fit"


@dataclass(frozen=True)
class Task:
    """data: x, y and, if there are any, weights; held: what validates them."""

    data: tuple[Array, ...]
    held: Set | None
    epochs: int
    given: Fit
    block_rows: int | None
    patience: int | None
    schedule: Schedule | None
    callback: Callable[[History], bool | None] | None


def task_of(
    config: Config,
    team: Team,
    x: Array,
    y: Array,
    epochs: int,
    batch_size: int,
    validation: Any,
    shuffle: bool,
    patience: int | None,
    schedule: Schedule | None,
    callback: Callable[[History], bool | None] | None,
    weights: Array | None = None,
    check_finite: bool = True,
    block_rows: int | None = None,
) -> Task:
    """See MLP.fit."""
    epochs, shuffle = count(_CALLER, "epochs", epochs, 0), flag(_CALLER, "shuffle", shuffle)
    batch_size = count(_CALLER, "batch_size", batch_size)
    if block_rows is not None:
        block_rows = count(_CALLER, "block_rows", block_rows)
    elif team.comm is not None:
        raise ValueError(
            f"{_CALLER}: comm has {team.size} ranks but block_rows is None; blocks decide the "
            f"bits: pass block_rows={max(1, batch_size // team.size)}, batch_size // ranks"
        )
    data, held = _data(config, team, x, y, weights, validation, check_finite)
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
    given = Fit.of(data[0], data[1], batch_size, shuffle, *data[2:], block_rows=block_rows)
    return Task(data, held, epochs, given, block_rows, patience, schedule, callback)


def _data(
    config: Config,
    team: Team,
    x: Array,
    y: Array,
    weights: Array | None,
    validation: Any,
    check_finite: bool,
) -> tuple[tuple[Array, ...], Set | None]:
    check_finite = flag(_CALLER, "check_finite", check_finite)
    x = checked_x(config, _CALLER, x)
    y = checked_y(config, _CALLER, y, len(x))
    w = counted(_CALLER, weights, len(x)).weights
    team.look(_CALLER, check_finite, x=x, y=y, **in_dtype(config, w))
    own, held = validation_set(config, validation, (x, y, w))
    if held is not None:
        team.look(f"{_CALLER} (validation)", check_finite, x=held[0], y=held[1])
    x, y, w = own
    data = (
        np.ascontiguousarray(x),
        np.ascontiguousarray(y, np.int64 if y.ndim == 1 else None),  # labels as a step reads them
    )
    return (data if w is None else (*data, w)), held


def facts_of(
    task: Task, config: Config, parameters: Parameters, run: Run, step: Step
) -> dict[str, object]:
    """What ranks must have in common, by the words of a message."""
    return dict(_facts(task, config, parameters, run, step))


def facts_of_epoch(parameters: Parameters, run: Run) -> dict[str, object]:
    """Likewise after an epoch: a callback, on rank 0, may have changed what it must not."""
    name = f"the digest of the parameters after epoch {run.epochs}"
    return {name: fingerprint(parameters.flat)}


def _facts(
    task: Task, config: Config, parameters: Parameters, run: Run, step: Step
) -> Iterator[tuple[str, object]]:
    yield "the version of fastgrad", __version__
    yield "BITS_VERSION", target.BITS_VERSION
    yield "fused multiply-add", target.current().isa.fma
    yield "the version of numpy", np.__version__
    for name in SETTINGS:
        yield name, getattr(config, name)
    yield "the digest of the parameters", fingerprint(parameters.flat)
    yield "the digest of the optimizer's state", fingerprint(*parameters.state)
    for name, value in (("steps", step.steps), ("epochs done", run.epochs),
                        ("learning_rate", step.learning_rate)):  # fmt: skip
        yield name, value
    early = run.early
    if early is not None:
        yield "early stopping", (early.validation, early.best_epoch, early.best_loss, early.waited)
        kept = [a for arrays in (early.best, early.last) for a in arrays or ()]
        yield "the digest of the best parameters", fingerprint(*kept)
    yield "epochs", task.epochs
    for name in ("batch_size", "block_rows", "shuffle"):
        yield name, getattr(task.given, name)
    yield "patience", task.patience
    rates = task.schedule and [task.schedule(run.epochs + i) for i in range(task.epochs)]
    yield "schedule", rates if rates is None else fingerprint(np.array(rates, np.float64))
    for of, arrays in (("", task.data), (" of validation", task.held or ())):
        for name, a in zip(("x", "y", "weights"), arrays, strict=False):
            yield name + of, a if a is None else f"{a.dtype} {a.shape}"
