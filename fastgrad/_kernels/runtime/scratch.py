"""Scratch arenas for nogil kernels: claimed by compare-and-swap, kept for the process's life.

numba has no thread-locals, so an arena belongs to a call: ``acquire`` takes a free one of ARENAS,
or allocates one for this call alone when all are taken. It begins to look where calls on the same
stack do: what a thread's core wrote last time is in its cache, and what another core wrote is not.
The bound: ARENAS * ARENA_BYTES kept, and ARENA_BYTES for each call beyond ARENAS at a time. Emitted
as LLVM IR: a jitted helper would be compiled again, by numba, into every kernel that uses it.
"""

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..codegen.memory import table_address, word_pointer
from ..codegen.simd import I8, I64, declare, for_range, i64
from .table import SCRATCH, TABLE

ARENAS = 96
ARENA_BYTES = 5 << 20
HEADER = 64  # bytes at the head of an arena that are not the caller's
OF_A_THREAD = 4  # places that a thread has before another one's begin: a cache line of states
STACK_BITS = 23  # stacks are 8 MB apart; where they are closer, threads share a place to begin
_FREE, _TAKEN, _SINGLE = 0, 1, -1
# table words: SCRATCH + 2 * i the state of arena i, the next one its address (0: none yet).
# header words: 0 the address of the state, or _SINGLE; 1 what malloc returned.


@intrinsic
def acquire(typing_context: Any) -> Any:
    """Address of a private arena, aligned to 64 bytes; 0 when there is no memory."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.call(_emit_acquire(b.module), [])

    return types.intp(), codegen


@intrinsic
def release(typing_context: Any, arena: Any) -> Any:
    """Give an arena back."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        (arena,) = args
        state = b.load(word_pointer(b, arena))
        with b.if_else(b.icmp_signed("==", state, i64(_SINGLE))) as (single, shared):
            with single:
                raw = b.load(word_pointer(b, arena, i64(1)))
                free = declare(b.module, "free", ir.VoidType(), [I8.as_pointer()])
                b.call(free, [b.inttoptr(raw, I8.as_pointer())])
            with shared:
                b.store_atomic(i64(_FREE), word_pointer(b, state), "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp), codegen


def _emit_acquire(module: ir.Module) -> ir.Function:
    name = "fastgrad_acquire"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(I64, []), name)
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    states, first = b.add(table_address(b), i64(8 * SCRATCH)), _first_of_thread(b)
    with for_range(b, i64(ARENAS)) as i:
        index = b.urem(b.add(first, i), i64(ARENAS))
        state = b.add(states, b.mul(index, i64(16)))
        swap = b.cmpxchg(word_pointer(b, state), i64(_FREE), i64(_TAKEN), "seq_cst", "seq_cst")
        with b.if_then(b.extract_value(swap, 1)):
            kept = b.load(word_pointer(b, state, i64(1)))
            with b.if_then(b.icmp_signed("!=", kept, i64(0))):
                b.ret(kept)
            arena = _allocate(b, state)
            b.store(arena, word_pointer(b, state, i64(1)))
            with b.if_then(b.icmp_signed("==", arena, i64(0))):
                b.store_atomic(i64(_FREE), word_pointer(b, state), "release", 8)
            b.ret(arena)
    b.ret(_allocate(b, i64(_SINGLE)))
    return function


def _first_of_thread(b: ir.IRBuilder) -> ir.Value:
    """Where this thread begins to look, by the address of its stack."""
    stack = b.lshr(b.ptrtoint(b.alloca(I64), I64), i64(STACK_BITS))
    return b.mul(b.urem(stack, i64(ARENAS // OF_A_THREAD)), i64(OF_A_THREAD))


def _allocate(b: ir.IRBuilder, owner: ir.Value) -> ir.Value:
    """A new arena with its header written, or 0."""
    malloc = declare(b.module, "malloc", I8.as_pointer(), [I64])
    raw = b.ptrtoint(b.call(malloc, [i64(ARENA_BYTES + HEADER)]), I64)
    missing = b.icmp_signed("==", raw, i64(0))
    arena = b.select(missing, i64(0), b.and_(b.add(raw, i64(63)), i64(-64)))
    with b.if_then(b.not_(missing)):
        b.store(owner, word_pointer(b, arena))
        b.store(raw, word_pointer(b, arena, i64(1)))
    return arena


def free_all_after_fork() -> None:
    """In a forked child: calls that were running in other threads are gone, their arenas free."""
    for i in range(ARENAS):
        TABLE[SCRATCH + 2 * i] = _FREE


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=free_all_after_fork)
