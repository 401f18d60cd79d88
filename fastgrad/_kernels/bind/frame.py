"""What rules.py is emitted over: operands read and checked, results, kernels; see its two kinds.

A frame emits code that answers a call, or refuses it with nothing written: what is refused goes to
the checked path, which finds the message or the temporary that is called for.
"""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from llvmlite import ir

from ..codegen import structs
from ..codegen.memory import emit_call, table_address
from ..codegen.simd import I32, I64, for_range, i64, new_function
from ..codegen.words import Word
from ..runtime.registry import Kernel
from .operands import Array, Operand

MOST_DIMENSIONS = 64  # of an array of numpy's


class Shape(NamedTuple):
    """The first lengths of an operand, of so many axes, and then ``last``."""

    lead: Operand
    axes: Word
    last: tuple[Word, ...]


class Result(NamedTuple):
    """An output: the caller's array, or one to be made."""

    given: Word  # the handle
    is_new: Word
    array: Array  # of the caller's; without elements where it is to be made, or is not needed
    shape: Shape
    lengths: tuple[Word, ...]  # of the array that kernels see, whose first dimensions are one


class Frame(ABC):
    """Handles are words: addresses of objects, or of records."""

    is_double: Word
    itemsize: Word

    def __init__(self, b: ir.IRBuilder) -> None:
        self.b = b
        self.table = Word(b, table_address(b))
        self._answer = self.variable()
        self._end, self._refused = (b.append_basic_block(n) for n in ("end", "refused"))

    # words ---------------------------------------------------------------------------------------

    def constant(self, value: int) -> Word:
        return Word(self.b, i64(value))

    def load(self, address: Word, offset: int = 0) -> Word:
        """A word of memory; the offset is in bytes."""
        return Word(self.b, self.b.load(structs.pointer(self.b, (address + offset).ir)))

    def load_int(self, address: Word, offset: int) -> Word:
        pointer = self.b.inttoptr((address + offset).ir, I32.as_pointer())
        return Word(self.b, self.b.sext(self.b.load(pointer), I64))

    def item(self, address: Word, index: Word | int) -> Word:
        """Of the words at an address."""
        index = self.constant(index) if isinstance(index, int) else index
        return self.load(address + index * 8)

    def store(self, value: Word, address: Word, offset: int = 0) -> None:
        self.b.store(value.ir, structs.pointer(self.b, (address + offset).ir))

    def known(self, index: int) -> Word:
        """A word of the table."""
        return self.load(self.table, 8 * index)

    def variable(self) -> ir.Value:
        """A word that branches may set, 0 at first."""
        with self.b.goto_entry_block():
            variable = self.b.alloca(I64)
            self.b.store(i64(0), variable)
        return variable

    def get(self, variable: ir.Value) -> Word:
        return Word(self.b, self.b.load(variable))

    def set(self, variable: ir.Value, value: Word) -> None:
        self.b.store(value.ir, variable)

    def memory(self, count: int) -> Word:
        """The address of so many words on the stack."""
        with self.b.goto_entry_block():
            pointer = self.b.alloca(ir.ArrayType(I64, count))
        return Word(self.b, self.b.ptrtoint(pointer, I64))

    @contextmanager
    def where(self, condition: Word) -> Iterator[None]:
        with self.b.if_then(condition.ir):
            yield

    # answers -------------------------------------------------------------------------------------

    def require(self, *conditions: Word) -> None:
        """Refuse unless all hold. Not once a result has been made."""
        after = self.b.append_basic_block("as_required")
        self.b.cbranch(functools.reduce(operator.and_, conditions).ir, after, self._refused)
        self.b.position_at_end(after)

    def _leave(self, answer: Word) -> None:
        self.set(self._answer, answer)
        self.b.branch(self._end)

    def finish(self, answer: Word) -> ir.Value:
        """The value of the function that is emitted."""
        self._leave(answer)
        self.b.position_at_end(self._refused)
        self._leave(self._refusal())
        self.b.position_at_end(self._end)
        return self.b.load(self._answer)

    # operands ------------------------------------------------------------------------------------

    def floats(self, *handles: Word) -> list[Operand]:
        """Arrays of one dtype, float32 or float64, which this finds out."""
        self._find_dtype(handles[0])
        return [self.like(handle) for handle in handles]

    def like(self, handle: Word, needed: Word | None = None) -> Operand:
        """An array of that dtype; where it is not needed, one without elements."""
        if needed is not None:
            handle = needed.choose(handle, self.nothing())
        right = self._is_float_array(handle)
        self.require(right if needed is None else right | ~needed)
        return self._operand(handle)

    def matrix(self, operand: Operand, needed: Word | None = None) -> Array:
        """(..., columns) as (rows, columns): leading dimensions that have one stride between them.

        Where it is not needed its data is 0.
        """
        ndim = operand.ndim
        self.require(ndim >= 1)
        rows, row = self.variable(), self.variable()
        with self.b.if_else((ndim == 2).ir) as (two, other):
            with two:
                self.set(rows, self.item(operand.lengths, 0))
                self.set(row, self.item(operand.strides, 0))
            with other:
                self._collapse(operand, ndim - 1, rows, row)
        last = ndim - 1
        data = operand.data if needed is None else needed.choose(operand.data, 0)
        lengths = (self.get(rows), self.item(operand.lengths, last))
        strides = (self.get(row), self.item(operand.strides, last))
        return Array(data, lengths, strides, operand.itemsize)

    def fixed(self, operand: Operand, ndim: int, needed: Word | None = None) -> Array:
        """Of exactly so many dimensions; where it is not needed, one without elements."""
        right = operand.ndim == ndim
        self.require(right if needed is None else right | ~needed)
        lengths, strides = self._items(operand.lengths, ndim), self._items(operand.strides, ndim)
        if needed is None:
            return Array(operand.data, lengths, strides, operand.itemsize)
        lengths, strides = (
            tuple(needed.choose(word, 0) for word in words) for words in (lengths, strides)
        )
        return Array(needed.choose(operand.data, 0), lengths, strides, operand.itemsize)

    def _items(self, address: Word, count: int) -> tuple[Word, ...]:
        return tuple(self.item(address, i) for i in range(count))

    def flat(self, operand: Operand, axes: Word | None = None, needed: Word | None = None) -> Array:
        """All dimensions, or the first of them, as one."""
        length, stride = self.variable(), self.variable()
        self._collapse(operand, operand.ndim if axes is None else axes, length, stride)
        data = operand.data if needed is None else needed.choose(operand.data, 0)
        return Array(data, (self.get(length),), (self.get(stride),), operand.itemsize)

    def _collapse(self, operand: Operand, count: Word, length: ir.Value, stride: ir.Value) -> None:
        found = self.memory(2)
        function = _collapse_function(self.b.module)
        args = [count, operand.lengths, operand.strides, found]
        self.require(Word(self.b, self.b.call(function, [a.ir for a in args])) != 0)
        self.set(length, self.item(found, 0))
        self.set(stride, self.item(found, 1))

    def same_lengths(self, one: Operand, other: Operand, count: Word) -> None:
        """Refuse unless the first ``count`` lengths agree."""
        with for_range(self.b, count.ir) as i:
            index = Word(self.b, i)
            self.require(self.item(one.lengths, index) == self.item(other.lengths, index))

    def require_shape(self, operand: Operand, shape: Shape) -> None:
        self.require(operand.ndim == shape.axes + len(shape.last))
        self.same_lengths(operand, shape.lead, shape.axes)
        for i, length in enumerate(shape.last):
            self.require(self.item(operand.lengths, shape.axes + i) == length)

    # results -------------------------------------------------------------------------------------

    def output(
        self,
        handle: Word,
        shape: Shape,
        lengths: tuple[Word, ...],
        view: Callable[[Operand], Array],
        needed: Word | None = None,
    ) -> Result:
        """An output of this shape, or one to be made where None is given.

        lengths: of the array that kernels see; view: that array of the caller's.
        """
        is_none = self.is_none(handle)
        is_new, is_given = is_none, ~is_none
        if needed is not None:
            is_new, is_given = is_new & needed, is_given & needed
        operand = self.like(handle, is_given)
        self.require(~is_given | self.is_writeable(is_given.choose(handle, self.nothing())))
        fields = [self.variable() for _ in range(1 + len(lengths))]
        with self.where(is_given):
            self.require_shape(operand, shape)
            array = view(operand)
            for variable, word in zip(fields, (array.data, *array.strides), strict=True):
                self.set(variable, word)
        data, *strides = (self.get(field) for field in fields)
        present = tuple(is_given.choose(length, 0) for length in lengths)
        array = Array(data, present, tuple(strides), self.itemsize)
        return Result(handle, is_new, array, shape, lengths)

    def dense_strides(self, lengths: Sequence[Word]) -> tuple[Word, ...]:
        """Of a C-contiguous array."""
        strides: list[Word] = []
        step = self.itemsize
        for length in reversed(lengths):
            strides.insert(0, step)
            step = step * length
        return tuple(strides)

    # kernels -------------------------------------------------------------------------------------

    def slot(self, kernel: Kernel) -> Word:
        """Of a kernel, for the dtype of the operands."""
        single, double = (self.constant(kernel.slot(d)) for d in ("float32", "float64"))
        return self.is_double.choose(double, single)

    def run(self, slot: Word, args: Any) -> Word:
        """The status of the kernel in a slot, called with a struct of words."""
        words = [getattr(word, "ir", word) for word in structs.words(args)]
        words = [i64(word) if isinstance(word, int) else word for word in words]
        return Word(self.b, emit_call(self.b, slot.ir, words))

    # what the two kinds differ in ----------------------------------------------------------------

    @abstractmethod
    def is_none(self, handle: Word) -> Word: ...

    @abstractmethod
    def flag(self, handle: Word) -> Word:
        """True or False -> a truth value."""

    @abstractmethod
    def number(self, handle: Word) -> Word:
        """A float -> its bits."""

    @abstractmethod
    def integer(self, handle: Word) -> Word: ...

    @abstractmethod
    def activation(self, handle: Word) -> Word:
        """None or a name -> its code."""

    @abstractmethod
    def labels(self, handle: Word) -> Operand:
        """An array of int64."""

    def tell(self, *wanted: tuple[Word, Shape]) -> None:  # noqa: B027  objects ask for none
        """Handles of outputs, and their shapes, as soon as they are known: records ask for them."""

    @abstractmethod
    def create(self, *results: Result) -> list[Array]:
        """Those that are to be made, made; the arrays of all. After the last ``require``."""

    @abstractmethod
    def released(self, fmas: Word, *elements: Word) -> Any:
        """A context in which other threads may run, where there is much to do."""

    @abstractmethod
    def check(self, status: Word, refusal: int | None = None) -> None:
        """Raise what a status stands for that is not 0; refuse where it is ``refusal``."""

    @abstractmethod
    def _find_dtype(self, handle: Word) -> None: ...

    @abstractmethod
    def _is_float_array(self, handle: Word) -> Word: ...

    @abstractmethod
    def is_writeable(self, handle: Word) -> Word: ...

    @abstractmethod
    def _operand(self, handle: Word) -> Operand: ...

    @abstractmethod
    def nothing(self) -> Word:
        """The handle of an array (0, 0)."""

    @abstractmethod
    def _refusal(self) -> Word: ...


