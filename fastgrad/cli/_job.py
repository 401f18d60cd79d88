"""A training that was asked for: data, cut, and the model that is trained on the first part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .._mlp import MLP
from .._ops.schedules import Schedule
from ..datasets import DataError
from ..tables.target import Target
from ._errors import UsageError

HIDDEN = 128


@dataclass(frozen=True)
class Job:
    """Data cut in two or three, and the model that is trained on the first part."""

    model: MLP
    x: NDArray[Any]
    y: NDArray[Any]  # class numbers (N,), or numbers (N, 1) of the model's dtype
    held_x: NDArray[Any]
    held_y: NDArray[Any]
    validation: tuple[NDArray[Any], ...] | None  # x, y and, if there are any, weights
    epochs: int  # in all, those before a resumed start included
    batch_size: int
    patience: int | None
    schedule: Schedule
    start: MLP | None  # the resumed model as it was; None: ``model`` starts untrained
    target: Target
    first_lines: tuple[str, ...] = ()  # what the file is
    lines: tuple[str, ...] = ()  # what is learned from it
    weights: NDArray[Any] | None = None  # (N,), of the rows to train on
    held_weights: NDArray[Any] | None = None
    block_rows: int | None = None
    ranks: int = 1

    @property
    def counting(self) -> tuple[NDArray[Any], ...]:
        """The weights, if there are any."""
        return () if self.weights is None else (self.weights,)

    def left(self, model: MLP) -> int:
        """Epochs that ``model`` has to do."""
        return max(0, self.epochs - model.epochs)


@contextmanager
def user_errors() -> Iterator[None]:
    """Bad data and settings, which the library reports in one line, end the command with code 2."""
    try:
        yield
    except DataError as error:
        raise UsageError(f"--data {error}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
