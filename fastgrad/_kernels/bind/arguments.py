"""The arguments of a builtin function, read where objects.py has verified that fields are."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from llvmlite import ir

from ..codegen.words import Word
from ..formulas.activations import TABLE
from . import objects
from .emitter import Emitter
from .operands import Array


class Arguments(Emitter):
    """Emits: all that is required of the arguments, and their fields as words.

    What the builtin cannot take it refuses: the answer is then None.
    """

    def __init__(self, b: ir.IRBuilder, args: Sequence[ir.Value], count: int) -> None:
        """args: the object that the builtin belongs to, address and number of its arguments."""
        super().__init__(b)
        self.self_, arguments, given = (Word(b, a) for a in args)
        self._refused = b.append_basic_block("refused")
        self.require(given == count)
        self.objects = [self.load(arguments, 8 * i) for i in range(count)]

    def require(self, *conditions: Word) -> None:
        """Refuse unless all hold."""
        after = self.b.append_basic_block("as_required")
        self.b.cbranch(functools.reduce(operator.and_, conditions).ir, after, self._refused)
        self.b.position_at_end(after)

    def is_none(self, given: Word) -> Word:
        return given == self.known(objects.NONE)

    def flag(self, given: Word) -> Word:
        """True or False -> a truth value."""
        true = given == self.known(objects.TRUE)
        self.require(true | (given == self.known(objects.FALSE)))
        return true

    def flags(self, given: Word) -> list[Word]:
        """True or False, for all three, or a tuple of three of them -> truth values."""
        variables = [self.variable() for _ in range(3)]
        for variable in variables:
            self.set(variable, given)
        with self.where(self._is_a(objects.TUPLE, given)):
            for variable, item in zip(variables, self.triple(given), strict=True):
                self.set(variable, item)
        return [self.flag(self.get(variable)) for variable in variables]

    def triple(self, given: Word) -> list[Word]:
        """The items of a tuple of three."""
        self.require(self._is_a(objects.TUPLE, given))
        self.require(self.load(given, objects.SIZE) == 3)
        return [self.load(given, objects.ITEMS + 8 * i) for i in range(3)]

    def activation(self, given: Word) -> Word:
        """None or a name, by identity -> its code."""
        code, known = self.constant(0), self.is_none(given)
        for row in TABLE:
            this = given == self.known(objects.NAMES + row.code)
            code, known = this.choose(row.code, code), known | this
        self.require(known)
        return code

    def arrays(self, *given: tuple[Word, int]) -> list[Array]:
        """(object, number of dimensions) each, of one dtype, which this finds out."""
        self.require(*(self._is_a(objects.NDARRAY, o) for o, _ in given))
        self._format = self._format_of(given[0][0])
        single, double = (self.known(objects.FORMATS + i) for i in (0, 1))
        self.is_double = self._format == double
        self.itemsize = self.is_double.choose(8, self.constant(4))
        self.require(
            self.is_double | (self._format == single),
            *(self.load_int(o, objects.NDIM) == n for o, n in given),
            *(self._format_of(o) == self._format for o, _ in given[1:]),
        )
        return [self._array(o, n) for o, n in given]

    def array_where(self, needed: Word, given: Word, ndim: int, is_output: bool = False) -> Array:
        """One more array of that dtype; where not needed 0 everywhere: no element."""
        variables = [self.variable() for _ in range(1 + 2 * ndim)]
        with self.where(needed):
            self.require(self._is_a(objects.NDARRAY, given))
            self.require(
                self.load_int(given, objects.NDIM) == ndim,
                self._format_of(given) == self._format,
                *([self.is_writeable(given)] if is_output else []),
            )
            found = self._array(given, ndim)
            words = (found.data, *found.lengths, *found.strides)
            for variable, value in zip(variables, words, strict=True):
                self.set(variable, value)
        data, *rest = (self.get(v) for v in variables)
        return Array(data, tuple(rest[:ndim]), tuple(rest[ndim:]), self.itemsize)

    def is_writeable(self, given: Word) -> Word:
        return (self.load_int(given, objects.FLAGS) & objects.WRITEABLE) != 0

    def _is_a(self, kind: int, given: Word) -> Word:
        return self.load(given, objects.TYPE) == self.known(kind)

    def _format_of(self, given: Word) -> Word:
        return self.load(self.load(given, objects.DTYPE), objects.FORMAT)

    def _array(self, given: Word, ndim: int) -> Array:
        lengths, strides = self.load(given, objects.LENGTHS), self.load(given, objects.STRIDES)
        shape, steps = (
            tuple(self.load(address, 8 * i) for i in range(ndim)) for address in (lengths, strides)
        )
        return Array(self.load(given, objects.DATA), shape, steps, self.itemsize)
