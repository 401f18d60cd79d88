"""Strided arrays as words, and the memory they touch: what must hold before an output is written.

Wherever the words come from: Python's objects, or numba's arrays in a user's function.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

from ..codegen.words import Word


class Span(NamedTuple):
    """First byte, and one past the last byte; (0, 0) of an array without elements."""

    low: Word
    high: Word


class Array(NamedTuple):
    data: Word
    lengths: tuple[Word, ...]
    strides: tuple[Word, ...]  # bytes
    itemsize: Word

    @property
    def words(self) -> tuple[Word, ...]:
        """As descriptors have it."""
        return (self.data, *self.strides)

    def turned_where(self, turned: Word) -> Array:
        """A matrix, or its transpose."""
        pairs = (self.lengths, self.strides)
        first, second = ((turned.choose(y, x), turned.choose(x, y)) for x, y in pairs)
        return Array(self.data, first, second, self.itemsize)

    def matrix(self, i: Word) -> Array:
        """The i-th of a stack of matrices."""
        data = self.data + i * self.strides[0]
        return Array(data, self.lengths[1:], self.strides[1:], self.itemsize)

    def has_lengths(self, lengths: Sequence[Word]) -> Word:
        pairs = zip(self.lengths, lengths, strict=True)
        return functools.reduce(operator.and_, (have == wanted for have, wanted in pairs))

    def span(self) -> Span:
        low, high = self.data, self.data + self.itemsize
        for length, stride in zip(self.lengths, self.strides, strict=True):
            reach = (length - 1) * stride
            back = reach < 0
            low = low + back.choose(reach, 0)
            high = high + back.choose(0, reach)
        empty = functools.reduce(operator.or_, (length == 0 for length in self.lengths))
        return Span(empty.choose(0, low), empty.choose(0, high))

    def is_dense(self) -> Word:
        """Whether a matrix (the last two dimensions) has unit stride along rows or columns."""
        return self.has_dense_rows() | self._is_dense_along(-2, -1)

    def has_dense_rows(self) -> Word:
        return self._is_dense_along(-1, -2)

    def _is_dense_along(self, along: int, across: int) -> Word:
        """Unit stride along one dimension, and no overlap of the lines."""
        length, lines, pitch = self.lengths[along], self.lengths[across], self.strides[across]
        unit = (self.strides[along] == self.itemsize) | (length <= 1) | (lines == 0)
        pitch = (pitch < 0).choose(-pitch, pitch)
        return unit & ((pitch >= length * self.itemsize) | (lines <= 1))

    def is_dense_vector(self) -> Word:
        return (self.strides[0] == self.itemsize) | (self.lengths[0] <= 1)


def apart(one: Span, other: Span) -> Word:
    """Whether two spans have no byte in common."""
    return (one.high <= other.low) | (other.high <= one.low)
