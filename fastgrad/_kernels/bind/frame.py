"""The body of a builtin function: after its arguments the results, the GIL, and the answer."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from ..codegen.simd import I64
from ..codegen.words import Word
from ..gemm import thresholds
from ..runtime.jit import slot
from . import objects
from .arguments import Arguments
from .operands import Array

# The GIL is released around what may go to several threads, or take long: from this many bytes of
# one matrix (10 us if it comes from memory). Keeping it for microseconds costs others nothing, and
# giving it away and back costs as much as a small product.
LONG_BYTES = 1 << 17


class Frame(Arguments):
    """Emits: all that is required first, then results, the kernel, the answer."""

    def __init__(self, b: ir.IRBuilder, args: Sequence[ir.Value], count: int) -> None:
        super().__init__(b, args, count)
        self._answer, self._end = self.variable(), b.append_basic_block("end")
        self._made: list[Word] = []

    def new_where(self, wanted: Word, given: Array, lengths: Sequence[Word]) -> tuple[Array, Word]:
        """``given``, or where wanted a new array, C-contiguous; and the new object, or 0.

        After the last ``require``: what has been made is answered, or given back.
        """
        made = self.variable()
        variables = [self.variable() for _ in given.words]
        for variable, value in zip(variables, given.words, strict=True):
            self.set(variable, value)
        with self.where(wanted):
            new = self._empty(lengths)
            with self.where(new == 0):  # an exception is set
                self._give_back()
                self._leave(new)
            self.set(made, new)
            self.set(variables[0], self.load(new, objects.DATA))
            step = self.itemsize
            for variable, length in list(zip(variables[1:], lengths, strict=True))[::-1]:
                self.set(variable, step)
                step = step * length
        data, *strides = (self.get(v) for v in variables)
        self._made.append(self.get(made))
        return Array(data, tuple(lengths), tuple(strides), self.itemsize), self._made[-1]

    def _empty(self, lengths: Sequence[Word]) -> Word:
        """np.empty(lengths, the dtype): a new object, or 0."""
        with self.b.goto_entry_block():
            pointer = self.b.alloca(ir.ArrayType(I64, len(lengths)))
        shape = Word(self.b, self.b.ptrtoint(pointer, I64))
        for i, length in enumerate(lengths):
            self.store(length, shape, 8 * i)
        single, double = self.known(objects.DTYPES), self.known(objects.DTYPES + 1)
        dtype = self.is_double.choose(double, single)
        self.call("Py_IncRef", dtype)  # PyArray_Empty takes a reference
        count, c_order = self.constant(len(lengths)), self.constant(0)
        return self.call("PyArray_Empty", count, shape, dtype, c_order)

    def is_long(self, fmas: Word, *elements: Word) -> Word:
        """Whether so many fused multiply-adds, or matrices so large, are much for one thread."""
        return functools.reduce(
            operator.or_,
            (n * self.itemsize >= LONG_BYTES for n in elements),
            fmas * self.itemsize >= 4 * thresholds.FORK_FMAS,
        )

    @contextmanager
    def gil_released_where(self, long: Word) -> Iterator[None]:
        """No object is touched inside."""
        thread = self.variable()
        with self.where(long):
            self.set(thread, self.call("PyEval_SaveThread"))
        yield
        with self.where(long):
            self.call("PyEval_RestoreThread", self.get(thread))

    def of_dtype(self, number: int) -> Word:
        """The slot of a kernel for the dtype of the arguments."""
        single, double = (self.constant(slot(number, d)) for d in ("float32", "float64"))
        return self.is_double.choose(double, single)

    def check(self, status: Word) -> None:
        """Raise what a status that is not 0 stands for."""
        with self.where(status != 0):
            self._give_back()
            arguments = self.new_of(
                self.known(objects.TUPLE), [self.call("PyLong_FromLong", status)]
            )
            raised = self.call("PyObject_CallObject", self.known(objects.RAISE), arguments)
            self.call("Py_DecRef", arguments)
            self._leave(raised)

    def reference(self, given: Word, made: Word | None = None) -> Word:
        """A new reference: to ``given``, or the one to what has been made."""
        if made is None:
            self.call("Py_IncRef", given)
            return given
        with self.where(made == 0):
            self.call("Py_IncRef", given)
        return (made == 0).choose(given, made)

    def new_of(self, kind: Word, references: Sequence[Word]) -> Word:
        """A tuple, or of a type derived from it, which takes the references."""
        new = self.call("PyType_GenericAlloc", kind, self.constant(len(references)))
        with self.where(new == 0):
            for reference in references:
                self.call("Py_DecRef", reference)
            self._leave(new)
        for offset in range(objects.SIZE + 8, objects.ITEMS, 8):
            self.store(self.constant(-1), new, offset)  # no hash yet
        for i, reference in enumerate(references):
            self.store(reference, new, objects.ITEMS + 8 * i)
        return new

    def _give_back(self) -> None:
        for made in self._made:
            self.call("Py_DecRef", made)  # of 0: nothing

    def _leave(self, answer: Word) -> None:
        self.set(self._answer, answer)
        self.b.branch(self._end)

    def answer(self, reference: Word) -> ir.Value:
        """The value of the builtin."""
        self._leave(reference)
        self.b.position_at_end(self._refused)
        self._leave(self.reference(self.known(objects.NONE)))
        self.b.position_at_end(self._end)
        return self.b.load(self._answer)
