"""Products with a long k and a small C: as many blocks of k at a time as the threads want.

Each block of KC steps goes into a buffer of its own, and the buffers are added in the order of k:
the sum that one thread would form. The buffers, a ring, lie in one arena.
"""

from __future__ import annotations

from typing import Any

from ..codegen.integers import ceil_div, least, most, pick, quotient
from ..codegen.memory import call_kernel, in_memory, word
from ..codegen.target import KC, current
from ..runtime.jit import OK, OUT_OF_MEMORY, register, slot, stamp
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.thread_pool import FORK_JOIN
from . import thresholds
from .macrokernel import BLOCK, IN_PLACE
from .reduce import FOLD


def tall(dtype: str) -> Any:
    """A kernel of the form of gemm.py, without bias and activation; B has unit stride along n."""
    version = stamp()
    size = 4 if dtype == "float32" else 8
    isa = current().isa
    kc_max, columns = KC[dtype], isa.columns(size)
    lanes, most_vectors = isa.lanes(size), isa.vectors
    block, fold, fork_join = slot(BLOCK, dtype), slot(FOLD, dtype), FORK_JOIN
    header, ring_bytes = HEADER, ARENA_BYTES - HEADER
    fmas_per_ns = thresholds.FMAS_PER_NS * 4 // size
    ring_of_a_thread = thresholds.RING_OF_A_THREAD

    def kernel_tall(d):  # type: ignore[no-untyped-def]
        _ = version
        m, n, k, a_k, b_k = word(d, 0), word(d, 1), word(d, 2), word(d, 5), word(d, 7)
        scratch = acquire()
        if scratch == 0:
            return OUT_OF_MEMORY
        buffers, step = scratch + header, m * n * size
        ring = most(least(quotient(ring_bytes, step), ring_of_a_thread * word(d, 17)), 1)
        strips = ceil_div(n, columns)
        vectors = ceil_div(ceil_div(n, lanes), strips)
        width = vectors * lanes
        status = OK
        for k0 in range(0, k, ring * kc_max):
            some = least(ring * kc_max, k - k0)
            count = ceil_div(some, kc_max)
            plan = in_memory((
                m, n, some, word(d, 3) + k0 * a_k, word(d, 4), a_k,
                word(d, 6) + k0 * b_k, b_k, width * size,
                buffers, n * size, step, 0, 0, 0, 0, 0, 0, IN_PLACE, m, 1, n, 1,
                kc_max, width, pick(strips - 1, most_vectors, vectors),
            ))  # fmt: skip
            ns = quotient(m * n * some, fmas_per_ns)
            status |= call_kernel(fork_join, (block, plan, count, ns))
            add = pick(k0, 1, word(d, 11))
            words = (m, n, count, buffers, step, word(d, 9), word(d, 10), add)
            status |= call_kernel(fold, words)
        release(scratch)
        return status

    return kernel_tall


TALL = register("tall", tall)
