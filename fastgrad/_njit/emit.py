"""What a user's compiled function consists of where it calls fastgrad: records, calls, results.

No kernel and nothing of ours but the layouts of _kernels/bind/records.py: a function in a user's
cache outlives an upgrade.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np import numpy_support
from numba.np.arrayobj import populate_array

from .._kernels.bind.records import (
    DONE,
    FRESH,
    KIND_BEFORE,
    LAYOUT,
    NUMBER,
    READ_ONLY,
    SCALAR,
    TEXT,
    WANTED,
    Descriptor,
    Record,
    kind_code,
)
from .._kernels.codegen import structs
from .._kernels.codegen.memory import table_address
from .._kernels.codegen.simd import I64, i64
from .._kernels.runtime.table import ABI_VERSION, GATEWAY
from .failures import CLASSES
from .given import is_none, sample
from .in_python import STALE

_ZERO = i64(0)
_AT = {name: i for i, name in enumerate(structs.names(Record))}
_LENGTHS = len(_AT)  # they come after it
# As numba says it of np.empty
TOO_BIG = (
    "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size."
)
NO_MEMORY = "Allocation failed (probably too large)."


class Caller:
    """Emits one call: first the operands in their order, then ``call``."""

    def __init__(self, context: Any, b: ir.IRBuilder, function: str) -> None:
        self.context, self.b = context, b
        self._head = Descriptor(LAYOUT, NUMBER[function], 0)
        self._words: list[ir.Value] = []
        self._wanted: list[tuple[ir.Value, Any]] = []
        self._made: list[tuple[Any, ir.Value]] = []  # types, arrays: given back on an error
        self._converted: list[tuple[Any, ir.Value]] = []  # given back in any case

    # operands -----------------------------------------------------------------------------------

    def word(self, value: ir.Value) -> None:
        self._words.append(value)

    def flag(self, given: Any, value: ir.Value) -> None:
        """A truth value, of a type or Omitted."""
        if isinstance(given, bool | types.Omitted | types.Literal):
            self.word(i64(int(sample(given))))
        else:
            self.word(self.b.zext(self.b.icmp_unsigned("!=", value, value.type(0)), I64))

    def array(self, given: Any, value: ir.Value, flags: int = 0, to: Any = None) -> None:
        """An array, or None; ``to``: the dtype to convert it to, if it has another."""
        if is_none(given) or isinstance(given, types.Optional):
            self._or_none(partial(self.array, to=to), given, value)
            return
        if to is not None and given.dtype != to:
            flags |= _kind(given.dtype) << KIND_BEFORE
            given, value = self._convert(given, value, to)
        a = self._array(given, value)
        flags |= 0 if given.mutable else READ_ONLY
        self.word(self._record(given.dtype, self._fields(a, given.ndim), given.ndim, flags))

    def _convert(self, given: Any, value: ir.Value, to: Any) -> tuple[Any, ir.Value]:
        """A C-contiguous copy of the elements as numpy's astype makes it."""
        b, context = self.b, self.context
        result, source = types.Array(to, given.ndim, "C"), self._array(given, value)
        lengths, strides = (
            cgutils.unpack_tuple(b, t, given.ndim) for t in (source.shape, source.strides)
        )
        copy = self._empty(result, lengths)
        self._converted.append((result, copy._getvalue()))
        steps = cgutils.unpack_tuple(b, copy.strides, given.ndim)
        with cgutils.loop_nest(b, lengths, I64) as indices:
            at, into = (
                cgutils.get_item_pointer2(context, b, a.data, lengths, s, "A", indices)
                for a, s in ((source, strides), (copy, steps))
            )
            item = context.unpack_value(b, given.dtype, at)
            context.pack_value(b, to, context.cast(b, item, given.dtype, to), into)
        return result, copy._getvalue()

    def wanted(self, result: Any) -> None:
        """An array of this type, which is to be made."""
        record = self._record(result.dtype, [_ZERO] * (1 + 2 * result.ndim), result.ndim, WANTED)
        self._wanted.append((record, result))
        self.word(record)

    def like(self, result: Any, given: Any, value: ir.Value) -> ir.Value:
        """A new array of the type ``result`` with the lengths of another array."""
        shape = self._array(given, value).shape
        a = self._empty(result, cgutils.unpack_tuple(self.b, shape, result.ndim))
        self.array(result, a._getvalue(), FRESH)
        return a._getvalue()

    def number(self, given: Any, value: ir.Value) -> None:
        """A number of a type, or Omitted."""
        if isinstance(given, types.Omitted):
            given, value = self._constant(given.value)
        elif isinstance(given, types.Literal):
            given, value = self._constant(given.literal_value)
        elif isinstance(given, types.Integer) and given != types.uint64:  # int64 holds the others
            value = self.context.cast(self.b, value, given, types.int64)
            given = types.int64
        self.word(self.place(given, self.context.get_value_as_data(self.b, given, value), SCALAR))

    def place(self, kind: Any, data: ir.Value | None = None, flags: int = FRESH) -> ir.Value:
        """A record of a number on the stack, which is set to ``data`` or is to be set."""
        slot = cgutils.alloca_once(self.b, self.context.get_data_type(kind))
        if data is not None:
            self.b.store(data, slot)
        return self._record(kind, [self.b.ptrtoint(slot, I64)], 0, flags)

    def stored(self, kind: Any, record: ir.Value) -> ir.Value:
        """What is in a ``place`` by now."""
        address = self.b.load(structs.pointer(self.b, record, _AT["data"]))
        data_type = self.context.get_data_type(kind)
        pointer = self.b.inttoptr(address, data_type.as_pointer())
        return self.context.unpack_value(self.b, kind, pointer)

    def text(self, given: Any, value: ir.Value) -> None:
        """A str, constant or not, or None."""
        if is_none(given) or isinstance(given, types.Optional):
            self._or_none(self.text, given, value)
            return
        if isinstance(given, str | types.Omitted | types.StringLiteral):
            data, width, length = self._constant_text(sample(given))
        else:
            fields = cgutils.create_struct_proxy(types.unicode_type)(self.context, self.b, value)
            data, length = self.b.ptrtoint(fields.data, I64), fields.length
            width = self.b.zext(fields.kind, I64)
        kind = self.b.or_(width, i64(kind_code("U", 0)))
        record = Record(data, kind, i64(1), i64(TEXT))  # type: ignore[arg-type]
        self.word(self._store([*record, length, width]))

    def _or_none(self, emit: Any, given: Any, value: ir.Value) -> None:
        """What is None, or may be it when it runs: then its record is not looked at."""
        if is_none(given):
            self.word(_ZERO)
            return
        optional = self.context.make_helper(self.b, given, value)
        emit(given.type, optional.data)
        is_given = cgutils.as_bool_bit(self.b, optional.valid)
        self._words.append(self.b.select(is_given, self._words.pop(), _ZERO))

    def _constant_text(self, name: str) -> tuple[ir.Value, ir.Value, ir.Value]:
        width, encoding = (1, "latin-1") if name.isascii() else (4, "utf-32-le")
        data = self.context.insert_const_bytes(self.b.module, name.encode(encoding))
        return self.b.ptrtoint(data, I64), i64(width), i64(len(name))

    def _constant(self, value: Any) -> tuple[Any, ir.Value]:
        kind = {bool: types.boolean, int: types.int64, float: types.float64}[type(value)]
        return kind, self.context.get_constant(kind, value)

    def _array(self, kind: Any, value: ir.Value) -> Any:
        return self.context.make_array(kind)(self.context, self.b, value)

    def _fields(self, a: Any, ndim: int) -> list[ir.Value]:
        lengths, strides = (cgutils.unpack_tuple(self.b, t, ndim) for t in (a.shape, a.strides))
        return [self.b.ptrtoint(a.data, I64), *lengths, *strides]

    def _record(self, dtype: Any, fields: list[ir.Value], ndim: int, flags: int) -> ir.Value:
        data, *rest = fields
        record = Record(data, i64(_kind(dtype)), i64(ndim), i64(flags))  # type: ignore[arg-type]
        return self._store([*record, *rest])

    def _store(self, words: Sequence[ir.Value]) -> ir.Value:
        memory = cgutils.alloca_once(self.b, ir.ArrayType(I64, len(words)))
        address = self.b.ptrtoint(memory, I64)
        self._set(address, 0, words)
        return address

    def _set(self, address: ir.Value, first: int, words: Sequence[ir.Value]) -> None:
        for i, word in enumerate(words, first):
            self.b.store(word, structs.pointer(self.b, address, i))

    # the call -----------------------------------------------------------------------------------

    def call(self) -> list[ir.Value]:
        """Do it, or raise; the arrays that were wanted."""
        head = self._head._replace(operands=len(self._words))
        descriptor = self._store([*(i64(word) for word in head), *self._words])
        gateway = self._gateway()
        if self._wanted:  # how long they are, or what is wrong
            self._raise_unless_done(self._status(gateway, descriptor))
        made = [self._make(*wanted) for wanted in self._wanted]
        self._raise_unless_done(self._status(gateway, descriptor))
        for result, value in self._converted:
            self.context.nrt.decref(self.b, result, value)
        return made

    def _gateway(self) -> ir.Value:
        """Address of the gateway, if the table is as it was when this was compiled."""
        b = self.b
        address = table_address(b)
        version = b.load(structs.pointer(b, address))
        with b.if_then(b.icmp_signed("!=", version, i64(ABI_VERSION)), likely=False):
            self._raise(RuntimeError, STALE)
        return b.load(structs.pointer(b, address, GATEWAY))

    def _status(self, gateway: ir.Value, descriptor: ir.Value) -> ir.Value:
        kind = ir.FunctionType(I64, [I64])
        return self.b.call(self.b.inttoptr(gateway, kind.as_pointer()), [descriptor])

    def _make(self, record: ir.Value, result: Any) -> ir.Value:
        """The array that a record wants, which has it from now on."""
        b = self.b
        lengths = [b.load(structs.pointer(b, record, _LENGTHS + i)) for i in range(result.ndim)]
        a = self._empty(result, lengths)
        data, *rest = self._fields(a, result.ndim)
        self._set(record, _AT["data"], [data])
        self._set(record, _AT["flags"], [i64(FRESH), *rest])
        return a._getvalue()

    def _empty(self, result: Any, lengths: Sequence[ir.Value]) -> Any:
        """A new C-contiguous array; without memory for it, those made before are given back.

        numba's own functions do not return to the code that could.
        """
        b = self.b
        count, is_too_big = i64(1), ir.Constant(ir.IntType(1), 0)
        itemsize = i64(self.context.get_abi_sizeof(self.context.get_data_type(result.dtype)))
        for factor in (*lengths, itemsize):
            product = b.smul_with_overflow(count, factor)
            count = b.extract_value(product, 0)
            is_too_big = b.or_(is_too_big, b.extract_value(product, 1))
        with b.if_then(is_too_big, likely=False):
            self._give_back()
            self._raise(ValueError, TOO_BIG)
        align = self.context.get_preferred_array_alignment(result.dtype)
        memory = self.context.nrt.meminfo_alloc_aligned_unchecked(b, count, align)
        with b.if_then(cgutils.is_null(b, memory), likely=False):
            self._give_back()
            self._raise(MemoryError, NO_MEMORY)
        strides = [itemsize] if lengths else []
        for length in reversed(lengths[1:]):
            strides.insert(0, b.mul(strides[0], length))
        a = self.context.make_array(result)(self.context, b)
        data = b.bitcast(self.context.nrt.meminfo_data(b, memory), a.data.type)
        populate_array(a, data, lengths, strides, itemsize, memory)
        self._made.append((result, a._getvalue()))
        return a

    def _raise_unless_done(self, status: ir.Value) -> None:
        b = self.b
        with b.if_then(b.icmp_signed("!=", status, i64(DONE)), likely=False):
            self._give_back()
            *others, (_, last) = CLASSES.items()
            for told, kind in others:
                with b.if_then(b.icmp_signed("==", status, i64(told))):
                    self._raise(kind)
            self._raise(last)

    def _give_back(self) -> None:
        for result, value in self._made:
            self.context.nrt.decref(self.b, result, value)

    def _raise(self, kind: type[BaseException], *args: str) -> None:
        self.context.call_conv.return_user_exc(self.b, kind, args)


def _kind(dtype: Any) -> int:
    as_numpy = numpy_support.as_dtype(dtype)
    return kind_code(as_numpy.kind, as_numpy.itemsize)
