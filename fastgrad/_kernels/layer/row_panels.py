"""A few rows of a matrix <-> a panel whose lanes are the rows: (columns, lanes), dense.

Where the columns of the matrix have unit stride, some of them are moved for all rows at a time:
16 bytes of each row, or 8, and a transpose of small blocks. The last group overlaps the one before
it. Anything else goes through packing.copy.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from ..codegen import structs
from ..codegen.calls import vector_function
from ..codegen.memory import emit_call
from ..codegen.simd import I32, Simd, Value, at_most, for_range, i64
from ..gemm.args import Copy, Matrix, Rows
from ..gemm.packing import copy, transpose_block


class ReadPanel(NamedTuple):
    """rows (at most as many as lanes) of source to the panel's lanes."""

    rows: int
    columns: int
    source: Matrix
    panel: int


class WritePanel(NamedTuple):
    """The panel's lanes to rows of ``to``."""

    rows: int
    columns: int
    panel: int
    to: Rows


@vector_function(ReadPanel)
def read_panel(ops: Simd, p: ReadPanel) -> None:
    """Lanes past the rows hold some number of the source, or +0.0."""
    b = ops.builder
    unit = b.icmp_signed("==", p.source.column, i64(ops.itemsize))
    for part in _parts(ops):
        with b.if_then(b.and_(unit, b.icmp_signed(">=", p.columns, i64(part)))):
            starts = _starts(ops, p.rows, p.source.data, p.source.row)
            with for_range(b, p.columns, part) as j:
                c = at_most(b, j, b.sub(p.columns, i64(part)))
                at = b.mul(c, i64(ops.itemsize))
                places = [b.add(start, at) for start in starts]
                blocks = [ops.load_parts(places[s::part], 0) for s in range(part)]
                to = b.add(p.panel, b.mul(c, i64(ops.bytes)))
                for i, x in enumerate(transpose_block(ops, blocks)):
                    ops.store(x, to, i * ops.bytes)
            b.ret_void()
    with b.if_then(b.icmp_signed("<", p.rows, i64(ops.lanes))), for_range(b, p.columns) as j:
        ops.store(ops.constant(0.0), b.add(p.panel, b.mul(j, i64(ops.bytes))))
    transposed = Matrix(p.source.data, p.source.column, p.source.row)
    _copy(ops, Copy(p.columns, p.rows, transposed, Rows(p.panel, i64(ops.bytes))))


@vector_function(WritePanel)
def write_panel(ops: Simd, p: WritePanel) -> None:
    b = ops.builder
    for part in _parts(ops):
        with b.if_then(b.icmp_signed(">=", p.columns, i64(part))):
            starts = _starts(ops, p.rows, p.to.data, p.to.row)
            with for_range(b, p.columns, part) as j:
                c = at_most(b, j, b.sub(p.columns, i64(part)))
                source = b.add(p.panel, b.mul(c, i64(ops.bytes)))
                blocks = [ops.load(source, i * ops.bytes) for i in range(part)]
                blocks = transpose_block(ops, blocks)
                at = b.mul(c, i64(ops.itemsize))
                # lanes past the rows go where the last row goes after them
                for i in reversed(range(ops.lanes)):
                    _store_part(ops, blocks[i % part], i // part * part, part, b.add(starts[i], at))
            b.ret_void()
    # one column
    one, lane, step = i64(1), i64(ops.itemsize), i64(ops.bytes)
    with b.if_then(b.icmp_signed("==", p.to.row, lane)):
        as_row = Matrix(p.panel, i64(0), lane)
        _copy(ops, Copy(one, p.rows, as_row, Rows(p.to.data, i64(0))))
        b.ret_void()
    _copy(ops, Copy(p.rows, one, Matrix(p.panel, lane, step), p.to))


def _copy(ops: Simd, args: Copy) -> None:
    """By the table: its code is compiled once for all that copy."""
    slot = i64(copy.slot(ops.dtype.name))
    emit_call(ops.builder, slot, list(structs.words(args)))


def _parts(ops: Simd) -> list[int]:
    """Elements of a row that are moved at a time, most first."""
    return [part for part in (16 // ops.itemsize, 8 // ops.itemsize) if 1 < part <= ops.lanes]


def _starts(ops: Simd, rows: ir.Value, base: ir.Value, row: ir.Value) -> list[ir.Value]:
    """Where the rows of the lanes start; past the rows it is the last one."""
    b = ops.builder
    last = b.sub(rows, i64(1))
    return [b.add(base, b.mul(at_most(b, i64(i), last), row)) for i in range(ops.lanes)]


def _store_part(ops: Simd, x: Value, first: int, count: int, to: ir.Value) -> None:
    b = ops.builder
    lanes = ir.Constant(ir.VectorType(I32, count), list(range(first, first + count)))
    part = b.shuffle_vector(x.ir, x.ir, lanes)
    pointer = ops.pointer(to, 0, ir.VectorType(ops.float.element, count))
    b.store(part, pointer, align=ops.itemsize)
