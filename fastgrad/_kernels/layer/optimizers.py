"""Optimizer steps and the norm of gradients, on flat arrays of unit stride.

Every operation is one correctly rounded operation an element, in the order written here, with
numbers rounded to the dtype first: no bit depends on how an array is cut into vectors and tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..codegen import atomics
from ..codegen.integers import ceil_div, least, quotient
from ..codegen.memory import call_kernel, in_memory, word, word_pointer
from ..codegen.simd import FLOAT, I64, Simd, Value, declare, for_range, i64, new_function
from ..codegen.target import current
from ..gemm import thresholds
from ..runtime.jit import OK, OUT_OF_MEMORY, register, slot, stamp
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.thread_pool import FORK_JOIN, threads_in_force

# 64-bit words; numbers are the bits of a float64.
SGD_DESCRIPTOR = ("count", "param", "grad", "velocity", "lr", "momentum", "nesterov",
                  "weight_decay")  # fmt: skip
ADAM_DESCRIPTOR = ("count", "param", "grad", "m", "v", "step", "lr", "beta1", "beta2", "eps",
                   "weight_decay")  # fmt: skip
# sum: address of a float64, written: see _squares.
SQUARES_DESCRIPTOR = ("count", "values", "sum")

CHUNK = 1 << 14  # elements of a task, and of a block of the sum of squares: part of BITS_VERSION
CHAINS = 32  # of such a block: part of BITS_VERSION
SHARED = 1 << 16  # elements that are worth several threads

# Of a job: what a task is given.
PLAN = ("mode", "count", "chunk", "param", "grad", "first", "second", "numbers")
_NUMBERS = PLAN.index("numbers")
# Modes. Of SGD, from 0: 2 * (0 plain, 1 momentum, 2 Nesterov's) + 1 with weight decay.
ADAM_MODES, SCALE_MODE, SQUARES_MODE = 6, 8, 9


def _number(ops: Simd, plan: ir.Value, index: int) -> Value:
    """A float64 of the plan, rounded to the dtype, in every lane."""
    b = ops.builder
    x = b.load(ops.pointer(plan, 8 * (_NUMBERS + index), FLOAT[8]))
    return Value(ops, ops.spread(b.fptrunc(x, FLOAT[4]) if ops.itemsize == 4 else x))


def _sqrt(ops: Simd, x: Value) -> Value:
    f = declare(ops.builder.module, f"llvm.sqrt.{ops.suffix}", ops.float, [ops.float])
    return Value(ops, ops.builder.call(f, [x.ir]))


def _sgd(mode: int, lr: Value, momentum: Value, decay: Value) -> Callable[..., list[Value]]:
    def step(p: Value, g: Value, *state: Value) -> list[Value]:
        direction = g + p * decay if mode & 1 else g
        if mode < 2:
            return [p - direction * lr]
        v = state[0] * momentum + direction
        direction = direction + v * momentum if mode >= 4 else v
        return [p - direction * lr, v]

    return step


def _adam(ops: Simd, mode: int, b1: Value, rest1: Value, b2: Value, rest2: Value, decay: Value,
          root: Value, eps: Value, lr: Value) -> Callable[..., list[Value]]:  # fmt: skip
    def step(p: Value, g: Value, m: Value, v: Value) -> list[Value]:
        m = m * b1 + g * rest1
        v = v * b2 + g * rest2 * g
        if mode & 1:
            p = p - p * decay
        return [p - m / (_sqrt(ops, v) / root + eps) * lr, m, v]

    return step


def _emit_mode(ops: Simd, plan: ir.Value, mode: int, first: ir.Value, last: ir.Value) -> None:
    """One loop over the elements from first to last."""
    names = ["param", "grad", "first", "second"]
    if mode >= SCALE_MODE:
        (factor,) = (_number(ops, plan, 0),)
        names, step = names[:1], lambda p: [p * factor]
    elif mode >= ADAM_MODES:
        step = _adam(ops, mode, *(_number(ops, plan, i) for i in range(8)))
    else:
        step = _sgd(mode, *(_number(ops, plan, i) for i in range(3)))
        names = names[:3] if mode >= 2 else names[:2]
    b = ops.builder
    bases = [b.load(word_pointer(b, plan, i64(PLAN.index(name)))) for name in names]
    written = [base for name, base in zip(names, bases, strict=True) if name != "grad"]

    def vector(offset: ir.Value, mask: ir.Value | None) -> None:
        new = step(*[ops.load(b.add(base, offset), 0, mask) for base in bases])
        for base, value in zip(written, new, strict=True):
            ops.store(value, b.add(base, offset), 0, mask)

    start, count = b.mul(first, i64(ops.itemsize)), b.sub(last, first)
    whole = b.and_(count, i64(-ops.lanes))
    rest = b.sub(count, whole)
    with for_range(b, whole, ops.lanes) as i:
        vector(b.add(start, b.mul(i, i64(ops.itemsize))), None)
    with b.if_then(b.icmp_signed("!=", rest, i64(0))):
        vector(b.add(start, b.mul(whole, i64(ops.itemsize))), ops.first(rest))


def _squares(ops: Simd, plan: ir.Value, first: ir.Value, last: ir.Value, to: ir.Value) -> None:
    """to = the sum of squares of a block, in float64, where those of float32 are exact.

    Element i of the block is in chain i % CHAINS, s = fma(x, x, s) from +0.0; then the upper half
    of the chains is added to the lower half, until one is left.
    """
    b, size = ops.builder, ops.itemsize
    lanes = current().isa.lanes(8)
    wide, narrow = Simd(b, 8, lanes, ops.has_fma), Simd(b, size, lanes, ops.has_fma)
    base = b.load(word_pointer(b, plan, i64(PLAN.index("param"))))
    chains = [b.alloca(wide.float) for _ in range(CHAINS // lanes)]
    for chain in chains:
        b.store(wide.constant(0.0).ir, chain)
    count = b.sub(last, first)
    start = b.add(base, b.mul(first, i64(size)))
    with for_range(b, count, CHAINS) as i:
        for c, chain in enumerate(chains):
            left = b.sub(count, b.add(i, i64(c * lanes)))
            left = b.select(b.icmp_signed("<", left, i64(lanes)), left, i64(lanes))
            mask = narrow.first(b.select(b.icmp_signed(">", left, i64(0)), left, i64(0)))
            x = narrow.load(b.add(start, b.mul(i, i64(size))), c * lanes * size, mask)
            x = Value(wide, b.fpext(x.ir, wide.float)) if size == 4 else x
            b.store(wide.fma(x, x, Value(wide, b.load(chain))).ir, chain)
    sums = [Value(wide, b.load(chain)) for chain in chains]
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [low + high for low, high in zip(sums[:half], sums[half:], strict=True)]
    total = sums[0]
    while lanes > 1:
        lanes //= 2
        total = total + wide.shuffle(
            total, total, [(i + lanes) % wide.lanes for i in range(wide.lanes)]
        )
    b.store(
        b.extract_element(total.ir, ir.Constant(ir.IntType(32), 0)), wide.pointer(to, 0, FLOAT[8])
    )


@intrinsic(prefer_literal=True)
def _run(typing_context: Any, itemsize: Any, plan: Any, task: Any) -> Any:
    """A task: its part of the arrays, by the plan's mode."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        isa, size = current().isa, signature.args[0].literal_value
        _, plan, task = args
        mode, count, chunk = (b.load(word_pointer(b, plan, i64(i))) for i in range(3))
        first = b.mul(task, chunk)
        last = b.add(first, chunk)
        last = b.select(b.icmp_signed("<", last, count), last, count)
        done = b.append_basic_block("done")
        switch = b.switch(mode, done)
        for number in range(SQUARES_MODE + 1):
            name = f"fastgrad_update{number}_f{8 * size}"
            function, inner = new_function(b.module, name, 4)
            ops = Simd(inner, size, isa.lanes(size), isa.fma)
            of_plan, start, stop, index = function.args
            if number == SQUARES_MODE:
                to = inner.load(word_pointer(inner, of_plan, i64(PLAN.index("grad"))))
                _squares(ops, of_plan, start, stop, inner.add(to, inner.mul(index, i64(8))))
            else:
                _emit_mode(ops, of_plan, number, start, stop)
            inner.ret_void()
            case = b.append_basic_block(f"mode{number}")
            switch.add_case(i64(number), case)
            b.position_at_end(case)
            b.call(function, [plan, first, last, task])
            b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(itemsize, types.intp, types.intp), codegen


