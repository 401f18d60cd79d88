"""What the epochs of a model were: their values, what fit was given, and early stopping.

Early stopping keeps two sets of parameters beside the model's own. Which of them is whose:

    when                                    the model has   best   last   at_rest
    no epoch has been better yet            the last        None   None   False
    at work: during fit                     the last        best   any    False
    at rest: between calls, in a file       the best        best   last   True

``work`` and ``rest`` go from row to row, whatever interrupts them; nothing else does.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
History = dict[str, list[float]]  # a list for each name, an entry an epoch
_SAMPLE = 1 << 20  # bytes


def append(history: History, values: dict[str, float]) -> None:
    """The values of one more epoch; NaN in the lists that have none of it."""
    done = max(map(len, history.values()), default=0)
    for column in history.values():  # an interrupt may have come between two columns
        column.extend([math.nan] * (done - len(column)))
    for name in dict.fromkeys([*history, *values]):
        column = history.setdefault(name, [math.nan] * done)
        column.append(values.get(name, math.nan))


def copied(history: History) -> History:
    return {name: list(values) for name, values in history.items()}


@dataclass(frozen=True)
class Fit:
    """What a call of fit was given, by which a run that goes on is told from another one."""

    batch_size: int
    shuffle: bool
    rows: int
    data: str  # fingerprint of dtypes, lengths of a row, and values: those of some rows
    block_rows: int | None = None

    @classmethod
    def of(
        cls,
        x: Array,
        y: Array,
        batch_size: int,
        shuffle: bool,
        *more: Array,
        block_rows: int | None = None,
    ) -> Fit:
        data = fingerprint(*map(_some_rows, (x, y, *more)))
        size = min(batch_size, len(x))
        blocks = None if block_rows is None or block_rows >= size else block_rows  # one is none
        return cls(size, shuffle, len(x), data, blocks)

    def differences(self, now: Fit) -> list[tuple[str, str, str]]:
        """(what differs, what it was, what it is now)."""
        found = []
        if (self.rows, self.data) != (now.rows, now.data):
            found.append(("data", f"{self.rows} rows", f"{now.rows} rows"))
        for name in ("batch_size", "shuffle", "block_rows"):
            then, here = getattr(self, name), getattr(now, name)
            if then != here:
                found.append((name, str(then), str(here)))
        return found


@dataclass
class EarlyStop:
    """The best epoch so far, by the loss on one validation set; see the table above.

    ``live``, in every method, is the model's own parameters: weight 0, bias 0, ...
    """

    validation: str  # fingerprint of the set
    best_loss: float = math.inf
    best_epoch: int = 0
    waited: int = 0  # epochs since then
    best: list[Array] | None = None
    last: list[Array] | None = None
    at_rest: bool = False

    def observe(self, live: Sequence[Array], epoch: int, loss: float) -> None:
        """The rule: the validation loss of an epoch that was just done. NaN is never better."""
        self.waited += 1
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.waited = loss, epoch, 0
            self.best = _copied(live, self.best)

    def is_over(self, patience: int) -> bool:
        return self.waited >= patience

    def rest(self, live: Sequence[Array]) -> None:
        """Give the model its best parameters. Repeated or interrupted, it can be called again."""
        if self.best is not None:
            if not self.at_rest:
                self.last = _copied(live, self.last)
            self.at_rest = True
            _assign(live, self.best)

    def work(self, live: Sequence[Array]) -> None:
        """Give the model its last parameters."""
        if self.at_rest and self.last is not None:
            _assign(live, self.last)
        self.at_rest = False

    def belongs_to(self, live: Sequence[Array], validation: str) -> bool:
        """Whether the model and the validation set are those that fit left."""
        return validation == self.validation and self.is_of(live)

    def is_of(self, live: Sequence[Array]) -> bool:
        """Whether the model at rest has the best parameters: not where a user changed them."""
        return self.best is None or all(
            a.tobytes() == b.tobytes() for a, b in zip(live, self.best, strict=True)
        )

    def copy(self) -> EarlyStop:
        return copy.deepcopy(self)


def fingerprint(*arrays: Array) -> str:
    """16 hex digits of the SHA-256 of shapes, dtypes and values."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.shape} {array.dtype.str} ".encode())
        total.update(np.ascontiguousarray(array).data.cast("B"))
    return total.hexdigest()[:16]


def _some_rows(array: Array) -> Array:
    """All of it, or evenly spaced rows with the first and the last: a millisecond to hash."""
    most = max(2, _SAMPLE // max(1, array[:1].nbytes))
    if len(array) <= most:
        return array
    return array[np.linspace(0, len(array) - 1, most).astype(np.int64)]


def _copied(arrays: Sequence[Array], into: list[Array] | None) -> list[Array]:
    if into is None:
        return [array.copy() for array in arrays]
    _assign(into, arrays)
    return into


def _assign(to: Sequence[Array], values: Sequence[Array]) -> None:
    for array, value in zip(to, values, strict=True):
        array[...] = value
