"""A training that was asked for: data, cut, and the model that is trained on the first part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mlp import MLP
from .._ops.schedules import Schedule
from ..datasets import DataError
from ._errors import UsageError

HIDDEN = 128
Data = tuple[NDArray[Any], NDArray[np.int64]]


@dataclass(frozen=True)
class Job:
    """Data cut in two or three, and the model that is trained on the first part."""

    model: MLP
    x: NDArray[Any]
    y: NDArray[np.int64]
    held_x: NDArray[Any]
    held_y: NDArray[np.int64]
    validation: Data | None
    epochs: int  # in all, those before a resumed start included
    batch_size: int
    patience: int | None
    schedule: Schedule
    start: MLP | None  # the resumed model as it was; None: ``model`` starts untrained

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
