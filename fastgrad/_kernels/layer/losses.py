"""Losses: logits (n, m) and targets -> the mean loss, a number, and its gradient (n, m).

Lanes are rows, because a sum along a row is one chain: as many rows as a vector has lanes are
transposed into panels (columns, lanes), where every step is a vector. Terms are of the dtype, sums
float64: see loss_sums.py. A gradient below the smallest normal number is +0.0: the products of a
backward would take 100 times as long with it. The losses of rows, times their weights, wait until a
block of KC rows is full. Their sum is divided, and rounded to the dtype once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

from llvmlite import ir

from ..codegen.calls import VectorFunction, call
from ..codegen.integers import double
from ..codegen.simd import FLOAT, I64, Simd, Value, at_most, for_range, i64
from ..codegen.structs import address, on_stack
from ..codegen.target import KC
from ..formulas import elementary
from ..gemm.args import Matrix, Rows
from ..gemm.packing import copy
from ..runtime.registry import Floats, Kernel, Word, register
from ..runtime.scratch import HEADER, acquire, release
from ..runtime.table import BAD_LABEL, OK, OUT_OF_MEMORY
from .args import Loss
from .loss_checks import Probabilities, are_probabilities, bad_labels, divisor_of
from .loss_state import (
    BINARY,
    FROM_LABELS,
    KEEP,
    LABELS,
    LOGIT,
    MAXIMUM,
    POSITIVE,
    ROW_LOSS,
    SCALE,
    SHARE,
    SOFTMAX,
    SQUARES,
    STATE,
    SUMS,
    TOTAL,
    ZERO,
    begin,
    begin_labels,
    begin_rows,
    begin_weights,
    end_rows,
    get,
    leave_out,
    place_of,
    put,
)
from .loss_sums import (
    BatchSum,
    RowSum,
    add_to,
    call_part,
    columns_of,
    kept_sum,
    narrowed,
    wide_of,
    widened,
)
from .row_panels import ReadPanel, WritePanel, read_panel, write_panel

COLUMNS = 1024  # of a panel: three of them are in L2; a longer row goes by in pieces, three times


def _maximum(ops: Simd, state: ir.Value, z: ir.Value, columns: ir.Value) -> None:
    """A NaN may be passed over: its row becomes NaN in the sum."""
    top = ops.builder.alloca(ops.float)  # a register, once LLVM has promoted it
    ops.builder.store(get(ops, state, MAXIMUM).ir, top)
    with columns_of(ops, columns) as at:
        value, before = ops.load(at(z)), Value(ops, ops.builder.load(top))
        ops.builder.store(ops.select(value > before, value, before).ir, top)
    put(ops, Value(ops, ops.builder.load(top)), state, MAXIMUM)


def _exponentials(ops: Simd, state: ir.Value, z: ir.Value, e: ir.Value, columns: ir.Value) -> None:
    top, total = get(ops, state, MAXIMUM), RowSum(ops)
    total.load(place_of(ops, state, TOTAL))
    with columns_of(ops, columns, total) as at:
        value = elementary.exp(ops, ops.load(at(z)) - top)
        ops.store(value, at(e))
        total.add(value)
    total.keep(place_of(ops, state, TOTAL))


def _softmax(ops: Simd, state: ir.Value) -> Callable[..., tuple[Value, Value]]:
    """A target times the row's log-sum-exp less the logit; 0 where the target is, also of Inf."""
    top = get(ops, state, MAXIMUM)
    keep, share, scale = (get(ops, state, which) for which in (KEEP, SHARE, SCALE))
    log_total, inverse = _softmax_totals(ops, state)

    def column(z: Value, e: Value, t: Value, w: Value | None) -> tuple[Value, Value]:
        target = t * keep + share
        term = target * (log_total - (z - top))
        term = ops.select(target == 0.0, 0.0, term)
        return term, elementary.normal(ops, (e * inverse - target) * scale)

    return column


