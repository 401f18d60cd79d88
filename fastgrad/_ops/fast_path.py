"""Between the public functions and the builtins of _kernels/bind/builtins.py."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.formulas.activations import BY_NAME


def done(result: Any) -> None:
    """Make sure that a builtin has taken arguments that have been checked."""
    if result is None:
        raise SystemError("fastgrad: arguments that had been checked were refused")


def plain(a: NDArray[Any]) -> NDArray[Any]:
    """float32 or float64, native -> what builtins take: no memmap, the usual dtype object."""
    a = np.asarray(a)
    return a if a.dtype.byteorder == "=" else a.view(a.dtype.newbyteorder("="))


def known_name(activation: Any) -> Any:
    """Of an activation that builtins do not know, being by identity, the equal one; or None."""
    if type(activation) is not str or activation not in BY_NAME:
        return None
    name = sys.intern(activation)
    return None if name is activation else name


def as_rows(lead: tuple[int, ...], *arrays: Any) -> list[Any] | None:
    """C-contiguous ndarrays (*lead, columns), or None, -> views (rows, columns); else None."""
    views: list[Any] = []
    for a in arrays:
        if a is None:
            views.append(None)
        elif type(a) is not np.ndarray or a.ndim == 0 or a.shape[:-1] != lead:
            return None
        elif not a.flags.c_contiguous or a.size == 0:
            return None
        else:
            views.append(a.reshape(-1, a.shape[-1]))
    return views