def _collapse_function(module: ir.Module) -> ir.Function:
    """f(count, lengths, strides, found): the first ``count`` dimensions as one.

    1, and its length and stride in found, if one stride leads through all of them; else 0.
    """
    name = "fastgrad_collapse"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 4, result=I64)
    count, lengths, strides, found = function.args
    total, first, step, even = (b.alloca(I64) for _ in range(4))
    for variable, start in ((total, 1), (first, 0), (step, 0), (even, 1)):
        b.store(i64(start), variable)
    with for_range(b, count) as i:
        at = b.mul(b.sub(b.sub(count, i64(1)), i), i64(8))
        length, stride = (b.load(structs.pointer(b, b.add(a, at))) for a in (lengths, strides))
        with b.if_then(b.icmp_signed("!=", length, i64(1))):
            so_far = b.load(total)
            with b.if_else(b.icmp_signed("==", so_far, i64(1))) as (innermost, outer):
                with innermost:
                    b.store(stride, first)
                with outer:
                    fits = b.zext(b.icmp_signed("==", stride, b.load(step)), I64)
                    b.store(b.and_(b.load(even), fits), even)
            b.store(b.mul(stride, length), step)
            b.store(b.mul(so_far, length), total)
    empty = b.icmp_signed("==", b.load(total), i64(0))
    for i, value in enumerate((b.load(total), b.load(first))):
        b.store(value, structs.pointer(b, found, i))
    b.ret(b.select(empty, i64(1), b.load(even)))
    return function
