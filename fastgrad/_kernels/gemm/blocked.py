"""The general path, on one thread: blocks of k and of rows, whose A stays in L2 as B passes by.

Assumptions: those of macrokernel.py. A block is KC deep, and as high as half of L2 holds of A; of B
there is one micro-panel in L2 at a time. What several tiles read is packed once: A panel by panel,
ahead of its block; B by the first block of rows, on the way through its first tiles or, where it
has to be transposed, just before. Other blocks of rows find these copies in L3. What gains nothing
by packing is read where it lies.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, subroutine
from ..codegen.integers import ceil_div, least, most, pick, quotient
from ..codegen.memory import table, word
from ..codegen.structs import load, on_stack
from ..runtime.caches import MOST_L2_BYTES
from ..runtime.pool_kernels import run_task
from ..runtime.registry import Floats, kernel
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import L2_BYTES, OK, OUT_OF_MEMORY
from . import thresholds
from .args import BlockPlan, Copy, Epilogue, Gemm, Matrix, Panels, Rows
from .macrokernel import macrokernel
from .microkernel import next_rows
from .packing import copy
from .panels import panels_of


class Layout(NamedTuple):
    """How a product is cut, and what is packed."""

    width: int  # columns of a micro-panel
    row_plan: int  # vectors of the tiles that rows are cut for
    depth: int  # steps of k in a block
    rows: int  # of a block
    chunk: int  # columns that all rows go through before the next ones: B's copies have room
    columns: int  # of a group: of B that is packed at a time, or all of a chunk
    a_panels: int  # where A is packed to; 0: it is not
    b_panels: int  # 1: B is packed before its tiles
    b_copy: int  # 1: on the way
    b_step: int  # from the copy of a micro-panel to that of the next; 0: they share one place


class Block(NamedTuple):
    """Some rows and steps of k, and a group of columns."""

    row: int
    step: int
    column: int
    rows: int
    depth: int
    columns: int
    end: int  # of the chunk's columns
    a: Matrix  # (rows, depth), or its panels
    b: Panels  # (depth, columns)
    copy: int  # of B: where it is, or will be


def _layout(t: Floats) -> Any:
    size, lanes, kc_max, isa = t.size, t.lanes, t.kc, t.isa
    rows_max, (_, vectors_of, row_plan_of) = isa.rows, panels_of(t)
    room = ARENA_BYTES - HEADER - MOST_L2_BYTES // 2  # for B
    assert thresholds.DIRECT_ROWS >= rows_max, "packing tiles are whole"
    assert (
        max(thresholds.GROUP_COLUMNS * thresholds.OUTER_K, kc_max * isa.columns(size)) * size
        <= room
    )

    @subroutine
    def lay_out(p, to):  # type: ignore[no-untyped-def]
        """Fill a Layout; its addresses are 0 or 1: what is packed."""
        m, n, k, a, b = p.m, p.n, p.k, p.a, p.b
        to.width, to.row_plan = vectors_of(m, n, k) * lanes, row_plan_of(m, n, k)
        panels = ceil_div(n, to.width)
        to.depth = least(kc_max, most(k, 1))
        large = m * n * k > thresholds.DIRECT_FMAS
        flat = to.depth <= thresholds.OUTER_K  # goes row by row through all micro-panels
        to.chunk, to.b_panels, to.b_copy, to.b_step = n, 0, 0, 0
        read_often = large and m > thresholds.DIRECT_ROWS
        if (b.column != size and n > 1) or (read_often and flat):
            to.b_panels = 1
        elif read_often and panels > 1:
            to.b_copy = 1
        by_k = a.row == size and a.column != size
        most_in_place = thresholds.DIRECT_PANELS if by_k else thresholds.DIRECT_ROW_PANELS
        read_often = panels > most_in_place and (by_k or not flat)
        to.a_panels = 0
        far = by_k and a.column >= thresholds.FAR_BYTES
        if large and to.row_plan != 0 and (read_often or far):
            to.a_panels = 1
        rows = quotient(word(table(), L2_BYTES), 2 * to.depth * size)
        to.rows = m
        if m > rows:
            rows = most(quotient(rows, rows_max), 1)
            tiles = ceil_div(m, rows_max)
            to.rows = ceil_div(tiles, ceil_div(tiles, rows)) * rows_max
        one = to.width * to.depth * size
        if to.b_panels != 0 and flat:
            to.b_step = one
            to.chunk = least(n, quotient(thresholds.GROUP_COLUMNS, to.width) * to.width)
        elif (to.b_panels | to.b_copy) != 0 and to.rows < m:
            to.b_step = one
            to.chunk = least(n, quotient(room, one) * to.width)
        to.columns = to.chunk
        if to.b_panels != 0 and not flat:
            to.columns = to.width
        return OK

    return lay_out


def _pack_a(t: Floats) -> Any:
    size, pack = t.size, t[copy]

    @subroutine
    def pack_a(layout, block):  # type: ignore[no-untyped-def]
        """A of the block to panels as high as the tiles that will read them, k-major.

        Where A lies along m, a line of it is part of several panels: some steps of k at a time go
        to all of them.
        """
        a, rows, depth, to = block.a, block.rows, block.depth, layout.a_panels
        chunk = thresholds.PACK_K if a.row == size else depth
        for k in range(0, depth, most(chunk, 1)):
            some = least(chunk, depth - k)
            i = 0
            while i < rows:
                height = next_rows(layout.row_plan, rows - i)
                source = Matrix(data=a.data + i * a.row + k * a.column, row=a.column, column=a.row)
                panel = Rows(data=to + (i * depth + k * height) * size, row=height * size)
                call(pack, Copy(rows=some, columns=height, source=source, to=panel))
                i += height
        a.data, a.row, a.column = to, size, 0
        return OK

    return pack_a


def _pack_b(t: Floats) -> Any:
    size, pack = t.size, t[copy]

    @subroutine
    def pack_b(p, layout, block):  # type: ignore[no-untyped-def]
        """B of the block to micro-panels."""
        b, width, to = p.b, layout.width, block.copy
        columns, depth, row = block.columns, block.depth, width * size
        chunk = thresholds.PACK_K if b.column == size else depth
        for k in range(0, depth, most(chunk, 1)):
            for j in range(0, columns, width):
                source = Matrix(
                    data=block.b.data + k * b.row + j * b.column, row=b.row, column=b.column
                )
                panel = Rows(data=to + (quotient(j, width) * depth + k) * row, row=row)
                call(pack, Copy(rows=least(chunk, depth - k), columns=least(width, columns - j),
                                source=source, to=panel))  # fmt: skip
        return OK

    return pack_b


def _multiply(t: Floats) -> Any:
    size, macro, pack_b = t.size, t[macrokernel], _pack_b(t)

    @subroutine
    def multiply(p, layout, block):  # type: ignore[no-untyped-def]
        """A block times a group of B, into C."""
        b, to, e, width = p.b, p.to, p.epilogue, layout.width
        i, k, j, depth = block.row, block.step, block.column, block.depth
        columns = least(layout.columns, block.end - j)
        block.columns, last = columns, 1 if k + depth >= p.k else 0
        block.b.data = b.data + k * b.row + j * b.column
        block.b.row, block.b.panel = b.row, width * b.column
        first = 1 if i == 0 or layout.b_step == 0 else 0  # the block that makes the copies
        if layout.b_panels != 0:
            if first:
                pack_b(p, layout, block)
            row = width * size
            block.b.data, block.b.row, block.b.panel = block.copy, row, depth * row
        y = e.y.data + i * e.y.row + j * size
        plan = on_stack(BlockPlan(
            m=block.rows, n=columns, k=depth, a=load(block.a), b=load(block.b),
            to=Rows(data=to.data + i * to.row + j * size, row=to.row), to_chunk=0,
            epilogue=Epilogue(
                accumulate=pick(k, 1, e.accumulate),
                bias=pick(last * e.bias, e.bias + j * size, 0), relu=last * e.relu,
                y=Rows(data=pick(last * e.y.data, y, 0), row=e.y.row), activation=e.activation,
            ),
            a_panels=pick(layout.a_panels, 1, 0), copy=pick(layout.b_copy, block.copy, 0),
            copy_step=layout.b_step, copies=first, rows=block.rows, row_blocks=1,
            columns=columns, column_groups=1, depth=depth, width=width,
            row_plan=layout.row_plan,
        ))  # fmt: skip
        return run_task(macro, plan, 0)

    return multiply


@kernel(Gemm, uses=(copy,))
def blocked(t: Floats) -> Any:
    size = t.size
    lay_out, pack_a, multiply = _layout(t), _pack_a(t), _multiply(t)

    def body(p):  # type: ignore[no-untyped-def]
        layout = on_stack(Layout(
            width=0, row_plan=0, depth=0, rows=0, chunk=0, columns=0, a_panels=0, b_panels=0,
            b_copy=0, b_step=0,
        ))  # fmt: skip
        lay_out(p, layout)
        arena, a, behind_a = 0, p.a, 0
        if (layout.a_panels | layout.b_panels | layout.b_copy) != 0:
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            room, of_a = arena + HEADER, (layout.rows * layout.depth * size + 63) & -64
            behind_a = room + pick(layout.a_panels, of_a, 0)
            layout.a_panels = pick(layout.a_panels, room, 0)
        block = on_stack(Block(
            row=0, step=0, column=0, rows=0, depth=0, columns=0, end=0,
            a=Matrix(data=0, row=0, column=0), b=Panels(data=0, row=0, panel=0), copy=0,
        ))  # fmt: skip
        status = OK
        for start in range(0, p.n, layout.chunk):
            block.end, block.step = least(start + layout.chunk, p.n), 0
            while True:
                block.depth = least(layout.depth, p.k - block.step)
                for i in range(0, p.m, layout.rows):
                    block.row, block.rows = i, least(layout.rows, p.m - i)
                    block.a.data = a.data + i * a.row + block.step * a.column
                    block.a.row, block.a.column = a.row, a.column
                    if layout.a_panels != 0:
                        pack_a(layout, block)
                    block.copy = behind_a
                    for j in range(start, block.end, layout.columns):
                        block.column = j
                        status |= multiply(p, layout, block)
                        block.copy += layout.b_step
                block.step += layout.depth
                if block.step >= p.k or status != OK:
                    break
        if arena != 0:
            release(arena)
        return status

    return body
