"""Products with few rows: B streams past once, row by row, and C waits in cache.

A register tile of a few rows would wait for its own FMAs (1 x 2 chains hide nothing) and read B
in strips a tile wide, which memory serves badly. Here some steps of k are taken at a time over a
whole run of columns: the chains rest in memory between, which rounds nothing. Products with few
columns are the same task, transposed.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..codegen.integers import ceil_div, least, most, pick, quotient, remainder
from ..codegen.memory import call_kernel, in_memory, word
from ..codegen.simd import Simd, for_range, i64, new_function
from ..codegen.target import KC, Isa, current
from ..formulas.elementwise import VALUE
from ..runtime.jit import OK, OUT_OF_MEMORY, register, slot, stamp
from ..runtime.scratch import HEADER, acquire, release
from ..runtime.thread_pool import FORK_JOIN
from . import thresholds
from .macrokernel import minus_zeros
from .microkernel import relu_threshold
from .packing import COPY, copy
from .row_dots import run_dots

# A task has `columns` columns from task * columns on; 64-bit words, strides in bytes.
PLAN = (
    "m", "n", "k",
    "a", "a_row", "a_k",
    "b", "b_k", "b_column",
    "to", "to_row", "to_column",
    "accumulate",
    "bias", "bias_row", "bias_column",  # one of the strides 0; bias 0: none
    "relu",
    "y", "y_row", "activation",  # from `to` to y in the end, if y is not 0
    "columns",
)  # fmt: skip


# Rows of C that are in registers at a time: 3 rows are 2 and 1.
RUN_ROWS = (4, 2, 1)


def steps_at_a_time(isa: Isa, rows: int) -> int:
    """How many steps of k: rows x steps elements of A stay in registers over a run."""
    return max(1, isa.rows * isa.vectors * 2 // 3 // rows)


@intrinsic(prefer_literal=True)
def run_steps(typing_context: Any, itemsize: Any, rows: Any, words: Any) -> Any:
    """acc (rows, n) += A (rows, k) . B (k, n), step by step in increasing k.

    (n, k, a, a_row, a_k, b, b_k, acc, acc_row); B and acc have unit stride along n.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        module, isa, size = b.module, current().isa, signature.args[0].literal_value
        values = cgutils.unpack_tuple(b, args[2])
        done = b.append_basic_block("done")
        switch = b.switch(args[1], done)
        for rows in RUN_ROWS:
            case = b.append_basic_block(f"rows{rows}")
            switch.add_case(i64(rows), case)
            b.position_at_end(case)
            b.call(_emit_runs(module, isa, size, rows), values)
            b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(itemsize, types.intp, types.UniTuple(types.intp, 9)), codegen


def _emit_runs(module: ir.Module, isa: Isa, itemsize: int, rows: int) -> ir.Function:
    name = f"fastgrad_stream_f{8 * itemsize}_{rows}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 9)
    n, k, a, a_row, a_k, b_rows, b_k, acc, acc_row = function.args
    steps = steps_at_a_time(isa, rows)
    many, one = (_emit_run(module, isa, itemsize, rows, s) for s in (steps, 1))
    whole = b.sub(k, b.srem(k, i64(steps)))

    def call(run: ir.Function, i: ir.Value) -> None:
        from_a, from_b = b.add(a, b.mul(i, a_k)), b.add(b_rows, b.mul(i, b_k))
        b.call(run, [n, from_a, a_row, a_k, from_b, b_k, acc, acc_row])

    with for_range(b, whole, steps) as i:
        call(many, i)
    with for_range(b, b.sub(k, whole)) as i:
        call(one, b.add(whole, i))
    b.ret_void()
    return function


def _emit_run(module: ir.Module, isa: Isa, itemsize: int, rows: int, steps: int) -> ir.Function:
    name = f"fastgrad_stream_f{8 * itemsize}_{rows}x{steps}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 8)
    n, a, a_row, a_k, b_rows, b_k, acc, acc_row = function.args
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    rows_of_a = [b.add(a, b.mul(a_row, i64(r))) for r in range(rows)]
    xs = [
        [ops.broadcast(b.add(row, b.mul(a_k, i64(s)))) for s in range(steps)] for row in rows_of_a
    ]
    from_b = [b.add(b_rows, b.mul(b_k, i64(s))) for s in range(steps)]
    to = [b.add(acc, b.mul(acc_row, i64(r))) for r in range(rows)]

    def vector(offset: ir.Value, mask: ir.Value | None) -> None:
        chains = [ops.load(b.add(t, offset), 0, mask) for t in to]
        for s in range(steps):
            column = ops.load(b.add(from_b[s], offset), 0, mask)
            chains = [ops.fma(xs[r][s], column, chain) for r, chain in enumerate(chains)]
        for t, chain in zip(to, chains, strict=True):
            ops.store(chain, b.add(t, offset), 0, mask)

    _over_columns(ops, n, vector)
    b.ret_void()
    return function


