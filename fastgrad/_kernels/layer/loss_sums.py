"""Sums inside losses: terms of the dtype along rows, losses of rows down a batch, in float64.

The order is that of reference.losses, and part of BITS_VERSION. Terms of float32 are widened and
added in a chain along the row. Those of float64 are added in chains over GROUP columns, and the
chains with the error of each addition beside the sum (``RowSum``). The losses of rows are added in
blocks of KC: in CHAINS chains, these in pairs, then the blocks, always with the errors beside the
sums (``BatchSum``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from llvmlite import ir

from ..codegen.calls import vector_function
from ..codegen.simd import FLOAT, I32, I64, Simd, Value, at_most, for_range, i64, new_function
from ..codegen.target import KC

GROUP = 8  # columns of a chain of float64, a divisor of COLUMNS: part of BITS_VERSION
CHAINS = 8  # of the rows of a block, a divisor of KC: part of BITS_VERSION


def wide_of(ops: Simd) -> Simd:
    """As many lanes of float64."""
    return Simd(ops.builder, 8, ops.lanes, ops.has_fma)


def widened(ops: Simd, x: Value) -> Value:
    wide = wide_of(ops)
    return Value(wide, x.ir if ops.itemsize == 8 else ops.builder.fpext(x.ir, wide.float))


def narrowed(ops: Simd, x: Value) -> Value:
    """A vector of float64, rounded to the dtype."""
    return Value(ops, x.ir if ops.itemsize == 8 else ops.builder.fptrunc(x.ir, ops.float))


def two_sum(x: Value, y: Value) -> tuple[Value, Value]:
    """x + y rounded, and what the rounding lost (Knuth), NaN where the sum is infinite."""
    total = x + y
    of_y = total - x
    return total, (x - (total - of_y)) + (y - of_y)


def _sum_of(ops: Simd, total: Value, error: Value) -> Value:
    return ops.select(error == error, total + error, total)


class RowSum:
    """A float64 in every lane that terms of the dtype are added to, from +0.0."""

    def __init__(self, ops: Simd) -> None:
        self.ops, self.wide = ops, wide_of(ops)
        count = 1 if ops.itemsize == 4 else 3  # the total; its error, and a chain
        self._variables = [ops.builder.alloca(self.wide.float) for _ in range(count)]
        self.begin()

    def _get(self, which: int) -> Value:
        return Value(self.wide, self.ops.builder.load(self._variables[which]))

    def _set(self, which: int, x: Value) -> None:
        self.ops.builder.store(x.ir, self._variables[which])

    def begin(self) -> None:
        for which in range(len(self._variables)):
            self._set(which, self.wide.constant(0.0))

    def load(self, at: ir.Value) -> None:
        """Go on from what was kept."""
        for which in range(len(self._variables[:2])):
            self._set(which, self.wide.load(at, which * self.wide.bytes))

    def keep(self, at: ir.Value) -> None:
        for which in range(len(self._variables[:2])):
            self.wide.store(self._get(which), at, which * self.wide.bytes)

    def add(self, term: Value) -> None:
        if self.ops.itemsize == 4:
            self._set(0, self._get(0) + widened(self.ops, term))
        else:
            self._set(2, self._get(2) + Value(self.wide, term.ir))

    def end_group(self) -> None:
        """After GROUP terms of float64, or the last."""
        total, error = two_sum(self._get(0), self._get(2))
        self._set(0, total)
        self._set(1, self._get(1) + error)
        self._set(2, self.wide.constant(0.0))

    def value(self) -> Value:
        if self.ops.itemsize == 4:
            return self._get(0)
        return _sum_of(self.wide, self._get(0), self._get(1))


def kept_sum(ops: Simd, at: ir.Value) -> Value:
    """The value of a RowSum that is kept there."""
    wide = wide_of(ops)
    total = wide.load(at)
    return total if ops.itemsize == 4 else _sum_of(wide, total, wide.load(at, wide.bytes))


class BatchSum:
    """The sum of the losses of rows, and its error."""

    def __init__(self, b: ir.IRBuilder, has_fma: bool) -> None:
        self.b, self.has_fma, self.one = b, has_fma, Simd(b, 8, 1, has_fma)
        self._variables = [b.alloca(self.one.float) for _ in range(2)]
        for variable in self._variables:
            b.store(self.one.constant(0.0).ir, variable)

    def load(self, at: ir.Value) -> None:
        for i, variable in enumerate(self._variables):
            self.b.store(self.one.load(at, 8 * i).ir, variable)

    def keep(self, at: ir.Value) -> None:
        for i, variable in enumerate(self._variables):
            self.one.store(Value(self.one, self.b.load(variable)), at, 8 * i)

    def add_block(self, at: ir.Value, count: ir.Value) -> None:
        """Row i is in chain i % CHAINS; then the upper half is added to the lower half, ..."""
        b, ops = self.b, Simd(self.b, 8, CHAINS, self.has_fma)
        chains = [b.alloca(ops.float) for _ in range(2)]
        for chain in chains:
            b.store(ops.constant(0.0).ir, chain)

        def add(offset: ir.Value, mask: ir.Value | None) -> None:
            total, error = (Value(ops, b.load(chain)) for chain in chains)
            total, lost = two_sum(total, ops.load(b.add(at, offset), 0, mask))
            for chain, value in zip(chains, (total, error + lost), strict=True):
                b.store(value.ir, chain)

        ops.over_columns(count, add)
        total, error = (Value(ops, b.load(chain)) for chain in chains)
        width = CHAINS
        while width > 1:
            width //= 2
            half = Simd(b, 8, width, self.has_fma)
            low, high = (
                ir.Constant(ir.VectorType(I32, width), list(range(first, first + width)))
                for first in (0, width)
            )
            (low_total, high_total), (low_error, high_error) = (
                [Value(half, b.shuffle_vector(x.ir, x.ir, lanes)) for lanes in (low, high)]
                for x in (total, error)
            )
            total, lost = two_sum(low_total, high_total)
            error = (low_error + high_error) + lost
        before, error_before = (Value(self.one, b.load(v)) for v in self._variables)
        total, lost = two_sum(before, Value(self.one, total.ir))
        error = error_before + (lost + Value(self.one, error.ir))
        for variable, value in zip(self._variables, (total, error), strict=True):
            b.store(value.ir, variable)

    def store_mean(self, divisor: ir.Value, itemsize: int, loss: ir.Value) -> None:
        """The sum / divisor (bits), rounded to the dtype, to the address ``loss``."""
        b = self.b
        values = (Value(self.one, b.load(variable)) for variable in self._variables)
        total = b.extract_element(_sum_of(self.one, *values).ir, ir.Constant(I32, 0))
        mean = b.fdiv(total, b.bitcast(divisor, FLOAT[8]))
        if itemsize == 4:
            mean = b.fpext(b.fptrunc(mean, FLOAT[4]), FLOAT[8])
        b.store(mean, self.one.pointer(loss, 0, FLOAT[8]))


@contextmanager
def columns_of(
    ops: Simd, count: ir.Value, *sums: RowSum
) -> Iterator[Callable[[ir.Value], ir.Value]]:
    """A loop over the columns of panels; yields where the vector of a panel is."""
    b = ops.builder

    def at(j: ir.Value) -> Callable[[ir.Value], ir.Value]:
        offset = b.mul(j, i64(ops.bytes))
        return lambda panel: b.add(panel, offset)

    if ops.itemsize == 4 or not sums:
        with for_range(b, count) as j:
            yield at(j)
        return
    with for_range(b, count, GROUP) as first:
        with for_range(b, at_most(b, b.sub(count, first), GROUP)) as j:
            yield at(b.add(first, j))
        for one in sums:
            one.end_group()


def add_to(ops: Simd, sums: ir.Value, losses: ir.Value, rows: ir.Value) -> None:
    """The losses of a block, to the BatchSum that is kept there."""
    total = BatchSum(ops.builder, ops.has_fma)
    total.load(sums)
    total.add_block(losses, rows)
    total.keep(sums)


def call_part(ops: Simd, emit: Callable[..., None], *args: ir.Value, **known: int) -> None:
    """A step, as a function of its own."""
    b = ops.builder
    name = f"fastgrad_loss{emit.__name__}_f{8 * ops.itemsize}"
    function = b.module.globals.get(name)
    if function is None:
        function, inner = new_function(b.module, name, len(args))
        emit(Simd(inner, ops.itemsize, ops.lanes, ops.has_fma), *function.args, **known)
        inner.ret_void()
    b.call(function, list(args))


class RowLosses(NamedTuple):
    """The mean loss of a batch from those of its rows."""

    n: int
    row_losses: int  # float64
    divisor: int  # the bits of a float64
    loss: int  # address of a float64, written


@vector_function(RowLosses)
def mean_of_rows(ops: Simd, p: RowLosses) -> None:
    """In the order in which a loss over the whole batch adds: those of KC rows, then the blocks."""
    b, kc = ops.builder, KC[ops.dtype.name]
    total = BatchSum(b, ops.has_fma)
    state = b.ptrtoint(b.alloca(ir.ArrayType(FLOAT[8], 2)), I64)
    total.keep(state)
    with for_range(b, p.n, kc) as first:
        at = b.add(p.row_losses, b.mul(first, i64(8)))
        call_part(ops, add_to, state, at, at_most(b, b.sub(p.n, first), kc))
    total.load(state)
    total.store_mean(p.divisor, ops.itemsize, p.loss)
