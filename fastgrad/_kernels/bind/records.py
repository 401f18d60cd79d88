"""What a user's compiled function hands over: a descriptor of words, and a record an operand.

These layouts are in machine code that users keep in numba's cache, so they never change; what has
to change takes another LAYOUT, and `gateway.py` goes on taking this one or sends it away.

A descriptor: LAYOUT, number of the function, count of operands, then a word for each operand: the
address of its record, 0 for None; or, of flags, 0 or 1. A record: the address of the data, kind of
the elements, number of dimensions, flags, lengths, strides in bytes.
"""

from __future__ import annotations

from llvmlite import ir
from numba.extending import register_jitable

from ..codegen.integers import least, on_integers
from ..codegen.memory import word, word_pointer
from ..runtime.jit import OPTIONS

LAYOUT = 1

# The functions, by number from 1; the order is part of the layout, new ones go to the end.
FUNCTIONS = (
    "matmul", "matmul_nt", "matmul_tn", "linear_forward", "linear_backward",
    "softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse", "sgd_step", "adam_step",
    "set_num_threads", "get_num_threads",
)  # fmt: skip
NUMBER = {name: number for number, name in enumerate(FUNCTIONS, 1)}

# Words of a descriptor and of a record.
VERSION, FUNCTION, COUNT, OPERANDS = range(4)
DATA, KIND, NDIM, FLAGS, LENGTHS = range(5)

# Flags of a record. WANTED: a result that the caller is to make; it asks for the lengths, and calls
# again with the array, now FRESH. SCALAR: a number, no dimension. TEXT: code points.
READ_ONLY, WANTED, FRESH, SCALAR, TEXT = 1, 2, 4, 8, 16

# What a caller is told: all is well, or which exception it has to raise; see gateway.py.
DONE, WRONG, NO_MEMORY, BROKEN = range(4)
# What a kernel of `gateway.py` says of operands that it leaves to Python.
CAREFUL = -1


def kind_code(letter: str, itemsize: int) -> int:
    """A dtype's kind and itemsize as numpy has them, "f" and 4, as a word."""
    return ord(letter) << 8 | itemsize


FLOAT32, FLOAT64 = kind_code("f", 4), kind_code("f", 8)

# A call is a microsecond: what is small below is inlined, which leaves 20 ns of checks for a layer.
# Matrices: tuples (data, lines, from line to line, length of a line, from element to element).


@on_integers
def set_word(b: ir.IRBuilder, address: ir.Value, index: ir.Value, value: ir.Value) -> None:
    """The ``index``-th 64-bit word at ``address`` is set to ``value``."""
    b.store(value, word_pointer(b, address, index))


@register_jitable(forceinline=True, **OPTIONS)
def float_size(r):  # type: ignore[no-untyped-def]
    """Bytes of an element of a record of float32 or float64, 0 of another."""
    kind = word(r, KIND)
    return 4 if kind == FLOAT32 else 8 if kind == FLOAT64 else 0


@register_jitable(forceinline=True, **OPTIONS)
def expect(r, axis, length):  # type: ignore[no-untyped-def]
    """Whether a record has this length; one that is wanted gets it."""
    if word(r, FLAGS) & WANTED != 0:
        set_word(r, LENGTHS + axis, length)
        return True
    return word(r, LENGTHS + axis) == length


@register_jitable(**OPTIONS)
def lines(r, count):  # type: ignore[no-untyped-def]
    """The first ``count`` dimensions as one: length, stride, and whether they can be taken so."""
    ndim = word(r, NDIM)
    n, first, next_, even = 1, 0, 0, True
    for axis in range(count - 1, -1, -1):
        length, stride = word(r, LENGTHS + axis), word(r, LENGTHS + ndim + axis)
        if length != 1:
            if n == 1:
                first = stride
            elif stride != next_:
                even = False
            next_ = stride * length
            n *= length
    return n, first, even or n == 0


@register_jitable(forceinline=True, **OPTIONS)
def matrix(r):  # type: ignore[no-untyped-def]
    """A record (..., columns) as a matrix, and whether it is one."""
    ndim, data = word(r, NDIM), word(r, DATA)
    if ndim == 2:
        n, stride, even = word(r, LENGTHS), word(r, LENGTHS + 2), True
    elif ndim == 1:
        n, stride, even = 1, 0, True
    else:
        n, stride, even = lines(r, ndim - 1)
    at = LENGTHS + ndim - 1
    return (data, n, stride, word(r, at), word(r, at + ndim)), even


@register_jitable(forceinline=True, **OPTIONS)
def column(r, size):  # type: ignore[no-untyped-def]
    """A record (...) as a matrix of one column, and whether it is one."""
    n, stride, even = lines(r, word(r, NDIM))
    return (word(r, DATA), n, stride, 1, size), even


@register_jitable(forceinline=True, **OPTIONS)
def turned(m):  # type: ignore[no-untyped-def]
    return m[0], m[3], m[4], m[1], m[2]


@register_jitable(forceinline=True, **OPTIONS)
def is_dense(m, size):  # type: ignore[no-untyped-def]
    """Whether lines have unit stride and do not overlap: what kernels write."""
    _, n, pitch, length, stride = m
    unit = stride == size or length <= 1 or n == 0
    return unit and (pitch >= length * size or -pitch >= length * size or n <= 1)


@register_jitable(forceinline=True, **OPTIONS)
def are_apart(x, y, size):  # type: ignore[no-untyped-def]
    """Whether two matrices have no byte in common."""
    empty = (x[1] * x[3] == 0) | (y[1] * y[3] == 0)
    x_last, x_right = (x[1] - 1) * x[2], (x[3] - 1) * x[4]
    y_last, y_right = (y[1] - 1) * y[2], (y[3] - 1) * y[4]
    x_low = x[0] + least(0, x_last) + least(0, x_right)
    y_low = y[0] + least(0, y_last) + least(0, y_right)
    x_high = x[0] - least(0, -x_last) - least(0, -x_right) + size
    y_high = y[0] - least(0, -y_last) - least(0, -y_right) + size
    return empty | (x_high <= y_low) | (y_high <= x_low)
