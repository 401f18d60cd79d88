"""Rows to validate with: what fit was given in; rows to train on and the others out."""

from __future__ import annotations

import numbers
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops.numbers import shown
from ..datasets.split import validation_split
from .batch import checked_x
from .config import Config
from .targets import checked_y
from .weighting import counted

Array = NDArray[Any]
Set = tuple[Array, Array, Array | None]  # x, y, weights: checked
_CALLER = "MLP.fit"


def validation_set(config: Config, validation: Any, data: Set) -> tuple[Set, Set | None]:
    """validation: None, a tuple (x, y) or (x, y, weights), or the fraction of the rows that is kept
    apart.

    These are drawn by the seed, as the command line draws them: that fraction of every class.
    """
    if validation is None:
        return data, None
    if isinstance(validation, numbers.Real) and not isinstance(validation, bool):
        return _apart(config, validation, data)
    if not isinstance(validation, tuple) or len(validation) not in (2, 3):
        raise TypeError(
            f"{_CALLER}: validation is {type(validation).__name__}; pass a tuple (x, y) or (x, y, "
            f"weights), or the fraction of the rows that is kept apart"
        )
    caller = f"{_CALLER} (validation)"
    x = checked_x(config, caller, validation[0])
    weights = counted(caller, validation[2] if len(validation) == 3 else None, len(x)).weights
    return data, (x, checked_y(config, caller, validation[1], len(x)), weights)


def _apart(config: Config, validation: Any, data: Set) -> tuple[Set, Set]:
    if not 0 < validation < 1:
        raise ValueError(
            f"{_CALLER}: validation is {shown(validation)}; pass a fraction between 0 and 1"
        )
    share = Fraction(str(validation))  # 0.1 is a tenth
    try:
        pair = validation_split(_classes(config, data[1]), share, config.seed)
    except ValueError as error:
        words = str(error).removeprefix("validation_split: ")
        raise ValueError(f"{_CALLER}: validation is {shown(validation)}, but {words}") from None
    x, y, weights = data
    own, held = ((x[rows], y[rows], None if weights is None else weights[rows]) for rows in pair)
    for name, part in (("train on", own[2]), ("validate with", held[2])):
        if part is not None and not part.any():
            raise ValueError(f"{_CALLER}: weights are all 0 in the rows to {name}")
    return own, held


def _classes(config: Config, y: Array) -> NDArray[np.int64]:
    """(N,): the class of each row; one for all where y has none."""
    if config.loss == "softmax_cross_entropy":
        found = y if y.ndim == 1 else np.argmax(y, axis=1)
    elif config.loss != "mse" and config.sizes[-1] == 1:
        found = y[:, 0] > 0.5
    else:
        found = np.zeros(len(y))
    return found.astype(np.int64)
