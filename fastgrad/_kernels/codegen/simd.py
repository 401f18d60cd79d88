"""Vector values and operations on them: Python operators in, LLVM vector instructions out.

``Simd`` is the ``ops`` object that the formulas of mathfun.py and activations.py are traced with
(numpy twin: fastgrad/_lanes.py), plus memory: addresses are 64-bit integers, offsets are bytes.
Everything is emitted as written: no fast-math flag, no contraction, no reassociation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir

I1, I8, I32, I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
VOID = ir.VoidType()
FLOAT = {4: ir.FloatType(), 8: ir.DoubleType()}


def i64(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


def declare(module: ir.Module, name: str, result: ir.Type, args: list[ir.Type]) -> ir.Function:
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, args), name)


def new_function(
    module: ir.Module, name: str, nargs: int, result: ir.Type = VOID
) -> tuple[ir.Function, ir.IRBuilder]:
    """A function of this module alone: ``nargs`` 64-bit integers in, nothing out, never inlined."""
    function = ir.Function(module, ir.FunctionType(result, [I64] * nargs), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    return function, ir.IRBuilder(function.append_basic_block("entry"))


@contextmanager
def for_range(b: ir.IRBuilder, count: ir.Value, step: int | ir.Value = 1) -> Iterator[ir.Value]:
    """``for i in range(0, count, step)`` around what is emitted inside; yields i."""
    before = b.block
    head, body, after = (b.append_basic_block(n) for n in ("for", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(i64(0), before)
    b.cbranch(b.icmp_signed("<", i, count), body, after)
    b.position_at_end(body)
    yield i
    i.add_incoming(b.add(i, i64(step) if isinstance(step, int) else step), b.block)
    b.branch(head)
    b.position_at_end(after)


def keep_rolled(branch: ir.Instruction) -> None:
    """Tell LLVM not to unroll the loop that ``branch`` closes: narrow tiles would spill."""
    module = branch.parent.parent.module
    unroll = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = module.add_metadata([unroll, unroll])
    loop.operands = (loop, unroll)  # a loop's name is a node that begins with itself
    branch.set_metadata("llvm.loop", loop)


def at_most(b: ir.IRBuilder, x: ir.Value, limit: int | ir.Value) -> ir.Value:
    """The lesser one, of signed integers."""
    limit = i64(limit) if isinstance(limit, int) else limit
    return b.select(b.icmp_signed("<", x, limit), x, limit)


class Value:
    """An LLVM vector of floats, integers or booleans with Python's operators."""

    __slots__ = ("ir", "ops")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, ops: Simd, value: ir.Value) -> None:
        self.ops, self.ir = ops, value

    def _binary(self, other: Any, name: str, swap: bool = False) -> Value:
        ops = self.ops
        x, y = self.ir, ops.like(self, other)
        if swap:
            x, y = y, x
        is_float = isinstance(x.type.element, ir.FloatType | ir.DoubleType)
        return Value(ops, getattr(ops.builder, "f" + name if is_float else name)(x, y))

    def _compare(self, other: Any, sign: str) -> Value:
        emit = self.ops.builder.fcmp_unordered if sign == "!=" else self.ops.builder.fcmp_ordered
        return Value(self.ops, emit(sign, self.ir, self.ops.like(self, other)))

    def __add__(self, o: Any) -> Value:
        return self._binary(o, "add")

    def __sub__(self, o: Any) -> Value:
        return self._binary(o, "sub")

    def __mul__(self, o: Any) -> Value:
        return self._binary(o, "mul")

    def __truediv__(self, o: Any) -> Value:
        return self._binary(o, "div")

    def __radd__(self, o: Any) -> Value:
        return self._binary(o, "add", True)

    def __rsub__(self, o: Any) -> Value:
        return self._binary(o, "sub", True)

    def __rmul__(self, o: Any) -> Value:
        return self._binary(o, "mul", True)

    def __rtruediv__(self, o: Any) -> Value:
        return self._binary(o, "div", True)

    def __neg__(self) -> Value:
        return Value(self.ops, self.ops.builder.fneg(self.ir))

    def __lt__(self, o: Any) -> Value:
        return self._compare(o, "<")

    def __le__(self, o: Any) -> Value:
        return self._compare(o, "<=")

    def __gt__(self, o: Any) -> Value:
        return self._compare(o, ">")

    def __ge__(self, o: Any) -> Value:
        return self._compare(o, ">=")

    def __eq__(self, o: Any) -> Value:  # type: ignore[override]
        return self._compare(o, "==")

    def __ne__(self, o: Any) -> Value:  # type: ignore[override]
        return self._compare(o, "!=")

    def __and__(self, o: Any) -> Value:
        return self._binary(o, "and_")

    def __or__(self, o: Any) -> Value:
        return self._binary(o, "or_")

    def __xor__(self, o: Any) -> Value:
        return self._binary(o, "xor")

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Value:
        return Value(self.ops, self.ops.builder.not_(self.ir))

    def __lshift__(self, n: int) -> Value:
        return self._binary(n, "shl")

    def __rshift__(self, n: int) -> Value:
        return self._binary(n, "lshr")


