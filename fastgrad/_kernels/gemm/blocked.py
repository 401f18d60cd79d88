"""The general path: B in packed blocks of KC x NC that all threads share, a pass over C for each.

Tasks are blocks of C. Each packs the rows of A that it needs, a few tiles' worth that stay in L2
while the strips of B, a tile wide, pass by. What gains nothing by packing is read where it lies.
Where the product is too short for threads to wait for each other at every block, C is cut into a
few parts instead, each a product that one thread does alone.
"""

from __future__ import annotations

from typing import Any

from ..codegen.integers import ceil_div, least, most, pick, quotient, remainder
from ..codegen.memory import call_kernel, in_memory, word
from ..codegen.target import KC, current
from ..runtime.jit import OK, OUT_OF_MEMORY, register, slot, stamp
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.thread_pool import FORK_JOIN, ensure
from . import thresholds
from .macrokernel import BLOCK, BY_K, BY_ROWS, IN_PLACE, PACK_B


def part(dtype: str) -> Any:
    """A task: a part of C, alone; its plan is the form of gemm.py and, for parts, their rows,
    their columns and how many lie side by side."""
    version = stamp()
    size = 4 if dtype == "float32" else 8
    blocks = slot(BLOCKS, dtype)

    def kernel_part(d):  # type: ignore[no-untyped-def]
        _ = version
        p, task = word(d, 0), word(d, 1)
        rows, columns, beside = word(p, 18), word(p, 19), word(p, 20)
        i, j = quotient(task, beside) * rows, remainder(task, beside) * columns
        bias, y = word(p, 12), word(p, 14)
        return call_kernel(blocks, (
            least(rows, word(p, 0) - i), least(columns, word(p, 1) - j), word(p, 2),
            word(p, 3) + i * word(p, 4), word(p, 4), word(p, 5),
            word(p, 6) + j * word(p, 8), word(p, 7), word(p, 8),
            word(p, 9) + i * word(p, 10) + j * size, word(p, 10),
            word(p, 11), pick(bias, bias + j * size, 0), word(p, 13),
            pick(y, y + i * word(p, 15) + j * size, 0), word(p, 15), word(p, 16), 1,
        ))  # fmt: skip

    return kernel_part


