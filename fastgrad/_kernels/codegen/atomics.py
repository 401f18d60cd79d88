"""Intrinsics for code that several threads run: atomic words, waiting, calls by address.

All of them take and return 64-bit integers. All but ``put`` are sequentially consistent.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from .integers import on_integers
from .memory import word_pointer
from .simd import I8, I32, I64, VOID, declare, i64
from .target import current

_ORDER = "seq_cst"


@on_integers
def load(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.load_atomic(word_pointer(b, address), _ORDER, 8)


@on_integers
def store(b: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    b.store_atomic(value, word_pointer(b, address), _ORDER, 8)


@on_integers
def put(b: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """A store that others see before whatever is stored after it."""
    b.store_atomic(value, word_pointer(b, address), "release", 8)


@on_integers
def add(b: ir.IRBuilder, address: ir.Value, value: ir.Value) -> ir.Value:
    """The word before ``value`` was added to it."""
    return b.atomic_rmw("add", word_pointer(b, address), value, _ORDER)


@on_integers
def set_bits(b: ir.IRBuilder, address: ir.Value, bits: ir.Value) -> ir.Value:
    return b.atomic_rmw("or", word_pointer(b, address), bits, _ORDER)


@on_integers
def exchange(b: ir.IRBuilder, address: ir.Value, value: ir.Value) -> ir.Value:
    return b.atomic_rmw("xchg", word_pointer(b, address), value, _ORDER)


@on_integers
def swap(b: ir.IRBuilder, address: ir.Value, old: ir.Value, new: ir.Value) -> ir.Value:
    """1 and the word is ``new`` if it was ``old``; else 0."""
    pair = b.cmpxchg(word_pointer(b, address), old, new, _ORDER, _ORDER)
    return b.zext(b.extract_value(pair, 1), I64)


@on_integers
def pause(b: ir.IRBuilder) -> None:
    """What a spinning thread owes the other thread of its core."""
    machine = current().triple.split("-")[0]
    if machine == "x86_64":
        b.call(declare(b.module, "llvm.x86.sse2.pause", VOID, []), [])
    elif machine in ("aarch64", "arm64"):
        hint = declare(b.module, "llvm.aarch64.hint", VOID, [I32])
        b.call(hint, [ir.Constant(I32, 1)])


@on_integers
def control_word(b: ir.IRBuilder) -> ir.Value | None:
    """The thread's rounding mode and flush-to-zero, as set_control_word takes them."""
    machine = current().triple.split("-")[0]
    if machine == "x86_64":
        word = cgutils.alloca_once(b, I32)
        pointer = b.bitcast(word, I8.as_pointer())
        b.call(declare(b.module, "llvm.x86.sse.stmxcsr", VOID, [pointer.type]), [pointer])
        return b.zext(b.load(word), I64)
    if machine in ("aarch64", "arm64"):
        return b.call(declare(b.module, "llvm.aarch64.get.fpcr", I64, []), [])
    return None


@on_integers
def set_control_word(b: ir.IRBuilder, value: ir.Value) -> None:
    machine = current().triple.split("-")[0]
    if machine == "x86_64":
        word = cgutils.alloca_once(b, I32)
        b.store(b.trunc(value, I32), word)
        pointer = b.bitcast(word, I8.as_pointer())
        b.call(declare(b.module, "llvm.x86.sse.ldmxcsr", VOID, [pointer.type]), [pointer])
    elif machine in ("aarch64", "arm64"):
        b.call(declare(b.module, "llvm.aarch64.set.fpcr", VOID, [I64]), [value])


@on_integers
def call_lock(b: ir.IRBuilder, function: ir.Value, lock: ir.Value) -> None:
    """``function(lock, 1)``: PyThread_acquire_lock, which waits, or PyThread_release_lock."""
    kind = ir.FunctionType(I32, [I64, I32])
    b.call(b.inttoptr(function, kind.as_pointer()), [lock, ir.Constant(I32, 1)])


@on_integers
def call_void(b: ir.IRBuilder, function: ir.Value) -> None:
    kind = ir.FunctionType(I32, [])
    b.call(b.inttoptr(function, kind.as_pointer()), [])


@on_integers
def call_number(b: ir.IRBuilder, function: ir.Value) -> ir.Value:
    """``function()``: sched_getcpu."""
    kind = ir.FunctionType(I32, [])
    return b.sext(b.call(b.inttoptr(function, kind.as_pointer()), []), I64)


@on_integers
def call_affinity(
    b: ir.IRBuilder, function: ir.Value, thread: ir.Value, size: ir.Value, mask: ir.Value
) -> ir.Value:
    """``function(thread, size, mask)``: sched_getaffinity or sched_setaffinity; 0 if it worked."""
    kind = ir.FunctionType(I32, [I32, I64, I64])
    args = [b.trunc(thread, I32), size, mask]
    return b.sext(b.call(b.inttoptr(function, kind.as_pointer()), args), I64)


def emit_nanoseconds(b: ir.IRBuilder, clock_gettime: ir.Value, clock: ir.Value) -> ir.Value:
    """Now, by POSIX's clock_gettime at that address."""
    time = cgutils.alloca_once(b, ir.ArrayType(I64, 2))
    kind = ir.FunctionType(I32, [I32, I64])
    base = b.ptrtoint(time, I64)
    b.call(b.inttoptr(clock_gettime, kind.as_pointer()), [b.trunc(clock, I32), base])
    seconds, rest = (b.load(word_pointer(b, base, i64(i))) for i in range(2))
    return b.add(b.mul(seconds, i64(1_000_000_000)), rest)
