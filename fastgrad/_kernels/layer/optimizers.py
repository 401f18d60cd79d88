"""Optimizer steps and the norm of gradients, on flat arrays of unit stride.

Every operation is one correctly rounded operation an element, in the order written here, with
numbers rounded to the dtype first: no bit depends on how an array is cut into vectors and tasks.
State below the smallest normal number becomes +0.0: there an operation takes 100 cycles and more,
and m and v of a dead unit would stay there for ever. With weight decay a parameter up to
the square root of that number becomes +0.0: in the end the velocity or m loses its decay, so it
stays, and its products with inputs and gradients are subnormal in every step. One that grows is let
be, unless v says that its gradients were large: the weights of a collapsed net swing about 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from ..codegen import atomics, structs
from ..codegen.calls import VectorFunction, call, subroutine, vector_function
from ..codegen.integers import bits_of, ceil_div, double, least, pick, quotient
from ..codegen.memory import word
from ..codegen.simd import FLOAT, I32, Simd, Value, at_most, declare, for_range, i64
from ..codegen.structs import on_stack
from ..codegen.target import current
from ..formulas.elementary import clamp, normal
from ..gemm import thresholds
from ..runtime.pool_kernels import fork_join, run_task, threads_in_force
from ..runtime.registry import Floats, Task, kernel, task
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from .args import Adam, Numbers, Sgd, Squares, Update

CHUNK = 1 << 14  # elements of a task, and of a block of the sum of squares: part of BITS_VERSION
CHAINS = 32  # of such a block: part of BITS_VERSION
SHARED = 1 << 16  # elements that are worth several threads

# Modes. Of SGD, from 0: 2 * (0 plain, 1 momentum, 2 Nesterov's) + 1 with weight decay. Of Adam: 0
# without, 1 with decoupled decay, 2 with decay that is added to the gradient.
ADAM_MODES, SCALE_MODE, SQUARES_MODE = 6, 9, 10
# Of a norm. Where the sum of squares is infinite or less than LITTLE_SQUARES, elements are divided
# or multiplied by MUCH first; a factor below LITTLE, the smallest normal number, is applied in
# three. All in float64, which has room for squares of float32.
MUCH, LITTLE, LITTLE_SQUARES = 2.0**600, 2.0**-1022, 2.0**-960


NO_UPDATE = Update(0, 0, 0, 0, 0, 0, 0, Numbers(*[0] * len(Numbers._fields)))  # to be filled


class Part(NamedTuple):
    """Elements of a job's arrays, from first to last."""

    plan: Update
    first: int
    last: int
    task: int


def _number(ops: Simd, bits: ir.Value) -> Value:
    """A float64, rounded to the dtype, in every lane."""
    b = ops.builder
    x = b.bitcast(bits, FLOAT[8])
    return Value(ops, ops.spread(b.fptrunc(x, FLOAT[4]) if ops.itemsize == 4 else x))


def _sqrt(ops: Simd, x: Value) -> Value:
    f = declare(ops.builder.module, f"llvm.sqrt.{ops.suffix}", ops.float, [ops.float])
    return Value(ops, ops.builder.call(f, [x.ir]))


def _decayed(ops: Simd, before: Value, p: Value, v: Value | None = None) -> Value:
    """p, a parameter that was ``before`` a step with weight decay, or +0.0."""
    tiny, limit = tiny_of(ops.itemsize), ops.abs(before)
    if v is not None:
        limit = ops.select(limit > v, limit, v)
    return ops.select(ops.abs(p) <= clamp(ops, limit, tiny, math.sqrt(tiny)), 0.0, p)


def _sgd_step(ops: Simd, mode: int, n: Numbers) -> Callable[..., list[Value]]:
    lr, momentum, decay = (_number(ops, bits) for bits in (n.lr, n.momentum, n.decay))

    def moved(p: Value, direction: Value) -> Value:
        new = p - direction * lr
        return _decayed(ops, p, new) if mode & 1 else new

    def step(p: Value, g: Value, *state: Value) -> list[Value]:
        direction = g + p * decay if mode & 1 else g
        if mode < 2:
            return [moved(p, direction)]
        v = normal(ops, state[0] * momentum + direction)
        direction = direction + v * momentum if mode >= 4 else v
        return [moved(p, direction), v]

    return step


