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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .._draws import SHUFFLE, permutation
from .._ops.checks import flag
from .._ops.optimizers import checked_rate
from .._ops.schedules import Schedule
from .batch import Rows, parts
from .blocks import InBlocks, Whole
from .config import Config
from .forward import evaluate
from .history import EarlyStop, Fit, History, append, fingerprint
from .parameters import Parameters
from .progress import Progress
from .state import Run
from .step import Step
from .task import Task, facts_of, facts_of_epoch, task_of
from .team import Team, team_of

Array = NDArray[Any]
_CALLER = "MLP.fit"


@dataclass(frozen=True)
class Model:
    """What the loop changes and calls. ``live``: weight 0, bias 0, ...; ``save``: a checkpoint,
    which ``check_save`` says early is possible."""

    config: Config
    parameters: Parameters
    live: list[Array]
    step: Step
    run: Run
    forward: Callable[[Array], Array]
    save: Callable[[], None] | None = None
    check_save: Callable[[], None] | None = None


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
    total: int | None = None,
    comm: Any = None,
    **more: Any,
) -> History:
    """MLP.fit. total: of how many epochs these are the last, in what progress shows (default:
    ``epochs``)."""

    def prepare() -> Task:
        flag(_CALLER, "progress", progress)
        if model.check_save is not None and team.rank == 0:
            model.check_save()
        return task_of(
            model.config, team, x, y, epochs, batch_size, validation, shuffle, patience, schedule,
            callback, **more,
        )  # fmt: skip

    with team_of(_CALLER, comm) as team:
        task = team.every(prepare)
        team.agree(lambda: facts_of(task, model.config, model.parameters, model.run, model.step))
        team.compare_data()
        team.agree(lambda: {"the digest of some rows": task.given.data})
        with team.threads():
            return _loop(model, team, task, progress and team.rank == 0, total)


def _loop(model: Model, team: Team, task: Task, progress: bool, total: int | None) -> History:
    history: History = {"loss": [], "learning_rate": [], "seconds": []}
    run, step = model.run, model.step
    epoch = _Epoch(model, team, task)
    run.early = _early_stop(model, task)
    early = run.early
    total = task.epochs if total is None else total
    with Progress(total, "training", progress, total - task.epochs) as shown:

        def tell() -> tuple[bool, float]:
            """Save, show, call back -> whether to end, and the learning rate to go on with."""
            if model.save is not None and is_finite(history):
                model.save()
            shown.update(history)
            ends = task.callback is not None and bool(task.callback(history))
            return ends, step.learning_rate

        try:
            for done in range(task.epochs):
                if early is not None:
                    if task.patience is not None and early.is_over(task.patience):
                        if done == 0 and model.save is None:  # a checkpoint's may have been over
                            _tell_of_nothing(early)
                        break
                    early.work(model.live)
                values = epoch()
                append(run.history, values)
                run.last_fit = task.given
                for name, value in values.items():
                    history.setdefault(name, []).append(value)
                if early is not None:
                    early.observe(model.live, run.epochs, values["validation_loss"])
                    early.rest(model.live)
                ends, step.learning_rate = team.first(tell)
                team.agree(lambda: facts_of_epoch(model.parameters, run))
                if ends:
                    break
                if not math.isfinite(values["loss"]):
                    warnings.warn(
                        f"{_CALLER}: the loss is {values['loss']} after epoch {run.epochs}; "
                        f"training has diverged and ends here: lower the learning rate, which is "
                        f"{values['learning_rate']:g}, or scale the columns of x",
                        RuntimeWarning,
                        stacklevel=5,  # the caller of MLP.fit
                    )
                    break
        finally:
            if early is not None:
                early.rest(model.live)
    return history


def is_finite(history: History) -> bool:
    """Whether the last epoch's loss is a number: False once a run has diverged."""
    return all(math.isfinite(value) for value in history["loss"][-1:])


class _Epoch:
    """``epoch()``: one pass over the data -> what the history says of it."""

    def __init__(self, model: Model, team: Team, task: Task) -> None:
        self._model, self._team, self._task = model, team, task
        self._forward = team.rows(model.forward)
        own, size = task.data[:2], task.given.batch_size
        self._way: Whole | InBlocks
        if task.block_rows is None:
            self._way = Whole(model.step, own, size)
        else:
            adder = team.adder(model.parameters.grads)
            rows = min(task.block_rows, size)
            self._way = InBlocks(model.config, model.step, own, rows, adder)

    def __call__(self) -> dict[str, float]:
        start, model, task = time.perf_counter(), self._model, self._task
        config, run, step = model.config, model.run, model.step
        if task.schedule is not None:
            step.learning_rate = _rate(config, task.schedule, run.epochs)
        rows = len(task.data[0])
        order: Rows = range(rows)
        if task.given.shuffle:
            order = permutation(rows, config.seed, SHUFFLE, run.epochs)
        weights = task.data[2] if len(task.data) > 2 else None
        values = {"loss": self._mean_loss(order) if weights is None else
                  self._weighted(order, weights)}  # fmt: skip
        run.epochs += 1
        if task.held is not None:
            for name, value in evaluate(config, self._forward, *task.held).items():
                values[f"validation_{name}"] = value
        values["learning_rate"] = step.learning_rate
        values["seconds"] = time.perf_counter() - start
        return values

    def _mean_loss(self, order: Rows) -> float:
        total, step = 0.0, self._way.step
        for part in parts(order, self._task.given.batch_size):
            total += step(part) * len(part)
        return total / len(order)

    def _weighted(self, order: Rows, weights: Array) -> float:
        """Steps with a weight a row; a batch whose weights are all 0 is none."""
        total = count = 0.0
        for part in parts(order, self._task.given.batch_size):
            own = weights[part.start : part.stop] if type(part) is range else weights[part]
            weight = float(own.sum())
            if weight > 0:
                total += self._way.step(part, own) * weight
                count += weight
        return total / count


def _early_stop(model: Model, task: Task) -> EarlyStop | None:
    """What watches this call: of the last one, where it goes on; else a new one, or none."""
    if task.patience is None or task.held is None:
        return None
    key, old = fingerprint(*(a for a in task.held if a is not None)), model.run.early
    if old is None or not old.belongs_to(model.live, key):
        return EarlyStop(key)
    if old.is_over(task.patience):
        changes = _changes(model, task.given, task.schedule)
        if changes:
            warnings.warn(
                f"{_CALLER}: the last call stopped early, and since then {' and '.join(changes)}: "
                f"early stopping starts anew, from the parameters that are there",
                UserWarning,
                stacklevel=6,  # the caller of MLP.fit
            )
            return EarlyStop(key)
    return old


def _tell_of_nothing(early: EarlyStop) -> None:
    warnings.warn(
        f"{_CALLER}: the last call stopped early, after {early.waited} epochs without a better "
        f"validation loss, so this one does nothing; pass more patience, or call reset()",
        UserWarning,
        stacklevel=6,  # the caller of MLP.fit
    )


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


def _rate(config: Config, schedule: Schedule, epoch: int) -> float:
    return checked_rate(_CALLER, f"schedule({epoch})", schedule(epoch), config.dtype)


def _gave(config: Config, schedule: Schedule, epoch: int, rate: float) -> bool:
    """Whether an epoch that is over could have had its rate from this schedule."""
    try:
        return _rate(config, schedule, epoch) == rate
    except Exception:  # one that was made for the epochs to come
        return False
