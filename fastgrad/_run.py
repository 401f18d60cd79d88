"""What a model keeps of its training between calls of fit: the history, and early stopping."""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ._mlp import MLP

Array = NDArray[Any]
History = dict[str, list[float]]
_SAMPLE = 1 << 20  # bytes


@dataclass
class Run:
    """history: an entry an epoch in every list, NaN where an epoch had no such value."""

    history: History = field(default_factory=dict)
    early: EarlyStop | None = None
    last_fit: Fit | None = None

    def append(self, values: dict[str, float]) -> None:
        """The values of one more epoch."""
        done = max(map(len, self.history.values()), default=0)
        for column in self.history.values():  # an interrupt may have come between two columns
            column.extend([math.nan] * (done - len(column)))
        for name in dict.fromkeys([*self.history, *values]):
            column = self.history.setdefault(name, [math.nan] * done)
            column.append(values.get(name, math.nan))


@dataclass(frozen=True)
class Fit:
    """What a call of fit was given, by which a run that goes on is told from another one."""

    batch_size: int
    shuffle: bool
    rows: int
    data: str  # fingerprint of dtypes, lengths of a row, and values: those of some rows

    @classmethod
    def of(cls, x: Array, y: Array, batch_size: int, shuffle: bool) -> Fit:
        data = fingerprint(_some_rows(x), _some_rows(y))
        return cls(min(batch_size, len(x)), shuffle, len(x), data)


@dataclass
class EarlyStop:
    """The best epoch so far, by the loss on one validation set.

    At rest (between calls of fit, and in a file) the model has the parameters of the best epoch,
    and those of the last are kept here; at work it is the other way round.
    """

    validation: str  # fingerprint of the set
    best_loss: float = math.inf
    best_epoch: int = 0
    waited: int = 0  # epochs since then
    best: list[Array] | None = None
    last: list[Array] | None = None
    at_rest: bool = False

    def observe(self, model: MLP, loss: float) -> None:
        """The validation loss of an epoch that ``model`` has just done. NaN is never better."""
        self.waited += 1
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.waited = loss, model.epochs, 0
            self.best = _copied(parameters(model), self.best)

    def rest(self, model: MLP) -> None:
        """Give the model its best parameters. Repeated or interrupted, it can be called again."""
        if self.best is not None:
            if not self.at_rest:
                self.last = _copied(parameters(model), self.last)
            self.at_rest = True
            _assign(parameters(model), self.best)

    def work(self, model: MLP) -> None:
        """Give the model its last parameters."""
        if self.at_rest and self.last is not None:
            _assign(parameters(model), self.last)
        self.at_rest = False

    def belongs_to(self, model: MLP, validation: str) -> bool:
        """Whether the model and the validation set are those that fit left."""
        shown = parameters(model)
        return validation == self.validation and (
            self.best is None
            or all(a.tobytes() == b.tobytes() for a, b in zip(shown, self.best, strict=True))
        )


def run_of(model: MLP) -> Run:
    """The model's run, empty where it has none. Copies of a model share it: never change it."""
    run: Run = getattr(model, "_run", None) or Run()
    return run


def start_run(model: MLP, validation: tuple[Array, Array] | None) -> Run:
    """A copy of the model's run, to be changed and kept in it; with a validation set, one that
    stops early: from where the last call ended if it is the same set, else afresh."""
    old = run_of(model)
    history = {name: list(values) for name, values in old.history.items()}
    run = Run(history, last_fit=old.last_fit)
    if validation is not None:
        key = fingerprint(*validation)
        if old.early is not None and old.early.belongs_to(model, key):
            run.early = copy.deepcopy(old.early)
        else:
            run.early = EarlyStop(key)
    vars(model)["_run"] = run
    return run


def parameters(model: MLP) -> list[Array]:
    """Weight 0, bias 0, weight 1, ...: the live arrays."""
    return [array for pair in zip(model.weights, model.biases, strict=True) for array in pair]


def _copied(arrays: list[Array], into: list[Array] | None) -> list[Array]:
    if into is None:
        return [array.copy() for array in arrays]
    _assign(into, arrays)
    return into


def _assign(to: list[Array], values: list[Array]) -> None:
    for array, value in zip(to, values, strict=True):
        array[...] = value


def _some_rows(array: Array) -> Array:
    """All of it, or evenly spaced rows with the first and the last: a millisecond to hash."""
    most = max(2, _SAMPLE // max(1, array[:1].nbytes))
    if len(array) <= most:
        return array
    return array[np.linspace(0, len(array) - 1, most).astype(np.int64)]


def fingerprint(x: Array, y: Array) -> str:
    """16 hex digits of the SHA-256 of shapes, dtypes and values."""
    total = hashlib.sha256()
    for array in (x, y):
        total.update(f"{array.shape} {array.dtype.str} ".encode())
        total.update(np.ascontiguousarray(array).data.cast("B"))
    return total.hexdigest()[:16]
