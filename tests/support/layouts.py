"""The same values in any memory layout, with rogue bytes in every gap and around the whole.

The rogue bytes are NaN in float32 and float64: an element of a gap that is used shows in the
result, and one that is written shows in `Placed.intact`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_ROGUE = 0xFF
_MARGIN = 4096  # bytes before and after: more than any vector that overshoots


class Placed(NamedTuple):
    """An array and the memory around it."""

    array: Array
    memory: NDArray[np.uint8]

    def intact(self) -> bool:
        """Whether all bytes that are not of the array are still rogue."""
        inside = np.zeros_like(self.memory)
        offset = self.array.ctypes.data - self.memory.ctypes.data
        whole = np.full((), -1, f"i{self.array.itemsize}")
        view = np.ndarray(self.array.shape, whole.dtype, inside, offset, self.array.strides)
        view[...] = whole
        return bool((self.memory[inside == 0] == _ROGUE).all())


def place(
    values: Array,
    order: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    pad: int = 0,
    reverse: Sequence[int] = (),
    shift: int = 0,
    writeable: bool = True,
) -> Placed:
    """``values`` (any shape) in new memory.

    order: axes from the slowest to the fastest; steps: elements from one to the next, an axis each;
    pad: rogue elements after each run of an axis; reverse: axes of negative stride; shift: bytes
    off alignment.
    """
    axes = range(values.ndim) if order is None else order
    strides, stride = [0] * values.ndim, values.itemsize
    for axis in reversed(axes):
        strides[axis] = stride * (steps[axis] if steps else 1)
        stride = strides[axis] * max(values.shape[axis], 1) + pad * values.itemsize
    memory = np.full(2 * _MARGIN + stride + shift, _ROGUE, np.uint8)
    offset = _MARGIN + shift
    for axis in reverse:
        offset += strides[axis] * max(values.shape[axis] - 1, 0)
        strides[axis] = -strides[axis]
    array: Array = np.ndarray(values.shape, values.dtype, memory, offset, strides)
    array[...] = values
    array.flags.writeable = writeable
    return Placed(array, memory)


# Of matrices. Outputs may be laid out in any of OUTPUTS.
OUTPUTS: dict[str, dict[str, Any]] = {
    "C": {},
    "F": {"order": (1, 0)},
    "padded rows": {"pad": 3},
    "padded columns": {"order": (1, 0), "pad": 5},
    "every third column": {"steps": (1, 3)},
    "every other row, third column": {"steps": (2, 3)},
    "rows reversed": {"reverse": (0,)},
    "columns reversed": {"reverse": (1,)},
    "F, both reversed": {"order": (1, 0), "reverse": (0, 1)},
    "both reversed, strided": {"steps": (2, 2), "reverse": (0, 1)},
    "one byte off": {"shift": 1},
    "F, three bytes off": {"order": (1, 0), "shift": 3},
}
LAYOUTS = {
    **OUTPUTS,
    "read-only": {"writeable": False},
    "F, read-only": {"order": (1, 0), "writeable": False},
}


def laid_out(values: Array, layout: str) -> Array:
    """``values`` (rows, columns) in a layout of LAYOUTS."""
    return place(values, **LAYOUTS[layout]).array


# Of stacks (s, rows, columns): outermost axes that do not collapse into one stride, and so on.
STACKS: dict[str, dict[str, Any]] = {
    "C": {},
    "F": {"order": (2, 1, 0)},
    "matrices interleaved": {"order": (1, 0, 2)},
    "matrices transposed": {"order": (0, 2, 1)},
    "padded": {"pad": 2},
    "strided": {"steps": (2, 2, 2)},
    "reversed": {"reverse": (0, 1, 2)},
    "stack reversed": {"reverse": (0,)},
    "one byte off": {"shift": 1},
}
