"""The frame of a call from a user's compiled function: handles are addresses of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from ..codegen import structs
from ..codegen.simd import FLOAT, I8, I64, for_range
from ..codegen.words import Word
from ..formulas.activations import TABLE
from . import records
from .frame import Frame, Result, Shape
from .operands import Array, Operand
from .records import Descriptor, Record

_LENGTHS = structs.size(Record)  # bytes to the lengths
_LONGEST_NAME = 16
_FRESH_OR_WANTED = records.WANTED | records.FRESH


class RecordFrame(Frame):
    def __init__(self, b: ir.IRBuilder, descriptor: ir.Value, count: int) -> None:
        super().__init__(b)
        self.descriptor = Word(b, descriptor)
        first = self.descriptor + structs.size(Descriptor)
        self.handles = [self.item(first, i) for i in range(count)]
        self._none = self._empty_record()

    def _empty_record(self) -> Word:
        """A record (0, 0): what None stands for where its fields are read."""
        count, ndim = len(structs.names(Record)) + 4, structs.offset(Record, "ndim")
        record = self.memory(count)
        for i in range(count):
            self.store(self.constant(2 if i == ndim else 0), record, 8 * i)
        return record

    def _field(self, handle: Word, name: str) -> Word:
        at = (handle == 0).choose(self._none, handle)
        return self.load(at, 8 * structs.offset(Record, name))

    def _has(self, handle: Word, flags: int) -> Word:
        return (self._field(handle, "flags") & flags) != 0

    def is_none(self, handle: Word) -> Word:
        return (handle == 0) | self._has(handle, _FRESH_OR_WANTED)

    def flag(self, handle: Word) -> Word:
        """A word, 0 or 1."""
        return handle != 0

    def number(self, handle: Word) -> Word:
        """Also of an integer, a bool or a float32, as Python's float() makes one of it."""
        b, kind, value = self.b, self._field(handle, "kind"), self.variable()
        at, found = self._field(handle, "data").ir, self.constant(0) != 0

        def read(of: ir.Type) -> ir.Value:
            return b.load(b.inttoptr(at, of.as_pointer()))

        for code, convert in (
            (records.FLOAT64, lambda: read(FLOAT[8])),
            (records.FLOAT32, lambda: b.fpext(read(FLOAT[4]), FLOAT[8])),
            (records.INT64, lambda: b.sitofp(read(I64), FLOAT[8])),
            (records.BOOL, lambda: b.uitofp(read(I8), FLOAT[8])),
        ):
            this = kind == code
            with self.where(this):
                self.set(value, Word(b, b.bitcast(convert(), I64)))
            found = found | this
        self.require(found)
        return self.get(value)

    def integer(self, handle: Word) -> Word:
        self.require(self._field(handle, "kind") == records.INT64)
        return self.load(self._field(handle, "data"))

    def truth(self, handle: Word) -> Word:
        """A record of a bool."""
        self.require(self._field(handle, "kind") == records.BOOL)
        return self._byte(self._field(handle, "data")) != 0

    def _byte(self, address: Word) -> Word:
        pointer = self.b.inttoptr(address.ir, I8.as_pointer())
        return Word(self.b, self.b.zext(self.b.load(pointer), I64))

    def activation(self, handle: Word) -> Word:
        """By its letters, in two words."""
        length = self.load((handle == 0).choose(self._none, handle), _LENGTHS)
        is_text = (self._field(handle, "kind") == records.LETTERS) & (length <= _LONGEST_NAME)
        self.require((handle == 0) | is_text)
        words = self.memory(_LONGEST_NAME // 8)
        for at in range(0, _LONGEST_NAME, 8):
            self.store(self.constant(0), words, at)
        data = self._field(handle, "data")
        with for_range(self.b, (handle == 0).choose(0, length).ir) as i:
            letter = self.b.load(self.b.inttoptr(self.b.add(data.ir, i), I8.as_pointer()))
            self.b.store(letter, self.b.inttoptr(self.b.add(words.ir, i), I8.as_pointer()))
        first, second = self.item(words, 0), self.item(words, 1)
        code, known = self.constant(0), handle == 0
        for row in TABLE:
            padded = row.name.encode("ascii").ljust(_LONGEST_NAME, b"\0")
            low, high = (int.from_bytes(padded[at : at + 8], "little") for at in (0, 8))
            this = (first == low) & (second == high)
            code, known = this.choose(row.code, code), known | this
        self.require(known)
        return code

    def labels(self, handle: Word) -> Operand:
        self.require(self._field(handle, "kind") == records.INT64)
        return self._operand(handle)

    def _find_dtype(self, handle: Word) -> None:
        self._dtype = self._field(handle, "kind")
        self.is_double = self._dtype == records.FLOAT64
        self.require(self.is_double | (self._dtype == records.FLOAT32))
        self.itemsize = self.is_double.choose(8, self.constant(4))

    def _is_float_array(self, handle: Word) -> Word:
        return self._field(handle, "kind") == self._dtype

    def is_writeable(self, handle: Word) -> Word:
        return ~self._has(handle, records.READ_ONLY)

    def _operand(self, handle: Word) -> Operand:
        at = (handle == 0).choose(self._none, handle)
        lengths, ndim = at + _LENGTHS, self._field(at, "ndim")
        data = self._field(at, "data")
        return Operand(data, ndim, lengths, lengths + ndim * 8, self.itemsize)

    def nothing(self) -> Word:
        return self._none

    # results -------------------------------------------------------------------------------------

    def tell(self, *wanted: tuple[Word, Shape]) -> None:
        """Lengths for the results that are wanted, and back to the caller, who makes them."""
        asked = self.variable()
        for handle, shape in wanted:
            with self.where(self._has(handle, records.WANTED)):
                self._tell(handle, shape)
                self.set(asked, self.constant(1))
        with self.where(self.get(asked) != 0):
            self._leave(self.constant(records.DONE))

    def _tell(self, handle: Word, shape: Shape) -> None:
        at = handle + _LENGTHS
        with for_range(self.b, shape.axes.ir) as i:
            index = Word(self.b, i)
            self.store(self.item(shape.lead.lengths, index), at + index * 8)
        for i, length in enumerate(shape.last):
            self.store(length, at + (shape.axes + i) * 8)

    def create(self, *results: Result) -> list[Array]:
        """The caller has made those that are new."""
        return [self._made(result) for result in results]

    def _made(self, result: Result) -> Array:
        dense = (self._field(result.given, "data"), *self.dense_strides(result.lengths))
        given = (result.array.data, *result.array.strides)
        data, *strides = (
            result.is_new.choose(new, old) for new, old in zip(dense, given, strict=True)
        )
        return Array(data, result.lengths, tuple(strides), self.itemsize)

    @contextmanager
    def released(self, fmas: Word, *elements: Word) -> Iterator[None]:
        """The user's function has the GIL, or not."""
        yield

    def check(self, status: Word, refusal: int | None = None) -> None:
        if refusal is not None:
            with self.where(status == refusal):
                self._leave(self._refusal())
        with self.where(status != 0):
            self._leave(status)

    def leave_stack(self, weight: Word) -> None:
        """A weight of three dimensions is of a stack of layers."""
        with self.where(self._field(weight, "ndim") == 3):
            self._leave(self.constant(records.STACKED))

    def _refusal(self) -> Word:
        return self.constant(records.CHECKED)

    def flags(self, handles: Sequence[Word]) -> list[Word]:
        return [self.flag(handle) for handle in handles]