def _binary(ops: Simd, state: ir.Value) -> Callable[..., tuple[Value, Value]]:
    """max(z, 0) - z*t + log(1 + exp(-|z|)); sigmoid(z) - t.

    With a weight w of targets of 1: what t is a factor of is w times as much.
    """
    scale = get(ops, state, SCALE)

    def column(z: Value, e: Value, t: Value, w: Value | None) -> tuple[Value, Value]:
        e = elementary.exp(ops, -ops.abs(z))
        u = e + 1.0  # log(1 + e) to the last bits although 1 + e rounds: W. Kahan's correction
        log1p = ops.select(u == 1.0, e, elementary.log(ops, u) * (e / (u - 1.0)))
        sigmoid, not_t = elementary.sigmoid(ops, z), 1.0 - t
        if w is not None:
            both = (w - 1.0) * t + 1.0  # of log1p, and of the sigmoid
            t, log1p, sigmoid = w * t, both * log1p, both * sigmoid
        slope = ops.select(z > 0.0, not_t, -t)  # max(z, 0) - z*t = slope*z, and 0*Inf is 0 here
        term = ops.select(slope == 0.0, 0.0, slope * z) + log1p
        return term, elementary.normal(ops, (sigmoid - t) * scale)

    return column


def _squares(ops: Simd, state: ir.Value) -> Callable[..., tuple[Value, Value]]:
    scale = get(ops, state, SCALE)

    def column(p: Value, e: Value, t: Value, w: Value | None) -> tuple[Value, Value]:
        d = p - t
        return d * d, elementary.normal(ops, d * scale)

    return column


def _softmax_totals(ops: Simd, state: ir.Value) -> tuple[Value, Value]:
    """Of the rows' exponentials, rounded: the log of the sum, and 1 / it."""
    total = narrowed(ops, kept_sum(ops, place_of(ops, state, TOTAL)))
    return elementary.log(ops, total), 1.0 / total


def _is_label(ops: Simd, labels: ir.Value, counter: ir.Value) -> Value:
    """Where the label is the number of the column, which this counts."""
    b = ops.builder
    number = b.load(counter)
    b.store(b.add(number, i64(1)), counter)
    number = b.trunc(number, ops.int.element) if ops.itemsize == 4 else number
    return Value(ops, b.icmp_signed("==", labels, ops.spread(number)))


def _finish_labels(
    ops: Simd, state: ir.Value, z: ir.Value, e: ir.Value, columns: ir.Value, first: ir.Value
) -> None:
    """As _finish where nothing is smoothed: of a row's terms one is not +0.0."""
    b, scale = ops.builder, get(ops, state, SCALE)
    (_, inverse), counter = _softmax_totals(ops, state), b.alloca(I64)
    logit = b.alloca(ops.float)
    b.store(get(ops, state, LOGIT).ir, logit)
    b.store(first, counter)
    labels = ops.bits(get(ops, state, LABELS)).ir
    with columns_of(ops, columns) as at:
        here = _is_label(ops, labels, counter)
        before = Value(ops, b.load(logit))
        b.store(ops.select(here, ops.load(at(z)), before).ir, logit)
        target = ops.select(here, 1.0, 0.0)
        slope = (ops.load(at(e)) * inverse - target) * scale
        ops.store(elementary.normal(ops, slope), at(e))
    put(ops, Value(ops, b.load(logit)), state, LOGIT)


def _end_labels(ops: Simd, state: ir.Value) -> None:
    """That one, into ROW_LOSS."""
    log_total, _ = _softmax_totals(ops, state)
    term = log_total - (get(ops, state, LOGIT) - get(ops, state, MAXIMUM))
    wide_of(ops).store(widened(ops, term), place_of(ops, state, ROW_LOSS))