def _adam_step(ops: Simd, mode: int, n: Numbers) -> Callable[..., list[Value]]:
    b1, rest1, b2, rest2 = (_number(ops, x) for x in (n.beta1, n.rest1, n.beta2, n.rest2))
    decay, root, eps, lr = (_number(ops, x) for x in (n.decay, n.root, n.eps, n.lr))
    least = _number(ops, n.least)

    def step(p: Value, g: Value, m: Value, v: Value) -> list[Value]:
        if mode == ADAM_MODES + 2:
            g = g + p * decay
        m = normal(ops, m * b1 + g * rest1)
        g = ops.select(ops.abs(g) < least, 0.0, g)  # its square would not be a normal number
        v = normal(ops, v * b2 + g * rest2 * g)
        new = p - p * decay if mode == ADAM_MODES + 1 else p
        new = new - m / (_sqrt(ops, v) / root + eps) * lr
        return [new if mode == ADAM_MODES else _decayed(ops, p, new, v), m, v]

    return step


def _scaling(ops: Simd, n: Numbers) -> Callable[..., list[Value]]:
    """In float64, so that of float32 a factor may be below the normal numbers."""
    b, wide = ops.builder, Simd(ops.builder, 8, ops.lanes, ops.has_fma)
    factor = Value(wide, wide.spread(b.bitcast(n.factor, FLOAT[8])))
    if ops.itemsize == 8:
        return lambda p: [Value(ops, p.ir) * Value(ops, factor.ir)]

    def scale(p: Value) -> list[Value]:
        product = Value(wide, b.fpext(p.ir, wide.float)) * factor
        return [Value(ops, b.fptrunc(product.ir, ops.float))]

    return scale


def _emit_mode(mode: int) -> Callable[[Simd, Part], None]:
    def emit(ops: Simd, p: Part) -> None:
        """One loop over the elements from first to last."""
        b, plan = ops.builder, p.plan
        if mode == SQUARES_MODE:
            to = b.add(plan.grad, b.mul(p.task, i64(8)))
            _squares(ops, plan.param, p.first, p.last, plan.numbers.factor, to)
            return
        arrays = [plan.param, plan.grad, plan.first, plan.second]
        if mode == SCALE_MODE:
            arrays, step = arrays[:1], _scaling(ops, plan.numbers)
        elif mode >= ADAM_MODES:
            step = _adam_step(ops, mode, plan.numbers)
        else:
            arrays = arrays[:3] if mode >= 2 else arrays[:2]
            step = _sgd_step(ops, mode, plan.numbers)
        written = [a for a in arrays if a is not plan.grad]
        start = b.mul(p.first, i64(ops.itemsize))

        def vector(offset: ir.Value, mask: ir.Value | None) -> None:
            offset = b.add(start, offset)
            new = step(*[ops.load(b.add(a, offset), 0, mask) for a in arrays])
            for a, value in zip(written, new, strict=True):
                ops.store(value, b.add(a, offset), 0, mask)

        ops.over_columns(b.sub(p.last, p.first), vector)

    return emit


