"""C (m, n) = epilogue(A (m, k) . B (k, n)): the path by shape, its jobs, and who does them.

Paths, the same bits from all (thresholds: paths.py):
    direct   tiles straight on the operands' own strides, a strip of B after another
    packed   B in blocks of KC x NC that all threads share, A in blocks of a few tiles' rows that
             stay in L2 while the strips of B, a tile wide, pass by
    tall     chunks of k at a time into buffers of their own, which are added in order
k is always cut at multiples of KC (the contract), each block a pass over C.
"""

from __future__ import annotations

from typing import Any

from . import atomic, paths
from .activations import RELU
from .block import BLOCK, BY_K, BY_ROWS, IN_PLACE, PACK_B
from .elementwise import VALUE
from .jit import COMPILE, OK, OUT_OF_MEMORY, READY, SLOTS, register, slot, stamp
from .lowlevel import call_kernel, in_memory, table, word
from .pool import FORK_JOIN, START, THREADS
from .reduce import FOLD
from .scratch import ARENA_BYTES, HEADER, acquire, release
from .stream import STREAM
from .target import KC, current

# The descriptor of a product, 64-bit words; strides in bytes. c and z have unit stride along n or,
# without bias, activation and z, along m.
DESCRIPTOR = (
    "m", "n", "k",
    "a", "a_row", "a_k",
    "b", "b_k", "b_column",
    "c", "c_row", "c_column",
    "z", "z_row",  # pre-activation, or 0
    "bias",  # unit stride, or 0
    "activation",  # code of activations.py
    "accumulate",
    "alone",  # 1: on this thread only
)  # fmt: skip
WORDS = len(DESCRIPTOR)