def _finish(
    ops: Simd, state: ir.Value, z: ir.Value, e: ir.Value, t: ir.Value, columns: ir.Value,
    first: ir.Value, positive: ir.Value, step: ir.Value, kind: int,
) -> None:  # fmt: skip
    """Panels of logits, of their exponentials if there are, of targets -> e is the gradient."""
    b = ops.builder
    kinds = {BINARY: _binary, POSITIVE: _binary, SQUARES: _squares}
    emit = kinds.get(kind, _softmax)(ops, state)
    loss, label, weight = RowSum(ops), b.alloca(I64), b.alloca(I64)
    loss.load(place_of(ops, state, ROW_LOSS))
    b.store(first, label)
    b.store(b.add(positive, b.mul(first, step)), weight)
    labels = ops.bits(get(ops, state, LABELS)).ir
    with columns_of(ops, columns, loss) as at:
        if kind == FROM_LABELS:
            target = ops.select(_is_label(ops, labels, label), 1.0, 0.0)
        else:
            target = ops.load(at(t))
        w = None
        if kind == POSITIVE:
            w = ops.broadcast(b.load(weight))
            b.store(b.add(b.load(weight), step), weight)
        exponential = ops.load(at(e)) if kind in SOFTMAX else target
        term, slope = emit(ops.load(at(z)), exponential, target, w)
        ops.store(slope, at(e))
        loss.add(term)
    loss.keep(place_of(ops, state, ROW_LOSS))


def _end(ops: Simd, state: ir.Value, divisor: ir.Value, loss: ir.Value) -> None:
    total = BatchSum(ops.builder, ops.has_fma)
    total.load(place_of(ops, state, SUMS))
    total.store_mean(divisor, ops.itemsize, loss)


class Here(NamedTuple):
    """The loss, labels checked, what its sum is divided by (bits), scratch: state, three panels."""

    loss: Loss
    divisor: int
    scratch: int