@intrinsic
def double(typing_context: Any, bits: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.bitcast(args[0], FLOAT[8])

    return types.float64(types.intp), codegen


@intrinsic
def bits_of(typing_context: Any, x: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.bitcast(args[0], I64)

    return types.intp(types.float64), codegen


def update(dtype: str) -> Any:
    """A task of a job; descriptor: the address of the plan, the number of the task."""
    version = stamp()
    size = 4 if dtype == "float32" else 8

    def kernel_update(d):  # type: ignore[no-untyped-def]
        _ = version
        _run(size, word(d, 0), word(d, 1))
        return OK

    return kernel_update


UPDATE = register("update", update)


def share(dtype: str) -> Any:
    """All tasks of a plan, by several threads if there is much to do; descriptor: the plan."""
    version = stamp()
    size = 4 if dtype == "float32" else 8
    task, fork_join, bytes_per_ns = slot(UPDATE, dtype), FORK_JOIN, thresholds.BYTES_PER_NS

    def kernel_share(d):  # type: ignore[no-untyped-def]
        _ = version
        count = word(d, 1)
        tasks = ceil_div(count, word(d, 2))
        if count >= SHARED and threads_in_force() > 1:
            ns = quotient(3 * count * size, bytes_per_ns)
            return call_kernel(fork_join, (task, d, tasks, ns))
        status = OK
        for i in range(tasks):
            status |= call_kernel(task, (d, i))
        return status

    return kernel_share


SHARE = register("share", share, uses=(UPDATE,))


def sgd(dtype: str) -> Any:
    """velocity = momentum*velocity + (grad + decay*param); param -= lr*... : SGD_DESCRIPTOR."""
    version = stamp()
    alone, shared = slot(UPDATE, dtype), slot(SHARE, dtype)

    def kernel_sgd(d):  # type: ignore[no-untyped-def]
        _ = version
        count = word(d, 0)
        is_large = count >= SHARED
        mode = 1 if double(word(d, 7)) != 0.0 else 0
        if word(d, 3) != 0 and double(word(d, 5)) != 0.0:
            mode += 4 if word(d, 6) != 0 else 2
        plan = (
            mode, count, CHUNK if is_large else count,
            word(d, 1), word(d, 2), word(d, 3), 0, word(d, 4), word(d, 5), word(d, 7),
        )  # fmt: skip
        if is_large:
            return call_kernel(shared, plan)
        return call_kernel(alone, (in_memory(plan), 0))

    return kernel_sgd


def adam(dtype: str) -> Any:
    """ADAM_DESCRIPTOR: Kingma & Ba 2015, with decoupled decay (Loshchilov & Hutter 2019)."""
    version = stamp()
    alone, shared = slot(UPDATE, dtype), slot(SHARE, dtype)

    def kernel_adam(d):  # type: ignore[no-untyped-def]
        _ = version
        count = word(d, 0)
        is_large = count >= SHARED
        lr, b1, b2 = double(word(d, 6)), double(word(d, 7)), double(word(d, 8))
        decay = double(word(d, 10))
        # b**step by squaring: C's pow differs in its last bit between platforms
        power1, power2, base1, base2, exponent = 1.0, 1.0, b1, b2, word(d, 5)
        while exponent > 0:
            if exponent & 1:
                power1 *= base1
                power2 *= base2
            base1 *= base1
            base2 *= base2
            exponent >>= 1
        mode = ADAM_MODES + 1 if decay != 0.0 else ADAM_MODES
        plan = (
            mode, count, CHUNK if is_large else count,
            word(d, 1), word(d, 2), word(d, 3), word(d, 4),
            bits_of(b1), bits_of(1.0 - b1), bits_of(b2), bits_of(1.0 - b2), bits_of(lr * decay),
            bits_of(math.sqrt(1.0 - power2)), word(d, 9), bits_of(lr / (1.0 - power1)),
        )  # fmt: skip
        if is_large:
            return call_kernel(shared, plan)
        return call_kernel(alone, (in_memory(plan), 0))

    return kernel_adam


def squares(dtype: str) -> Any:
    """The sum of squares, block by block in order: SQUARES_DESCRIPTOR."""
    version = stamp()
    size = 4 if dtype == "float32" else 8
    do, most = slot(SHARE, dtype), (ARENA_BYTES - HEADER) // 8

    def kernel_squares(d):  # type: ignore[no-untyped-def]
        _ = version
        count, values = word(d, 0), word(d, 1)
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        sums, total, status = arena + HEADER, 0.0, OK
        for start in range(0, count, CHUNK * most):
            some = least(count - start, CHUNK * most)
            plan = (SQUARES_MODE, some, CHUNK, values + start * size, sums, 0, 0)
            status |= call_kernel(do, plan)
            for i in range(ceil_div(some, CHUNK)):
                total += double(word(sums, i))
        release(arena)
        atomics.store(word(d, 2), bits_of(total))
        return status

    return kernel_squares


SGD = register("sgd", sgd, uses=(UPDATE,))
ADAM = register("adam", adam, uses=(UPDATE,))
SQUARES = register("squares", squares, uses=(SHARE,))