def gemm(dtype: str) -> Any:
    version = stamp()
    isa = current().isa
    size = 4 if dtype == "float32" else 8
    kc_max, nc_max = KC[dtype], isa.block_columns(dtype, size)
    rows_max, columns = isa.rows, isa.columns(size)
    mc_max = isa.block_rows // rows_max * rows_max
    header = HEADER
    ring_bytes = ARENA_BYTES - HEADER
    assert kc_max * max(nc_max * size, mc_max * size + 64) <= ring_bytes
    relu, value_slot = RELU, slot(VALUE, dtype)
    block, pack_b, fold = slot(BLOCK, dtype), slot(PACK_B, dtype), slot(FOLD, dtype)
    stream = slot(STREAM, dtype)
    stream_rows, gather_rows = paths.STREAM_ROWS, paths.GATHER_ROWS
    stream_elements = paths.STREAM_ELEMENTS
    fork_join, start, threads_word, compile_slot = FORK_JOIN, START, THREADS, COMPILE
    ready = READY - SLOTS
    direct_rows, direct_fmas = paths.DIRECT_ROWS, paths.DIRECT_FMAS
    direct_strips = paths.DIRECT_STRIPS
    tall_bytes = paths.TALL_BYTES
    fork_fmas = paths.FORK_FMAS * 4 // size
    fmas_per_ns = paths.FMAS_PER_NS * 4 // size

    def kernel_gemm(d):  # type: ignore[no-untyped-def]
        _ = version
        m, n, k = word(d, 0), word(d, 1), word(d, 2)
        a, a_row, a_k = word(d, 3), word(d, 4), word(d, 5)
        b, b_k, b_column = word(d, 6), word(d, 7), word(d, 8)
        c, c_row, c_column = word(d, 9), word(d, 10), word(d, 11)
        z, z_row, bias = word(d, 12), word(d, 13), word(d, 14)
        activation, accumulate = word(d, 15), word(d, 16)
        if m == 0 or n == 0 or (k == 0 and accumulate != 0):
            return OK
        if c_column != size and n > 1:  # C has unit stride along m: the transposed product
            m, n = n, m
            a, a_row, a_k, b, b_k, b_column = b, b_column, b_k, a, a_k, a_row
            c_row = c_column
        to, to_row = c, c_row
        if z != 0:
            to, to_row = z, z_row
        relu_in_tile = 1 if activation == relu and z == 0 else 0
        y = 0
        if relu_in_tile == 0 and (activation != 0 or z != 0):  # from z, or in place, to y
            y = c
            if atomic.load(table() + 8 * (ready + value_slot + 2 * activation)) == 0:
                status = call_kernel(compile_slot, (value_slot + 2 * activation,))
                if status != OK:
                    return status

        fmas = m * n * k
        threads = 1
        if fmas >= fork_fmas and word(d, 17) == 0:
            threads = atomic.load(table() + 8 * threads_word)
            if threads == 0:
                status = call_kernel(start, (0,))
                if status != OK:
                    return status
                threads = atomic.load(table() + 8 * threads_word)
        row_tiles, strips = -(-m // rows_max), -(-n // columns)

        few_rows = m <= stream_rows and n * k >= stream_elements
        few_columns = y == 0 and m * k >= stream_elements and (
            n <= gather_rows or (n <= stream_rows and a_row == size)
        )  # fmt: skip
        if few_rows or few_columns:
            swap = few_columns and not (few_rows and m <= n)
            long = m if swap else n
            ns = fmas // min(m, n) * size // 10  # the other operand at 10 GB/s
            parts = 1 if threads == 1 or ns < 5000 else min(2 * threads, -(-long // 64))
            part = (-(-long // parts) + 63) // 64 * 64
            if swap:
                plan = in_memory((n, m, k, b, b_column, b_k, a, a_k, a_row, to, size, to_row,
                                  accumulate, bias, size, 0, relu_in_tile, 0, 0, 0, part))  # fmt: skip
            else:
                plan = in_memory((m, n, k, a, a_row, a_k, b, b_k, b_column, to, to_row, size,
                                  accumulate, bias, 0, size, relu_in_tile, y, c_row, activation,
                                  part))  # fmt: skip
            return call_kernel(fork_join, (stream, plan, -(-long // part), ns))

        # k over the threads, where m x n is too small to be cut
        ring = min(-(-k // kc_max), 4 * threads, ring_bytes // (m * n * size))
        if (
            threads > 1 and ring >= 2 * threads and m * n * size <= tall_bytes
            and b_column == size and bias == 0 and to == c and activation == 0
        ):  # fmt: skip
            scratch = acquire()
            if scratch == 0:
                return OUT_OF_MEMORY
            status, step, k_step = OK, m * n * size, ring * kc_max
            for k0 in range(0, k, k_step):
                some = min(k_step, k - k0)
                chunks = -(-some // kc_max)
                plan = in_memory((
                    m, n, some, a + k0 * a_k, a_row, a_k, b + k0 * b_k, b_k, columns * size,
                    scratch + header, n * size, step, 0, 0, 0, 0, 0, 0, IN_PLACE, m, 1, n, 1,
                ))  # fmt: skip
                ns = m * n * some // fmas_per_ns
                status |= call_kernel(fork_join, (block, plan, chunks, ns))
                old = 1 if k0 > 0 or accumulate != 0 else 0
                words = (m, n, chunks, scratch + header, step, c, c_row, old)
                status |= call_kernel(fold, words)
            release(scratch)
            return status

        # equal blocks, in whole tiles
        large = fmas > direct_fmas
        pack = (b_column != size and n > 1 and k > 0) or (m > direct_rows and large)
        pack_a = IN_PLACE
        if large and strips > direct_strips:
            pack_a = BY_K if a_row == size and a_k != size else BY_ROWS
        nc_step, mc_step, scratch = n, m, 0
        if pack:
            nc_step = -(-strips // -(-n // nc_max)) * columns
            scratch = acquire()
            if scratch == 0:
                return OUT_OF_MEMORY
        if pack_a != IN_PLACE:
            mc_step = -(-row_tiles // -(-m // mc_max)) * rows_max
        status = OK
        for j0 in range(0, n, nc_step):
            nc = min(nc_step, n - j0)
            strips = -(-nc // columns)
            groups, group_strips = 1, strips
            if threads > 1:
                if row_tiles > 8:
                    wanted = max(-(-m // mc_max), min(4 * threads, row_tiles // 4), 1)
                    mc_step = -(-row_tiles // wanted) * rows_max
                    have = -(-m // mc_step)
                    if have < 2 * threads:
                        groups = max(1, min(strips // 4, -(-2 * threads // have)))
                else:
                    groups = min(strips, 4 * threads)
                group_strips = -(-strips // groups)
                groups = -(-strips // group_strips)
            blocks = -(-m // mc_step)
            k0 = 0
            while True:
                kc = min(kc_max, k - k0)
                last = k0 + kc >= k
                b_from, bk, strip = b + k0 * b_k + j0 * b_column, b_k, columns * b_column
                if pack:
                    parts = min(strips, 2 * threads) if kc * nc >= 1 << 14 else 1
                    part = -(-strips // parts)
                    plan = in_memory((b_from, b_k, b_column, kc, nc, scratch + header, part))
                    parts = -(-strips // part)
                    if threads > 1:
                        status |= call_kernel(fork_join, (pack_b, plan, parts, kc * nc))
                    else:
                        for t in range(parts):
                            status |= call_kernel(pack_b, (plan, t))
                    b_from, bk, strip = scratch + header, columns * size, columns * size * kc
                here = j0 * size
                plan = in_memory((
                    m, nc, kc,
                    a + k0 * a_k, a_row, a_k,
                    b_from, bk, strip,
                    to + here, to_row, 0,
                    1 if k0 > 0 or accumulate != 0 else 0,
                    bias + here if last and bias != 0 else 0,
                    relu_in_tile if last else 0,
                    y + here if last and y != 0 else 0, c_row, activation,
                    pack_a,
                    mc_step, blocks, group_strips * columns, groups,
                ))  # fmt: skip
                if threads > 1:
                    ns = m * nc * kc // fmas_per_ns
                    status |= call_kernel(fork_join, (block, plan, blocks * groups, ns))
                else:
                    for t in range(blocks * groups):
                        status |= call_kernel(block, (plan, t))
                k0 += kc_max
                if k0 >= k or status != OK:
                    break
            if status != OK:
                break
        if scratch != 0:
            release(scratch)
        return status

    return kernel_gemm


GEMM = register("gemm", gemm)