def _squares(
    ops: Simd, values: ir.Value, first: ir.Value, last: ir.Value, factor: ir.Value, to: ir.Value
) -> None:
    """to = the sum of the squares of a block times a factor (bits), in float64, where squares of
    float32 are exact.

    Element i of the block is in chain i % CHAINS, s = fma(x, x, s) from +0.0; then the upper half
    of the chains is added to the lower half, until one is left.
    """
    b, size = ops.builder, ops.itemsize
    lanes = current().isa.lanes(8)
    wide, narrow = Simd(b, 8, lanes, ops.has_fma), Simd(b, size, lanes, ops.has_fma)
    chains = [b.alloca(wide.float) for _ in range(CHAINS // lanes)]
    for chain in chains:
        b.store(wide.constant(0.0).ir, chain)
    unit = Value(wide, wide.spread(b.bitcast(factor, FLOAT[8])))
    count = b.sub(last, first)
    start = b.add(values, b.mul(first, i64(size)))
    with for_range(b, count, CHAINS) as i:
        for c, chain in enumerate(chains):
            mask = narrow.lanes_left(b.sub(count, i), c)
            x = narrow.load(b.add(start, b.mul(i, i64(size))), c * lanes * size, mask)
            x = (Value(wide, b.fpext(x.ir, wide.float)) if size == 4 else x) * unit
            b.store(wide.fma(x, x, Value(wide, b.load(chain))).ir, chain)
    sums = [Value(wide, b.load(chain)) for chain in chains]
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [low + high for low, high in zip(sums[:half], sums[half:], strict=True)]
    total = sums[0]
    while lanes > 1:
        lanes //= 2
        other = [(i + lanes) % wide.lanes for i in range(wide.lanes)]
        total = total + wide.shuffle(total, total, other)
    first_lane = b.extract_element(total.ir, ir.Constant(I32, 0))
    b.store(first_lane, wide.pointer(to, 0, FLOAT[8]))


_MODES = [VectorFunction(_emit_mode(m), Part, f"update{m}") for m in range(SQUARES_MODE + 1)]


@vector_function(Task)
def update_task(ops: Simd, p: Task) -> None:
    """A task: its part of the arrays, by the plan's mode."""
    b = ops.builder
    plan = structs.loaded(b, p.plan, Update)
    first = b.mul(p.task, plan.chunk)
    part = Part(plan, first, at_most(b, b.add(first, plan.chunk), plan.size), p.task)
    done = b.append_basic_block("done")
    switch = b.switch(plan.mode, done)
    for mode, function in enumerate(_MODES):
        case = b.append_basic_block(f"mode{mode}")
        switch.add_case(i64(mode), case)
        b.position_at_end(case)
        function(ops, part)
        b.branch(done)
    b.position_at_end(done)


@task(Update)
def update(t: Floats) -> Any:
    do = t[update_task]

    def body(p):  # type: ignore[no-untyped-def]
        return call(do, p)

    return body


@kernel(Update, uses=(update,))
def update_all(t: Floats) -> Any:
    """All tasks of a plan, by several threads if there is much to do."""
    size, part = t.size, t[update]

    def body(p):  # type: ignore[no-untyped-def]
        count = p.size
        tasks = ceil_div(count, p.chunk)
        if count >= SHARED and threads_in_force() > 1:
            return fork_join(part, p, tasks, quotient(3 * count * size, thresholds.BYTES_PER_NS))
        status = OK
        for i in range(tasks):
            status |= run_task(part, p, i)
        return status

    return body


def update_some_of(t: Floats) -> Any:
    size, one = t.size, t[update]

    @subroutine
    def update_some(whole, first, count):  # type: ignore[no-untyped-def]
        """The update of ``count`` elements from the ``first`` on, on this thread."""
        if whole.mode < 0:
            return OK
        at = first * size
        return run_task(one, on_stack(Update(
            mode=whole.mode, size=count, chunk=count, param=whole.param + at,
            grad=whole.grad + at, first=pick(whole.first, whole.first + at, 0),
            second=pick(whole.second, whole.second + at, 0), numbers=whole.numbers,
        )), 0)  # fmt: skip

    return update_some


@subroutine
def plan_sgd(p, plan):  # type: ignore[no-untyped-def]
    """An Update of all elements, as one task."""
    plan.mode = 1 if double(p.weight_decay) != 0.0 else 0
    if p.velocity != 0 and double(p.momentum) != 0.0:
        plan.mode += 4 if p.nesterov != 0 else 2
    plan.size = plan.chunk = p.size
    plan.param, plan.grad, plan.first, plan.second = p.param, p.grad, p.velocity, 0
    numbers = plan.numbers
    numbers.lr, numbers.momentum, numbers.decay = p.lr, p.momentum, p.weight_decay
    return OK


@subroutine
def plan_adam(p, plan, tiny):  # type: ignore[no-untyped-def]
    """Likewise; tiny is the smallest normal number of the dtype, as bits."""
    lr, b1, b2, decay = double(p.lr), double(p.beta1), double(p.beta2), double(p.weight_decay)
    # b**step by squaring: C's pow differs in its last bit between platforms
    power1, power2, base1, base2, exponent = 1.0, 1.0, b1, b2, p.step
    while exponent > 0:
        if exponent & 1:
            power1 *= base1
            power2 *= base2
        base1 *= base1
        base2 *= base2
        exponent >>= 1
    plan.mode = ADAM_MODES
    if decay != 0.0:
        plan.mode += 1 if p.decoupled != 0 else 2
    plan.size = plan.chunk = p.size
    plan.param, plan.grad, plan.first, plan.second = p.param, p.grad, p.m, p.v
    numbers = plan.numbers
    numbers.lr = bits_of(lr / (1.0 - power1))
    numbers.decay = bits_of(lr * decay) if p.decoupled != 0 else p.weight_decay
    numbers.beta1, numbers.rest1 = p.beta1, bits_of(1.0 - b1)
    numbers.beta2, numbers.rest2 = p.beta2, bits_of(1.0 - b2)
    numbers.root, numbers.eps = bits_of(math.sqrt(1.0 - power2)), p.eps
    numbers.least = bits_of(math.sqrt(double(tiny) / (1.0 - b2)))
    return OK


def tiny_of(itemsize: int) -> float:
    """The smallest normal number."""
    return 2.0**-126 if itemsize == 4 else 2.0**-1022


def update_elements(t: Floats) -> Any:
    alone, shared = t[update], t[update_all]

    @subroutine
    def all_elements(plan):  # type: ignore[no-untyped-def]
        if plan.size >= SHARED:
            plan.chunk = CHUNK
            return call(shared, plan)
        return run_task(alone, plan, 0)

    return all_elements


@kernel(Sgd, uses=(update,))
def sgd(t: Floats) -> Any:
    all_elements = update_elements(t)

    def body(p):  # type: ignore[no-untyped-def]
        plan = on_stack(NO_UPDATE)
        plan_sgd(p, plan)
        return all_elements(plan)

    return body


@kernel(Adam, uses=(update,))
def adam(t: Floats) -> Any:
    all_elements, tiny = update_elements(t), tiny_of(t.size)

    def body(p):  # type: ignore[no-untyped-def]
        plan = on_stack(NO_UPDATE)
        plan_adam(p, plan, bits_of(tiny))
        return all_elements(plan)

    return body


@kernel(Squares, uses=(update_all,))
def squares(t: Floats) -> Any:
    """The sum of squares, block by block in order."""
    size, do, most = t.size, t[update_all], (ARENA_BYTES - HEADER) // 8

    def body(p):  # type: ignore[no-untyped-def]
        count = p.size
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        sums, total, status = arena + HEADER, 0.0, OK
        for start in range(0, count, CHUNK * most):
            some = least(count - start, CHUNK * most)
            status |= call(do, Update(
                mode=SQUARES_MODE, size=some, chunk=CHUNK, param=p.values + start * size,
                grad=sums, first=0, second=0,
                numbers=Numbers(lr=0, momentum=0, decay=0, beta1=0, rest1=0, beta2=0, rest2=0,
                                root=0, eps=0, least=0, factor=p.factor),
            ))  # fmt: skip
            for i in range(ceil_div(some, CHUNK)):
                total += double(word(sums, i))
        release(arena)
        atomics.store(p.sum, bits_of(total))
        return status

    return body
