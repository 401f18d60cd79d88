"""Numbers of any dtype -> the dtype of a kernel: ``CONVERT`` has one for each kind of source.

Integers of 64 bits go by way of float64, as numpy promotes them; what is too large becomes Inf.
Elements beside each other are moved by vectors, others one by one. Nothing outside is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from ..codegen.calls import VectorFunction, call, kernel_at, subroutine
from ..codegen.integers import most
from ..codegen.simd import FLOAT, Simd, at_most, for_range, i64
from ..gemm.args import Matrix, Rows
from ..runtime.registry import Floats, Kernel, kernel_of

# In the order of their kernels: see calls.nth
KINDS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
         "float32", "float64")  # fmt: skip


class Conversion(NamedTuple):
    """to (rows, columns) = source, which may have any strides and alignment."""

    rows: int
    columns: int
    source: Matrix
    to: Rows


def _emit_conversion(kind: str) -> Callable[[Simd, Conversion], None]:
    dtype = np.dtype(kind)
    size = dtype.itemsize
    element = FLOAT[size] if dtype.kind == "f" else ir.IntType(8 * size)

    def emit(ops: Simd, p: Conversion) -> None:
        b, lanes = ops.builder, ops.lanes

        def move(source: ir.Value, to: ir.Value, count: int) -> None:
            """So many elements beside each other; one is a number, not a vector."""
            kinds = element, FLOAT[8], FLOAT[ops.itemsize]
            if count > 1:
                kinds = tuple(ir.VectorType(k, count) for k in kinds)  # type: ignore[assignment]
            x = b.load(ops.pointer(source, 0, kinds[0]), align=1)
            b.store(_converted(b, x, dtype, *kinds[1:]), ops.pointer(to, 0, kinds[2]), align=1)

        rows, columns, step, to_step, whole = _loops(ops, p, size)
        with for_range(b, rows) as r:
            source = b.add(p.source.data, b.mul(r, p.source.row))
            to = b.add(p.to.data, b.mul(r, p.to.row))
            with for_range(b, whole, lanes) as c:
                move(b.add(source, b.mul(c, step)), b.add(to, b.mul(c, to_step)), lanes)
            with for_range(b, b.sub(columns, whole)) as i:
                c = b.add(whole, i)
                move(b.add(source, b.mul(c, step)), b.add(to, b.mul(c, to_step)), 1)

    return emit


def _loops(ops: Simd, p: Conversion, size: int) -> tuple[ir.Value, ...]:
    """Rows, columns, bytes from one to the next of the source and of what is written; and how many
    columns are moved by vectors. A column is a row, and so is what has no gaps."""
    b, to_size = ops.builder, i64(ops.itemsize)
    is_column = b.icmp_signed("==", p.columns, i64(1))
    step = b.select(is_column, p.source.row, p.source.column)
    to_step = b.select(is_column, p.to.row, to_size)
    is_dense = b.and_(b.icmp_signed("==", step, i64(size)), b.icmp_signed("==", to_step, to_size))
    has_no_gaps = b.and_(
        b.icmp_signed("==", p.source.row, b.mul(p.columns, i64(size))),
        b.icmp_signed("==", p.to.row, b.mul(p.columns, to_size)),
    )
    is_one = b.or_(is_column, b.and_(is_dense, has_no_gaps))
    rows = b.select(is_one, at_most(b, p.rows, 1), p.rows)
    columns = b.select(is_one, b.mul(p.rows, p.columns), p.columns)
    whole = b.select(is_dense, b.and_(columns, i64(-ops.lanes)), i64(0))
    return rows, columns, step, to_step, whole


def _converted(
    b: ir.IRBuilder, x: ir.Value, dtype: np.dtype[np.generic], wide: ir.Type, to: ir.Type
) -> ir.Value:
    """A number or a vector; wide: as many float64."""
    if dtype.kind == "f":
        if x.type == to:
            return x
        return (b.fpext if dtype.itemsize == 4 else b.fptrunc)(x, to)
    if dtype.kind == "b":
        return b.uitofp(b.icmp_unsigned("!=", x, x.type(None)), to)
    through = wide if dtype.itemsize == 8 else to
    x = (b.sitofp if dtype.kind == "i" else b.uitofp)(x, through)
    return x if through == to else b.fptrunc(x, to)


def _kernel(kind: str) -> Kernel:
    return kernel_of(VectorFunction(_emit_conversion(kind), Conversion, f"convert_{kind}"))


CONVERT = {kind: _kernel(kind) for kind in KINDS}
ANY = CONVERT[KINDS[0]]  # what all take


def converted_of(t: Floats) -> Any:
    size, convert = t.size, t[ANY]

    @subroutine
    def converted(slot, n, k, x, to):  # type: ignore[no-untyped-def]
        """x (n, k), a view of a Matrix, in memory at ``to``, in the order in which it lay; the
        view tells where it is now. slot: of the kernel that converts it."""
        row, column = most(x.row, -x.row), most(x.column, -x.column)
        if 0 < row < column:
            status = call(kernel_at(convert, slot), Conversion(
                rows=k, columns=n, source=Matrix(data=x.data, row=x.column, column=x.row),
                to=Rows(data=to, row=n * size),
            ))  # fmt: skip
            x.row, x.column = size, n * size
        else:
            status = call(kernel_at(convert, slot), Conversion(
                rows=n, columns=k, source=Matrix(data=x.data, row=x.row, column=x.column),
                to=Rows(data=to, row=k * size),
            ))  # fmt: skip
            x.row, x.column = k * size, size
        x.data = to
        return status

    return converted