class Simd:
    """Emits vectors of ``lanes`` elements of ``itemsize`` bytes at the builder's position."""

    def __init__(self, builder: ir.IRBuilder, itemsize: int, lanes: int, fma: bool) -> None:
        self.builder, self.itemsize, self.lanes, self.has_fma = builder, itemsize, lanes, fma
        self.dtype = np.dtype(f"f{itemsize}")
        self.bytes = itemsize * lanes
        self.float = ir.VectorType(FLOAT[itemsize], lanes)
        self.int = ir.VectorType(ir.IntType(8 * itemsize), lanes)
        self.bool = ir.VectorType(I1, lanes)
        self.suffix = f"v{lanes}f{8 * itemsize}"

    # values --------------------------------------------------------------------------------------
    def constant(self, x: float) -> Value:
        return Value(self, ir.Constant(self.float, [float(self.dtype.type(x))] * self.lanes))

    def like(self, model: Value, x: Any) -> ir.Value:
        """``x`` as an operand beside ``model``: a vector stays, a Python number is spread."""
        if isinstance(x, Value):
            return x.ir
        if isinstance(model.ir.type.element, ir.IntType):
            mask = (1 << model.ir.type.element.width) - 1
            return ir.Constant(model.ir.type, [int(x) & mask] * self.lanes)
        return self.constant(x).ir

    def spread(self, scalar: ir.Value) -> ir.Value:
        kind = ir.VectorType(scalar.type, self.lanes)
        one = self.builder.insert_element(
            ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0)
        )
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), None)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

    def _as_value(self, x: Any) -> Value:
        return x if isinstance(x, Value) else self.constant(x)

    def fma(self, a: Any, b: Any, c: Any) -> Value:
        a, b, c = (self._as_value(x) for x in (a, b, c))
        if not self.has_fma:
            return a * b + c
        f = declare(self.builder.module, f"llvm.fma.{self.suffix}", self.float, [self.float] * 3)
        return Value(self, self.builder.call(f, [a.ir, b.ir, c.ir]))

    def select(self, mask: Value, a: Any, b: Any) -> Value:
        pair = [self._as_value(x).ir for x in (a, b)]
        return Value(self, self.builder.select(mask.ir, *pair))

    def bits(self, x: Value) -> Value:
        return Value(self, self.builder.bitcast(x.ir, self.int))

    def from_bits(self, i: Value) -> Value:
        return Value(self, self.builder.bitcast(i.ir, self.float))

    def abs(self, x: Value) -> Value:
        return self.from_bits(self.bits(x) & ((1 << (8 * self.itemsize - 1)) - 1))

    def copysign(self, magnitude: Value, sign: Value) -> Value:
        top = 1 << (8 * self.itemsize - 1)
        return self.from_bits((self.bits(magnitude) & (top - 1)) | (self.bits(sign) & top))

    # memory --------------------------------------------------------------------------------------
    def pointer(self, base: ir.Value, offset: int, kind: ir.Type) -> ir.Value:
        address = self.builder.add(base, i64(offset)) if offset else base
        return self.builder.inttoptr(address, kind.as_pointer())

    def first(self, count: ir.Value) -> ir.Value:
        """Mask of the first ``count`` lanes."""
        iota = ir.Constant(self.int, list(range(self.lanes)))
        wide = self.builder.trunc(count, self.int.element) if self.itemsize == 4 else count
        return self.builder.icmp_unsigned("<", iota, self.spread(wide))

    def lanes_left(self, columns: ir.Value, group: int = 0) -> ir.Value:
        """Mask of the ``group``-th vector of a row that has ``columns`` left."""
        b = self.builder
        left = at_most(b, b.sub(columns, i64(group * self.lanes)), self.lanes)
        return self.first(b.select(b.icmp_signed(">", left, i64(0)), left, i64(0)))

    def over_columns(
        self, columns: ir.Value, vector: Callable[[ir.Value, ir.Value | None], None]
    ) -> None:
        """``vector(offset in bytes, mask or None)`` for whole vectors, then for what is left."""
        b = self.builder
        whole = b.and_(columns, i64(-self.lanes))
        rest = b.sub(columns, whole)
        with for_range(b, whole, self.lanes) as c:
            vector(b.mul(c, i64(self.itemsize)), None)
        with b.if_then(b.icmp_signed("!=", rest, i64(0))):
            vector(b.mul(whole, i64(self.itemsize)), self.first(rest))

    def load(self, base: ir.Value, offset: int = 0, mask: ir.Value | None = None) -> Value:
        """A vector from memory of any alignment; lanes outside ``mask`` are not read: +0.0."""
        pointer = self.pointer(base, offset, self.float)
        if mask is None:
            return Value(self, self.builder.load(pointer, align=self.itemsize))
        args = [pointer, ir.Constant(I32, self.itemsize), mask, ir.Constant(self.float, None)]
        name = f"llvm.masked.load.{self.suffix}.p0"
        f = declare(self.builder.module, name, self.float, [a.type for a in args])
        return Value(self, self.builder.call(f, args))

    def load_parts(self, bases: list[ir.Value], offset: int) -> Value:
        """A vector of as many equal parts as there are addresses."""
        b = self.builder
        kind = ir.VectorType(self.float.element, self.lanes // len(bases))
        parts = [b.load(self.pointer(a, offset, kind), align=self.itemsize) for a in bases]
        while len(parts) > 1:
            both = ir.Constant(
                ir.VectorType(I32, 2 * parts[0].type.count), list(range(2 * parts[0].type.count))
            )
            parts = [
                b.shuffle_vector(x, y, both) for x, y in zip(parts[::2], parts[1::2], strict=True)
            ]
        return Value(self, parts[0])

    def store(
        self, x: Value, base: ir.Value, offset: int = 0, mask: ir.Value | None = None
    ) -> None:
        pointer = self.pointer(base, offset, self.float)
        if mask is None:
            self.builder.store(x.ir, pointer, align=self.itemsize)
            return
        args = [x.ir, pointer, ir.Constant(I32, self.itemsize), mask]
        name = f"llvm.masked.store.{self.suffix}.p0"
        f = declare(self.builder.module, name, VOID, [a.type for a in args])
        self.builder.call(f, args)

    def broadcast(self, base: ir.Value, offset: int = 0) -> Value:
        """One element from memory in every lane."""
        pointer = self.pointer(base, offset, FLOAT[self.itemsize])
        return Value(self, self.spread(self.builder.load(pointer, align=self.itemsize)))

    def prefetch(self, base: ir.Value, write: bool) -> None:
        """Ask for the cache line at an address, to be written or read."""
        args = [self.pointer(base, 0, I8), *(ir.Constant(I32, n) for n in (int(write), 3, 1))]
        f = declare(self.builder.module, "llvm.prefetch.p0", VOID, [a.type for a in args])
        self.builder.call(f, args)

    def in_turn(self, values: list[ir.Value], address: ir.Value) -> tuple[list[ir.Value], ir.Value]:
        """All as they are, but what is loaded from the address is loaded after the values are made.

        LLVM likes to load early, and spills what then waits for a register. No instruction is left
        of this; a CPU that reorders goes on doing so.
        """
        given = [*values, address]
        kinds = [x.type for x in given]
        places = ["=x"] * len(values) + ["=r"] + [str(i) for i in range(len(given))]
        asm = ir.InlineAsm(
            ir.FunctionType(ir.LiteralStructType(kinds), kinds), "", ",".join(places)
        )
        found = self.builder.call(asm, given)
        *values, address = (self.builder.extract_value(found, i) for i in range(len(given)))
        return values, address

    def shuffle(self, a: Value, b: Value, lanes: list[int]) -> Value:
        mask = ir.Constant(ir.VectorType(I32, self.lanes), lanes)
        return Value(self, self.builder.shuffle_vector(a.ir, b.ir, mask))
