"""Strided memory -> rows of unit stride, for panels and gathered blocks: ``copy`` (rows, columns).

Three loops, chosen by the source's strides: unit stride along columns is moved by vectors, unit
stride along rows goes through transposes in registers, anything else goes element by element.
Nothing outside the source is read, not even by a masked-off lane.
"""

from __future__ import annotations

from llvmlite import ir

from ..codegen.calls import vector_function
from ..codegen.simd import FLOAT, Simd, Value, at_most, for_range, i64
from ..runtime.registry import kernel_of
from .args import Copy


@vector_function(Copy)
def copy_elements(ops: Simd, p: Copy) -> None:
    """A single row or column may have any stride: prefer the vector moves."""
    b = ops.builder
    one = i64(ops.itemsize)
    with b.if_then(b.icmp_signed("==", p.source.column, one)):
        _copy_rows(ops, p)
        b.ret_void()
    with b.if_then(b.icmp_signed("==", p.source.row, one)):
        _transpose(ops, p)
        b.ret_void()
    _copy_one_by_one(ops, p)


def _copy_rows(ops: Simd, p: Copy) -> None:
    b, lanes = ops.builder, ops.lanes
    with b.if_then(b.icmp_signed("<", p.columns, i64(lanes))):
        _copy_short_rows(ops, p)
        b.ret_void()
    whole = b.and_(p.columns, i64(-lanes))
    rest = b.sub(p.columns, whole)
    mask = ops.first(rest)
    has_rest = b.icmp_signed("!=", rest, i64(0))
    with for_range(b, p.rows) as r:
        source = b.add(p.source.data, b.mul(r, p.source.row))
        to = b.add(p.to.data, b.mul(r, p.to.row))
        with for_range(b, whole, lanes) as c:
            offset = b.mul(c, i64(ops.itemsize))
            ops.store(ops.load(b.add(source, offset)), b.add(to, offset))
        with b.if_then(has_rest):
            offset = b.mul(whole, i64(ops.itemsize))
            ops.store(ops.load(b.add(source, offset), 0, mask), b.add(to, offset), 0, mask)


def _copy_short_rows(ops: Simd, p: Copy) -> None:
    """Less than a vector each, as of a panel of A: four at a time."""
    b = ops.builder
    mask = ops.first(p.columns)
    fours = b.and_(p.rows, i64(-4))
    with for_range(b, fours, 4) as r:
        source = b.add(p.source.data, b.mul(r, p.source.row))
        to = b.add(p.to.data, b.mul(r, p.to.row))
        for _ in range(4):
            ops.store(ops.load(source, 0, mask), to, 0, mask)
            source, to = b.add(source, p.source.row), b.add(to, p.to.row)
    with for_range(b, b.sub(p.rows, fours)) as r:
        row = b.add(r, fours)
        source = b.add(p.source.data, b.mul(row, p.source.row))
        to = b.add(p.to.data, b.mul(row, p.to.row))
        ops.store(ops.load(source, 0, mask), to, 0, mask)


def _transpose(ops: Simd, p: Copy) -> None:
    """Blocks of lanes x lanes: full ones with plain moves, those at an edge masked."""
    b, lanes = ops.builder, ops.lanes
    size = i64(ops.itemsize)
    with for_range(b, p.columns, lanes) as c, for_range(b, p.rows, lanes) as r:
        source = b.add(p.source.data, b.add(b.mul(r, size), b.mul(c, p.source.column)))
        to = b.add(p.to.data, b.add(b.mul(r, p.to.row), b.mul(c, size)))
        rows, columns = b.sub(p.rows, r), b.sub(p.columns, c)
        full = b.and_(
            b.icmp_signed(">=", rows, i64(lanes)), b.icmp_signed(">=", columns, i64(lanes))
        )
        with b.if_else(full) as (then, otherwise):
            with then:
                step = p.source.column
                block = [b.add(source, b.mul(step, i64(i))) for i in range(lanes)]
                for i, x in enumerate(load_transposed(ops, block)):
                    ops.store(x, b.add(to, b.mul(p.to.row, i64(i))))
            with otherwise:
                rows, columns = (at_most(b, n, lanes) for n in (rows, columns))
                read, write = ops.first(rows), ops.first(columns)
                block = []
                for i in range(lanes):
                    # a column past the edge is the last one again: read twice, never stored
                    inside = at_most(b, i64(i), b.sub(columns, i64(1)))
                    address = b.add(source, b.mul(inside, p.source.column))
                    block.append(ops.load(address, 0, read))
                for i, x in enumerate(transpose_block(ops, block)):
                    with b.if_then(b.icmp_signed("<", i64(i), rows)):
                        ops.store(x, b.add(to, b.mul(p.to.row, i64(i))), 0, write)


def load_transposed(ops: Simd, addresses: list[ir.Value]) -> list[Value]:
    """The transpose of lanes x lanes elements, a row at each address.

    The rows are loaded 16 bytes at a time, so that loads do what would take the longer exchanges:
    half of all shuffles, of which a CPU does one a cycle.
    """
    part = 16 // ops.itemsize
    columns = []
    for c in range(0, ops.lanes, part):
        rows = [ops.load_parts(addresses[s::part], c * ops.itemsize) for s in range(part)]
        columns += transpose_block(ops, rows)
    return columns


def transpose_block(ops: Simd, rows: list[Value]) -> list[Value]:
    """n rows -> the transpose of each n x n block of theirs, by exchanging halves of 1, 2, 4 ..."""
    lanes = ops.lanes
    width = 1
    while width < len(rows):
        low = [q if not q & width else lanes + (q ^ width) for q in range(lanes)]
        high = [q | width if not q & width else lanes + q for q in range(lanes)]
        swapped = list(rows)
        for i in range(len(rows)):
            if not i & width:
                x, y = rows[i], rows[i | width]
                swapped[i] = ops.shuffle(x, y, low)
                swapped[i | width] = ops.shuffle(x, y, high)
        rows = swapped
        width *= 2
    return rows


def _copy_one_by_one(ops: Simd, p: Copy) -> None:
    b = ops.builder
    kind = FLOAT[ops.itemsize]
    with for_range(b, p.rows) as r:
        source = b.add(p.source.data, b.mul(r, p.source.row))
        to = b.add(p.to.data, b.mul(r, p.to.row))
        with for_range(b, p.columns) as c:
            x = b.load(
                ops.pointer(b.add(source, b.mul(c, p.source.column)), 0, kind),
                align=ops.itemsize,
            )
            b.store(
                x,
                ops.pointer(b.add(to, b.mul(c, i64(ops.itemsize))), 0, kind),
                align=ops.itemsize,
            )


copy = kernel_of(copy_elements)
