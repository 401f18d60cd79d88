"""What linear_backward returns: builtins make it, so its type is down here."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray


class LinearGrads(NamedTuple):
    """dF/dX, dF/dW and dF/db; None where it was not needed."""

    x: NDArray[Any] | None
    weight: NDArray[Any] | None
    bias: NDArray[Any] | None


LinearGrads.__module__ = "fastgrad"  # its public place: what a pickle names
