"""What a user's compiled function hands over: a descriptor of words, and a record an operand.

These layouts are in machine code that users keep in numba's cache, so they never change; what has
to change takes another LAYOUT, and `gateway.py` goes on taking this one or sends it away.
"""

from __future__ import annotations

from typing import NamedTuple

LAYOUT = 1

# The functions, by number from 1; the order is part of the layout, new ones go to the end.
FUNCTIONS = (
    "matmul", "matmul_nt", "matmul_tn", "linear_forward", "linear_backward",
    "softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse", "sgd_step", "adam_step",
    "set_num_threads", "get_num_threads",
    "any_adam_step", "weighted_softmax_cross_entropy",
    "weighted_binary_cross_entropy_with_logits", "weighted_mse",
    "softmax", "activation", "clip_grad_norm",
)  # fmt: skip
NUMBER = {name: number for number, name in enumerate(FUNCTIONS, 1)}


class Descriptor(NamedTuple):
    """Then a word for each operand: the address of its record, 0 for None; or, of flags, 0 or 1."""

    layout: int
    function: int
    operands: int  # how many


class Record(NamedTuple):
    """Then the lengths, and the strides in bytes."""

    data: int  # address
    kind: int  # of the elements, see kind_code
    ndim: int
    flags: int


# Flags of a record. WANTED: a result that the caller is to make; it asks for the lengths, and calls
# again with the array, now FRESH. SCALAR: a number, no dimension. TEXT: code points.
READ_ONLY, WANTED, FRESH, SCALAR, TEXT = 1, 2, 4, 8, 16
# From this bit on, of an array that the caller has converted: the kind that it had, for messages.
KIND_BEFORE = 16

# What a caller is told: all is well, or which exception it has to raise; see gateway.py.
DONE, WRONG, NO_MEMORY, BROKEN = range(4)
# What the rules say of a call that they leave to the checked path; and those of a layer of one that
# is for the rules of a stack of layers.
CHECKED, STACKED = -1, -2


def kind_code(letter: str, itemsize: int) -> int:
    """A dtype's kind and itemsize as numpy has them, "f" and 4, as a word."""
    return ord(letter) << 8 | itemsize


FLOAT32, FLOAT64 = kind_code("f", 4), kind_code("f", 8)
INT64, BOOL = kind_code("i", 8), kind_code("b", 1)
LETTERS = kind_code("U", 1)  # of a text that is ASCII
