"""The frame of a builtin function: handles are Python's objects, results new references.

Fields of arrays are read where abi.py has verified that they are; all else goes through Python's
own functions.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from ..codegen.memory import word_pointer
from ..codegen.simd import FLOAT, I64, for_range, i64, new_function
from ..codegen.words import Word
from ..formulas.activations import TABLE
from ..gemm import thresholds
from . import abi
from .frame import MOST_DIMENSIONS, Frame, Result
from .operands import Array, Operand

# The GIL is released around what may go to several threads, or take long: from this many bytes of
# one matrix (10 us if it comes from memory). Keeping it for microseconds costs others nothing, and
# giving it away and back costs as much as a small product.
LONG_BYTES = 1 << 17
_INFINITY = 0x7FF << 52  # the bits of a float64; those of positive numbers are ordered as they are
_NUMBERS = ("float", "int", "np.float32", "np.float64", "np.int64")


class ObjectFrame(Frame):
    """args: the object that the builtin belongs to, address and number of its arguments."""

    def __init__(self, b: ir.IRBuilder, args: Sequence[ir.Value], count: int) -> None:
        super().__init__(b)
        self.self_, arguments, given = (Word(b, a) for a in args)
        self.require(given == count)
        self.handles = [self.item(arguments, i) for i in range(count)]
        self._made: list[Word] = []

    # what is read --------------------------------------------------------------------------------

    def object(self, name: str) -> Word:
        return self.known(abi.OBJECT[name])

    def is_none(self, handle: Word) -> Word:
        return handle == self.object("None")

    def flag(self, handle: Word) -> Word:
        true = handle == self.object("True")
        self.require(true | (handle == self.object("False")))
        return true

    def number(self, handle: Word) -> Word:
        self.require(self._is_a("float", handle))
        value = self._call("PyFloat_AsDouble", [handle], result=FLOAT[8])
        return Word(self.b, self.b.bitcast(value, I64))

    def positive(self, handle: Word) -> Word:
        """The bits of a number above 0 and finite, of a type that Python's float() takes."""
        kinds = [self._is_a(kind, handle) for kind in _NUMBERS]
        self.require(functools.reduce(operator.or_, kinds))
        value = self._call("PyFloat_AsDouble", [handle], result=FLOAT[8])
        bits = Word(self.b, self.b.bitcast(value, I64))
        with self.where(bits < 0):  # or it is an error: an integer beyond float64
            self.call("PyErr_Clear")
        self.require(bits > 0, bits < _INFINITY)
        return bits

    def integer(self, handle: Word) -> Word:
        self.require(self._is_a("int", handle))
        value = self.call("PyLong_AsLongLong", handle)
        with self.where(value == -1):  # or it is an error: too many bits
            self.call("PyErr_Clear")
        return value

    def activation(self, handle: Word) -> Word:
        """By identity: names are interned."""
        code, known = self.constant(0), self.is_none(handle)
        for row in TABLE:
            this = handle == self.object(f"activation {row.code}")
            code, known = this.choose(row.code, code), known | this
        self.require(known)
        return code

    def triple(self, handle: Word) -> list[Word]:
        """The items of a tuple of three."""
        self.require(self._is_a("tuple", handle))
        self.require(self.call("PyTuple_Size", handle) == 3)
        return [self.call("PyTuple_GetItem", handle, self.constant(i)) for i in range(3)]

    def flags(self, handle: Word) -> list[Word]:
        """True or False, for all three, or a tuple of three of them -> truth values."""
        variables = [self.variable() for _ in range(3)]
        for variable in variables:
            self.set(variable, handle)
        with self.where(self._is_a("tuple", handle)):
            for variable, item in zip(variables, self.triple(handle), strict=True):
                self.set(variable, item)
        return [self.flag(self.get(variable)) for variable in variables]

    def labels(self, handle: Word) -> Operand:
        operand, found = self.numbers(handle)
        self.require(found == self.format("int64"))
        return operand

    def format(self, name: str) -> Word:
        """What stands at FORMAT of a dtype."""
        return self.known(abi.FORMATS[name])

    def numbers(self, handle: Word) -> tuple[Operand, Word]:
        """An array of any dtype, and what stands at its FORMAT; its itemsize is not looked at."""
        self.require(self._is_a("ndarray", handle))
        return self._operand(handle), self._format(handle)

    def converter(self, found: Word, wanted: Word, first: Word) -> Word:
        """0 where a format is the one that is wanted, else the slot of the kernel that converts
        from it; first: that of the first of KINDS."""
        slot = self.variable()
        with self.where(found != wanted):
            args = [found.ir, self.table.ir]
            kind = Word(self.b, self.b.call(_kind_function(self.b.module), args))
            self.require(kind >= 0)
            self.set(slot, first + kind * 2)
        return self.get(slot)

    def _is_a(self, kind: str, handle: Word) -> Word:
        return self.load(handle, abi.TYPE) == self.object(kind)

    def _format(self, handle: Word) -> Word:
        return self.load(self.load(handle, abi.DTYPE), abi.FORMAT)

    def _find_dtype(self, handle: Word) -> None:
        self.require(self._is_a("ndarray", handle))
        self._dtype = self._format(handle)
        self.is_double = self._dtype == self.format("float64")
        self.require(self.is_double | (self._dtype == self.format("float32")))
        self.itemsize = self.is_double.choose(8, self.constant(4))

    def _is_float_array(self, handle: Word) -> Word:
        is_array = self._is_a("ndarray", handle)
        self.require(is_array)  # before its fields are read
        return self._format(handle) == self._dtype

    def is_writeable(self, handle: Word) -> Word:
        return (self.load_int(handle, abi.FLAGS) & abi.WRITEABLE) != 0

    def _operand(self, handle: Word) -> Operand:
        data, lengths, strides = (
            self.load(handle, at) for at in (abi.DATA, abi.LENGTHS, abi.STRIDES)
        )
        ndim = self.load_int(handle, abi.NDIM)
        return Operand(data, ndim, lengths, strides, self.itemsize)

    def nothing(self) -> Word:
        return self.object("nothing")

    # calls ---------------------------------------------------------------------------------------

    def call(self, name: str, *args: Word) -> Word:
        """A function of Python or numpy; arguments and result are words."""
        return Word(self.b, self._call(name, [a.ir for a in args]))

    def _call(self, name: str, args: Sequence[ir.Value | Word], result: ir.Type = I64) -> ir.Value:
        values: list[Any] = [getattr(a, "ir", a) for a in args]
        kind = ir.FunctionType(result, [v.type for v in values])
        function = self.b.inttoptr(self.known(abi.FUNCTION[name]).ir, kind.as_pointer())
        return self.b.call(function, values)

    @contextmanager
    def released(self, fmas: Word, *elements: Word) -> Iterator[None]:
        """Around so many fused multiply-adds, or matrices so large. No object is touched inside."""
        long = functools.reduce(
            operator.or_,
            (n * self.itemsize >= LONG_BYTES for n in elements),
            fmas * self.itemsize >= 4 * thresholds.FORK_FMAS,
        )
        thread = self.variable()
        with self.where(long):
            self.set(thread, self.call("PyEval_SaveThread"))
        yield
        with self.where(long):
            self.call("PyEval_RestoreThread", self.get(thread))

    def check(self, status: Word, refusal: int | None = None) -> None:
        with self.where(status != 0):
            self._give_back()
            if refusal is not None:
                with self.where(status == refusal):
                    self._leave(self._refusal())
            arguments = self.call("PyTuple_New", self.constant(1))
            self.call("PyTuple_SetItem", arguments, self.constant(0),
                      self.call("PyLong_FromLong", status))  # fmt: skip
            raised = self.call("PyObject_CallObject", self.object("raise"), arguments)
            self.call("Py_DecRef", arguments)
            self._leave(raised)

    # what is made --------------------------------------------------------------------------------

    def create(self, *results: Result) -> list[Array]:
        return [self._create(result) for result in results]

    def _create(self, result: Result) -> Array:
        made = self.variable()
        fields = [self.variable() for _ in range(1 + len(result.lengths))]
        given = (result.array.data, *result.array.strides)
        for variable, value in zip(fields, given, strict=True):
            self.set(variable, value)
        with self.where(result.is_new):
            new = self._empty(result)
            with self.where(new == 0):  # an exception is set
                self._give_back()
                self._leave(new)
            self.set(made, new)
            dense = (self.load(new, abi.DATA), *self.dense_strides(result.lengths))
            for variable, value in zip(fields, dense, strict=True):
                self.set(variable, value)
        self._made.append(self.get(made))
        data, *strides = (self.get(field) for field in fields)
        return Array(data, result.lengths, tuple(strides), self.itemsize)

    def _empty(self, result: Result) -> Word:
        """np.empty(shape, the dtype): a new object, or 0."""
        lead, count, last = result.shape
        shape = self.memory(MOST_DIMENSIONS)
        with for_range(self.b, count.ir) as i:
            index = Word(self.b, i)
            self.store(self.item(lead.lengths, index), shape + index * 8)
        for i, length in enumerate(last):
            self.store(length, shape + (count + i) * 8)
        dtype = self.is_double.choose(self.object("float64"), self.object("float32"))
        return self._new_array(shape, count + len(last), dtype)

    def _new_array(self, lengths: Word, ndim: Word, dtype: Word) -> Word:
        self.call("Py_IncRef", dtype)  # PyArray_Empty takes a reference
        return self.call("PyArray_Empty", ndim, lengths, dtype, self.constant(0))

    def new_matrix(
        self, rows: Word, columns: Word, ndim: Word, dtype: Word, needed: Word
    ) -> tuple[Word, Word]:
        """np.empty((rows, columns)) or, of one dimension, np.empty(rows), as all that is made, and
        where its elements are; (0, 0) where it is not needed."""
        made, data, lengths = self.variable(), self.variable(), self.memory(2)
        with self.where(needed):
            self.store(rows, lengths)
            self.store(columns, lengths, 8)
            new = self._new_array(lengths, ndim, dtype)
            with self.where(new == 0):
                self._leave(new)
            self.set(made, new)
            self.set(data, self.load(new, abi.DATA))
        self._made.append(self.get(made))
        return self._made[-1], self.get(data)

    def reference(self, handle: Word) -> Word:
        """A new reference."""
        self.call("Py_IncRef", handle)
        return handle

    def references(self, *results: Result) -> list[Word]:
        """New references: to what was given, or those to what has been made."""
        found = []
        for result, made in zip(results, self._made, strict=True):
            with self.where(made == 0):
                self.call("Py_IncRef", result.given)
            found.append((made == 0).choose(result.given, made))
        return found

    def number_or_array(self, result: Result) -> Word:
        """As ``references``; what is new and has no dimension becomes a number of numpy's."""
        answer = self.variable()
        (reference,) = self.references(result)
        self.set(answer, reference)
        with self.where(result.is_new):
            self.set(answer, self.call("PyArray_Return", reference))
        return self.get(answer)

    def new_float(self, bits: Word) -> Word:
        value = self.b.bitcast(bits.ir, FLOAT[8])
        return Word(self.b, self._call("PyFloat_FromDouble", [value]))

    def new_tuple(self, references: Sequence[Word]) -> Word:
        """A tuple that takes the references; 0 without memory for it."""
        new = self.call("PyTuple_New", self.constant(len(references)))
        with self.where(new == 0):
            for reference in references:
                self.call("Py_DecRef", reference)
            self._leave(new)
        for i, reference in enumerate(references):
            self.call("PyTuple_SetItem", new, self.constant(i), reference)
        return new

    def new_of(self, kind: str, items: Word) -> Word:
        """tuple.__new__(kind, items), which takes the reference to items."""
        arguments = self.new_tuple([items])
        new = self.call("tuple.tp_new", self.object(kind), arguments, self.constant(0))
        self.call("Py_DecRef", arguments)
        return new

    def _give_back(self) -> None:
        for made in self._made:
            self.call("Py_DecRef", made)  # of 0: nothing

    def _refusal(self) -> Word:
        return self.reference(self.object("None"))


def _kind_function(module: ir.Module) -> ir.Function:
    """f(format, table): which of KINDS has this word at FORMAT; -1: none."""
    name = "fastgrad_kind"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 2, result=I64)
    wanted, table = function.args
    found = b.alloca(I64)
    b.store(i64(-1), found)
    first = b.add(table, i64(8 * min(abi.FORMATS.values())))
    with for_range(b, i64(len(abi.FORMATS))) as i:
        here = b.icmp_signed("==", b.load(word_pointer(b, first, i)), wanted)
        b.store(b.select(here, i, b.load(found)), found)
    b.ret(b.load(found))
    return function
