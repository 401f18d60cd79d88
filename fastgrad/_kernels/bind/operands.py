"""Strided operands as words, and the memory they touch: what must hold before an output is written.

Wherever the words come from: Python's objects, or records of a user's compiled function.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..codegen.structs import make
from ..codegen.words import Word
from ..gemm.args import Matrix, Rows


class Operand(NamedTuple):
    """An array of any number of dimensions, as it is found."""

    data: Word
    ndim: Word
    lengths: Word  # address of so many words
    strides: Word  # in bytes; likewise
    itemsize: Word


class Span(NamedTuple):
    """First byte, and one past the last byte; (0, 0) of an array without elements."""

    low: Word
    high: Word


class Array(NamedTuple):
    """Of a known number of dimensions; strides in bytes."""

    data: Word
    lengths: tuple[Word, ...]
    strides: tuple[Word, ...]
    itemsize: Word

    @property
    def matrix(self) -> Any:
        return make(Matrix, self.data, *self.strides)

    @property
    def rows(self) -> Any:
        return make(Rows, self.data, self.strides[0])

    @property
    def transposed(self) -> Array:
        return Array(self.data, self.lengths[::-1], self.strides[::-1], self.itemsize)

    @property
    def first(self) -> Array:
        """The first one along the first dimension."""
        return Array(self.data, self.lengths[1:], self.strides[1:], self.itemsize)

    def has_lengths(self, *lengths: Word) -> Word:
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
        """Whether a matrix has unit stride along rows or columns, and lines that do not overlap."""
        return self.has_dense_rows() | self.transposed.has_dense_rows()

    def has_dense_rows(self) -> Word:
        lines, length = self.lengths
        pitch, step = self.strides
        unit = (step == self.itemsize) | (length <= 1) | (lines == 0)
        return unit & ((_size(pitch) >= length * self.itemsize) | (lines <= 1))

    def is_apart(self) -> Word:
        """Whether matrices (s, m, n) that are dense do not overlap: one behind the other, or each
        row of all of them behind the one before."""
        count, (pitch, row, _) = self.lengths[0], map(_size, self.strides)
        span, line = self.first.span(), self.lengths[2] * self.itemsize
        in_turn = self.first.has_dense_rows() & (pitch >= line) & (row >= count * pitch)
        return (count <= 1) | (pitch >= span.high - span.low) | in_turn

    def is_dense_vector(self) -> Word:
        return (self.strides[0] == self.itemsize) | (self.lengths[0] <= 1)


def _size(word: Word) -> Word:
    return (word < 0).choose(-word, word)


def disjoint(outputs: Sequence[Array], inputs: Sequence[Array] = ()) -> Word:
    """Whether no output has a byte in common with another one, or with an input."""
    written, read = [a.span() for a in outputs], [a.span() for a in inputs]
    pairs = [(x, y) for i, x in enumerate(written) for y in (*written[i + 1 :], *read)]
    apart = ((x.high <= y.low) | (y.high <= x.low) for x, y in pairs)
    return functools.reduce(operator.and_, apart)