def _over_columns(ops: Simd, n: ir.Value, vector: Any) -> None:
    """``vector(offset in bytes, mask or None)`` for whole vectors, then for what is left."""
    b = ops.builder
    whole = b.and_(n, i64(-ops.lanes))
    rest = b.sub(n, whole)
    with for_range(b, whole, ops.lanes) as j:
        vector(b.mul(j, i64(ops.itemsize)), None)
    with b.if_then(b.icmp_signed("!=", rest, i64(0))):
        vector(b.mul(whole, i64(ops.itemsize)), ops.first(rest))


@intrinsic(prefer_literal=True)
def finish(typing_context: Any, itemsize: Any, words: Any) -> Any:
    """A row: to = relu((old + acc) + bias), and acc = +0.0 for the next block of k.

    (n, acc, old, old_step, bias, bias_step, relu, to); a step is the itemsize, or 0 for one vector
    that serves all columns, as -0.0 does where nothing is to be added.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function = _emit_finish(b.module, signature.args[0].literal_value)
        b.call(function, [b.extract_value(args[1], i) for i in range(8)])
        return context.get_dummy_value()

    return types.void(itemsize, types.UniTuple(types.intp, 8)), codegen


def _emit_finish(module: ir.Module, itemsize: int) -> ir.Function:
    isa = current().isa
    name = f"fastgrad_finish_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 8)
    n, acc, old, old_step, bias, bias_step, relu, to = function.args
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    threshold = relu_threshold(ops, relu)
    size = i64(itemsize)

    def vector(offset: ir.Value, mask: ir.Value | None) -> None:
        j = b.sdiv(offset, size)
        x = ops.load(b.add(old, b.mul(j, old_step)), 0, mask)
        x = x + ops.load(b.add(acc, offset), 0, mask)
        x = x + ops.load(b.add(bias, b.mul(j, bias_step)), 0, mask)
        ops.store(ops.select(x <= threshold, 0.0, x), b.add(to, offset), 0, mask)
        ops.store(ops.constant(0.0), b.add(acc, offset), 0, mask)

    _over_columns(ops, n, vector)
    b.ret_void()
    return function


def stream_task(dtype: str) -> Any:
    version = stamp()
    size = 4 if dtype == "float32" else 8
    kc_max, value_slot = KC[dtype], slot(VALUE, dtype)
    lanes = current().isa.lanes(size)
    header, vector, run_rows = HEADER, 64, RUN_ROWS[0]
    run_bytes, run_columns = thresholds.RUN_BYTES, thresholds.RUN_COLUMNS
    gather_columns, gather_k, piece_k = (
        thresholds.GATHER_COLUMNS,
        thresholds.GATHER_K,
        thresholds.PIECE_K,
    )

    def kernel_stream_task(d):  # type: ignore[no-untyped-def]
        _ = version
        p, task = word(d, 0), word(d, 1)
        m, k = word(p, 0), word(p, 2)
        a_row, a_k = word(p, 4), word(p, 5)
        b_k, b_column = word(p, 7), word(p, 8)
        to_row, to_column, accumulate = word(p, 10), word(p, 11), word(p, 12)
        bias, bias_row, bias_column = word(p, 13), word(p, 14), word(p, 15)
        y, y_row = word(p, 17), word(p, 18)
        first = task * word(p, 20)
        last = least(first + word(p, 20), word(p, 1))
        zeros = minus_zeros(size)
        scratch = acquire()
        if scratch == 0:
            return OUT_OF_MEMORY
        gather, dense = b_column != size, to_column == size
        dots = gather and b_k == size
        step = most(run_columns, quotient(run_bytes, size * m * lanes) * lanes)
        piece = kc_max if m == 1 or m == 2 or m == 4 else piece_k
        if gather:
            step, piece = gather_columns, gather_k
        acc = scratch + header
        acc_row = step * size
        kept = acc + m * acc_row  # rows of C where C itself has no unit stride
        spread = kept + m * acc_row
        gathered = spread + vector
        status = OK
        for row in range(m):  # the first run starts with whatever was in the scratch
            finish(size, (least(step, last - first), acc + row * acc_row, zeros, 0, zeros, 0, 0,
                          kept + row * acc_row))  # fmt: skip
        for j in range(first, last, step):
            w = least(step, last - j)
            b = word(p, 6) + j * b_column
            to = word(p, 9) + j * to_column
            if not dense and accumulate != 0:
                copy(size, (m, w, to, to_row, to_column, kept, acc_row))
            k0 = 0
            while True:
                kc = least(kc_max, k - k0)
                a = word(p, 3) + k0 * a_k
                from_b = b + k0 * b_k
                done = 0
                if dots:
                    run_dots(size, (m, w, kc, a, a_row, a_k, from_b, b_column, acc, acc_row))
                    done = kc - remainder(kc, lanes)
                for kk in range(done, kc, piece):
                    some = least(piece, kc - kk)
                    rows, row_bytes = from_b + kk * b_k, b_k
                    if gather:
                        copy(size, (some, w, rows, b_k, b_column, gathered, acc_row))
                        rows, row_bytes = gathered, acc_row
                    i = 0
                    while i < m:
                        group = least(run_rows, m - i)
                        group = pick(group & 1, 1, group)
                        group = pick(m - i - 3, group, 2)
                        run_steps(size, group, (
                            w, some, a + i * a_row + kk * a_k, a_row, a_k,
                            rows, row_bytes, acc + i * acc_row, acc_row))  # fmt: skip
                        i += group
                ends = 1 if k0 + kc >= k else 0
                old = 1 if k0 > 0 or accumulate != 0 else 0
                for row in range(m):
                    target = to + row * to_row if dense else kept + row * acc_row
                    plus, plus_step = zeros, 0
                    if ends != 0 and bias != 0:
                        plus, plus_step = bias + row * bias_row + j * bias_column, size
                        if bias_column == 0:
                            copy(size, (1, lanes, plus, 0, 0, spread, 0))
                            plus, plus_step = spread, 0
                    finish(size, (w, acc + row * acc_row, pick(old, target, zeros),
                                  old * size, plus, plus_step, ends * word(p, 16),
                                  target))  # fmt: skip
                k0 += kc_max
                if k0 >= k:
                    break
            if not dense:
                copy(size, (w, m, kept, size, acc_row, to, to_column))
            if y != 0:
                words = (m, w, to, to_row, y + j * size, y_row)
                status |= call_kernel(value_slot + 2 * word(p, 19), words)
        release(scratch)
        return status

    return kernel_stream_task


def stream(dtype: str) -> Any:
    """A kernel of the form of gemm.py: the tasks, on the product or on its transpose."""
    version = stamp()
    size = 4 if dtype == "float32" else 8
    task, fork_join = slot(STREAM_TASK, dtype), FORK_JOIN
    stream_rows, fork_ns = thresholds.STREAM_ROWS, thresholds.STREAM_FORK_NS
    unit, bytes_per_ns = thresholds.STREAM_COLUMNS, thresholds.BYTES_PER_NS

    def kernel_stream(d):  # type: ignore[no-untyped-def]
        _ = version
        m, n, k = word(d, 0), word(d, 1), word(d, 2)
        a, a_row, a_k = word(d, 3), word(d, 4), word(d, 5)
        b, b_k, b_column = word(d, 6), word(d, 7), word(d, 8)
        to, to_row, accumulate, bias = word(d, 9), word(d, 10), word(d, 11), word(d, 12)
        relu, y, threads = word(d, 13), word(d, 14), word(d, 17)
        swap = y == 0 and n < m and n <= stream_rows
        long = m if swap else n
        ns = quotient(long * k * size, bytes_per_ns)
        part = long
        if threads > 1 and ns > fork_ns:
            part = ceil_div(ceil_div(long, 2 * threads), unit) * unit
        if swap:
            plan = in_memory((n, m, k, b, b_column, b_k, a, a_k, a_row, to, size, to_row,
                              accumulate, bias, size, 0, relu, 0, 0, 0, part))  # fmt: skip
        else:
            plan = in_memory((m, n, k, a, a_row, a_k, b, b_k, b_column, to, to_row, size,
                              accumulate, bias, 0, size, relu, y, word(d, 15), word(d, 16),
                              part))  # fmt: skip
        if part == long:
            return call_kernel(task, (plan, 0))
        return call_kernel(fork_join, (task, plan, ceil_div(long, part), ns))

    return kernel_stream


STREAM_TASK = register("stream_task", stream_task, uses=(COPY,))
STREAM = register("stream", stream)