@contextmanager
def _pieces(b: ir.IRBuilder, columns: ir.Value) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Of some rows: the first column, the number of columns."""
    with for_range(b, columns, COLUMNS) as first:
        yield first, at_most(b, b.sub(columns, first), COLUMNS)


def _emit_loss(kind: int) -> Callable[[Simd, Here], None]:
    def emit(ops: Simd, here: Here) -> None:
        b, p, state = ops.builder, here.loss, here.scratch
        size = i64(ops.itemsize)
        z, e, t = (b.add(state, i64((STATE + i * COLUMNS) * ops.bytes)) for i in range(3))
        in_pieces = b.icmp_signed(">", p.m, i64(COLUMNS))
        is_whole = b.icmp_signed("==", p.row_losses, i64(0))
        has_labels, is_softmax = kind == FROM_LABELS, kind in SOFTMAX
        is_smooth = b.fcmp_unordered("!=", b.bitcast(p.smoothing, FLOAT[8]), ZERO)
        kc = KC[ops.dtype.name]
        losses = b.add(state, i64((STATE + 3 * COLUMNS) * ops.bytes))  # of a block of rows

        def column(a: Matrix | Rows, r: ir.Value, c: ir.Value) -> Matrix:
            step = a.column if isinstance(a, Matrix) else size
            return Matrix(b.add(b.add(a.data, b.mul(r, a.row)), b.mul(c, step)), a.row, step)

        begin(ops, kind, state, p, here.divisor)
        with for_range(b, p.n, ops.lanes) as r:
            rows = at_most(b, b.sub(p.n, r), ops.lanes)

            def read(source: Matrix | Rows, c: ir.Value, width: ir.Value, to: ir.Value) -> None:
                read_panel(ops, ReadPanel(rows, width, column(source, r, c), to))

            def write(panel: ir.Value, c: ir.Value, width: ir.Value) -> None:
                to = Rows(column(p.grad, r, c).data, p.grad.row)
                write_panel(ops, WritePanel(rows, width, panel, to))

            begin_rows(ops, state)
            if has_labels:
                labels = column(p.targets, r, i64(0)).data
                begin_labels(ops, state, rows, labels, p.targets.row)
            with b.if_then(b.icmp_signed("!=", p.weights, i64(0))):
                weights = b.add(p.weights, b.mul(r, p.weight_step))
                begin_weights(ops, state, rows, weights, p.weight_step)
            if is_softmax:
                with _pieces(b, p.m) as (c, width):
                    read(p.logits, c, width, z)
                    call_part(ops, _maximum, state, z, width)
                with _pieces(b, p.m) as (c, width):
                    with b.if_then(in_pieces):
                        read(p.logits, c, width, z)
                    call_part(ops, _exponentials, state, z, e, width)
                    with b.if_then(in_pieces):  # they wait where the gradient will be
                        write(e, c, width)
            with _pieces(b, p.m) as (c, width):
                with b.if_then(in_pieces) if is_softmax else nullcontext():
                    read(p.logits, c, width, z)
                    if is_softmax:
                        read(p.grad, c, width, e)
                if not has_labels:
                    read(p.targets, c, width, t)
                places = z, e, t, width, c, p.positive, p.positive_step
                if has_labels:
                    with b.if_else(is_smooth) as (smooth, plain):
                        with smooth:
                            call_part(ops, _finish, state, *places, kind=kind)
                        with plain:
                            call_part(ops, _finish_labels, state, z, e, width, c)
                else:
                    call_part(ops, _finish, state, *places, kind=kind)
                write(e, c, width)
            if has_labels:
                with b.if_then(b.not_(is_smooth)):
                    _end_labels(ops, state)
            end_rows(ops, state, p.weights)
            if has_labels:
                with b.if_then(b.icmp_signed("!=", p.ignores, i64(0))):
                    leave_out(ops, state, p, r, rows, p.m)
            wide, found = wide_of(ops), place_of(ops, state, ROW_LOSS)
            in_block = b.and_(r, i64(kc - 1))
            with b.if_else(is_whole) as (whole_batch, some):
                with whole_batch:
                    wide.store(wide.load(found), b.add(losses, b.mul(in_block, i64(8))))
                    done = b.add(r, i64(ops.lanes))
                    is_full = b.icmp_signed("==", in_block, i64(kc - ops.lanes))
                    with b.if_then(b.or_(is_full, b.icmp_signed(">=", done, p.n))):
                        call_part(
                            ops, add_to, place_of(ops, state, SUMS), losses, b.add(in_block, rows)
                        )
                with some:
                    to = b.add(p.row_losses, b.mul(r, i64(8)))
                    wide.store(wide.load(found), to, 0, wide.first(rows))
        with b.if_then(is_whole):
            _end(ops, state, here.divisor, p.loss)

    return emit


def _kernel(kind: int, name: str) -> Kernel:
    """BAD_LABEL, with nothing written: a target is not from 0 to m - 1, or not from 0 to 1; a
    weight is not finite or below 0, or no row counts."""
    function = VectorFunction(_emit_loss(kind), Here, f"loss_{name}")
    has_labels, is_binary = kind == FROM_LABELS, kind in (BINARY, POSITIVE)
    of_elements = 0 if kind in SOFTMAX else 1

    def build(t: Floats) -> Callable[..., Any]:
        emitted, check, find_divisor = t[function], t[are_probabilities], divisor_of(t)

        def body(p):  # type: ignore[no-untyped-def]
            if is_binary:
                found = on_stack(Word(value=0))
                call(check, Probabilities(n=p.n, m=p.m, targets=p.targets, bad=address(found)))
                if found.value != 0:
                    return BAD_LABEL
            if has_labels and bad_labels(address(p)) != 0:
                return BAD_LABEL
            divisor = find_divisor(p, of_elements)
            if not double(divisor) > 0.0:
                return BAD_LABEL
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            call(emitted, Here(loss=p, divisor=divisor, scratch=arena + HEADER))
            release(arena)
            return OK

        return body

    return register(name, build, Loss, uses=(copy,))


_NAMES = ("softmax_labels", "softmax_probabilities", "binary_cross_entropy", "mse",
          "binary_cross_entropy_positive")  # fmt: skip
LOSSES = {name: _kernel(kind, name) for kind, name in enumerate(_NAMES)}
SOFTMAX_LABELS, SOFTMAX_PROBABILITIES, BINARY_CROSS_ENTROPY, MSE = list(LOSSES.values())[:4]
BINARY_CROSS_ENTROPY_POSITIVE = LOSSES["binary_cross_entropy_positive"]