def blocks(dtype: str) -> Any:
    """A kernel of the form of gemm.py."""
    version = stamp()
    isa = current().isa
    size = 4 if dtype == "float32" else 8
    kc_max, nc_max = KC[dtype], isa.block_columns
    rows_max, columns, lanes, most_vectors = (
        isa.rows,
        isa.columns(size),
        isa.lanes(size),
        isa.vectors,
    )
    most_strips = nc_max // columns
    depth_max, a_bytes, header = kc_max * isa.block_chains, isa.a_bytes, HEADER
    assert HEADER + depth_max * nc_max * size <= ARENA_BYTES >= 2 * a_bytes
    block, pack_b, fork_join = slot(BLOCK, dtype), slot(PACK_B, dtype), FORK_JOIN
    part_task, parts_fmas = slot(PART, dtype), thresholds.PARTS_FMAS * 4 // size
    parts_of_a_thread = thresholds.PARTS_OF_A_THREAD
    direct_rows, direct_fmas, direct_strips = (
        thresholds.DIRECT_ROWS,
        thresholds.DIRECT_FMAS,
        thresholds.DIRECT_STRIPS,
    )
    far, outer_k = thresholds.FAR_BYTES, thresholds.OUTER_K
    fmas_per_ns = thresholds.FMAS_PER_NS * 4 // size
    tasks_of_a_thread, task_tiles = thresholds.TASKS_OF_A_THREAD, thresholds.TASK_TILES

    def kernel_blocks(d):  # type: ignore[no-untyped-def]
        _ = version
        m, n, k = word(d, 0), word(d, 1), word(d, 2)
        a, a_row, a_k = word(d, 3), word(d, 4), word(d, 5)
        b, b_k, b_column = word(d, 6), word(d, 7), word(d, 8)
        to, bias, y, threads = word(d, 9), word(d, 12), word(d, 14), word(d, 17)
        row_tiles, strips = ceil_div(m, rows_max), ceil_div(n, columns)
        if threads > 1 and m * n * k < parts_fmas:
            # The cut that packs least: A once for each part beside another, B for each below.
            tasks = parts_of_a_thread * threads
            beside, least_cost = 1, m * n * k
            for across in range(1, tasks + 1):
                cost = across * m + quotient(tasks, across) * n
                if remainder(tasks, across) == 0 and across <= 2 * strips and cost < least_cost:
                    beside, least_cost = across, cost
            rows = ceil_div(row_tiles, quotient(tasks, beside)) * rows_max
            wide = ceil_div(ceil_div(n, lanes), beside) * lanes
            beside = ceil_div(n, wide)
            form = (
                m, n, k, a, a_row, a_k, b, b_k, b_column, to, word(d, 10),
                word(d, 11), bias, word(d, 13), y, word(d, 15), word(d, 16), 1,
            )  # fmt: skip
            plan = in_memory(form + (rows, wide, beside))
            status = ensure(block) | ensure(pack_b)
            if status != OK:
                return status
            ns = quotient(m * n * k, fmas_per_ns)
            return call_kernel(fork_join, (part_task, plan, beside * ceil_div(m, rows), ns))
        # strips of equal vectors: of 5, 3 and 2, not 4 and 1
        vectors = ceil_div(ceil_div(least(n, nc_max), lanes), least(strips, most_strips))
        width, row_plan = vectors * lanes, pick(strips - 1, most_vectors, vectors)
        strips = ceil_div(n, width)
        depth = least(depth_max, most(k, 1))
        large = m * n * k > direct_fmas
        pack = (b_column != size and n > 1) or (m > direct_rows and large)
        pack_a, mc = IN_PLACE, m
        by_k = a_row == size and a_k != size
        read_often = strips > direct_strips and (by_k or depth > outer_k)
        if large and (read_often or (by_k and a_k >= far)):
            pack_a = BY_K if by_k else BY_ROWS
            mc_max = quotient(a_bytes, depth * size + 64)
            mc = ceil_div(row_tiles, ceil_div(m, mc_max)) * rows_max
        nc_step, scratch, packed = n, 0, 0
        if pack:
            nc_step = ceil_div(strips, ceil_div(n, nc_max)) * width
            scratch = acquire()
            if scratch == 0:
                return OUT_OF_MEMORY
            packed = scratch + header
        status = OK
        for j0 in range(0, n, nc_step):
            nc = least(nc_step, n - j0)
            strips = ceil_div(nc, width)
            # Tasks: blocks of rows, cut along n too where there are too few of them.
            groups = 1
            if threads > 1:
                # The cut that packs and reads least: A once for each group, B for each block.
                tasks, most_blocks = tasks_of_a_thread * threads, most(row_tiles // task_tiles, 1)
                least_blocks, least_cost, row_blocks = ceil_div(m, mc), m * n * k, 1
                for across in range(1, least(tasks, strips) + 1):
                    if remainder(tasks, across) == 0:
                        down = most(least_blocks, least(quotient(tasks, across), most_blocks))
                        if remainder(across, threads) != 0:
                            down = ceil_div(down, threads) * threads
                        if across * m + down * nc < least_cost:
                            groups, row_blocks, least_cost = across, down, across * m + down * nc
                mc = 2 * ceil_div(m, 2 * row_blocks)
            group_strips = ceil_div(strips, groups)
            groups, row_blocks = ceil_div(strips, group_strips), ceil_div(m, mc)
            k0 = 0
            while True:
                kc = least(depth, k - k0)
                last = 1 if k0 + kc >= k else 0
                b_from, bk, strip = b + k0 * b_k + j0 * b_column, b_k, width * b_column
                if pack:
                    part = ceil_div(strips, 2 * threads)
                    plan = in_memory((b_from, b_k, b_column, kc, nc, packed, part, width))
                    parts = ceil_div(strips, part)
                    if threads > 1:
                        ns = quotient(kc * nc, 4)
                        status |= call_kernel(fork_join, (pack_b, plan, parts, ns))
                    else:
                        for t in range(parts):
                            status |= call_kernel(pack_b, (plan, t))
                    b_from, bk, strip = packed, width * size, width * size * kc
                here = j0 * size
                plan = in_memory((
                    m, nc, kc,
                    a + k0 * a_k, a_row, a_k,
                    b_from, bk, strip,
                    to + here, word(d, 10), 0,
                    pick(k0, 1, word(d, 11)),
                    pick(last * bias, bias + here, 0),
                    last * word(d, 13),
                    pick(last * y, y + here, 0), word(d, 15), word(d, 16),
                    pack_a,
                    mc, row_blocks, group_strips * width, groups, kc, width, row_plan,
                ))  # fmt: skip
                if threads > 1:
                    ns = quotient(m * nc * kc, fmas_per_ns)
                    status |= call_kernel(fork_join, (block, plan, row_blocks * groups, ns))
                else:
                    for t in range(row_blocks * groups):
                        status |= call_kernel(block, (plan, t))
                k0 += depth
                if k0 >= k or status != OK:
                    break
            if status != OK:
                break
        if scratch != 0:
            release(scratch)
        return status

    return kernel_blocks


PART = register("part", part)
BLOCKS = register("blocks", blocks)
