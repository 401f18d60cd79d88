"""Losses: logits (n, m) and targets -> the mean loss, a number, and its gradient (n, m).

Lanes are rows, because a sum along a row is one chain: as many rows as a vector has lanes are
transposed into panels (columns, lanes), where every step is a vector. The losses of the rows are
added as the contract says: a chain over each KC rows, and the chains in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..codegen.integers import on_integers
from ..codegen.memory import word_pointer
from ..codegen.simd import FLOAT, I64, Simd, Value, for_range, i64, new_function
from ..codegen.target import KC, current
from ..codegen.words import Word
from ..formulas import elementary
from ..gemm.packing import COPY
from ..runtime.jit import BAD_LABEL, OK, OUT_OF_MEMORY, register, stamp
from ..runtime.scratch import HEADER, acquire, release
from .row_panels import emit_read, emit_write

# 64-bit words, strides in bytes. targets: int64 labels (n,), or (n, m) of the dtype; grad has unit
# stride along columns, is written, and must not overlap an input; loss: address of a float64, which
# is written; smoothing: the bits of a float64. BAD_LABEL, with nothing written: a label is not from
# 0 to m - 1.
DESCRIPTOR = (
    "n", "m",
    "logits", "logits_row", "logits_column",
    "targets", "targets_row", "targets_column",
    "grad", "grad_row",
    "loss", "smoothing",
)  # fmt: skip

COLUMNS = 1024  # of a panel: three of them are in L2; a longer row goes by in pieces, three times

_LABELS, _PROBABILITIES, _BINARY, _SQUARES = range(4)
SOFTMAX = (_LABELS, _PROBABILITIES)
# Vectors of the state; of CHAIN and SUM the first lane counts.
COUNT, SCALE, KEEP, SHARE, MAXIMUM, TOTAL, ROW_LOSS, LABELS, CHAIN, SUM = range(10)
STATE = 16


def _get(ops: Simd, state: ir.Value, which: int) -> Value:
    return ops.load(state, which * ops.bytes)


def _put(ops: Simd, x: Value, state: ir.Value, which: int) -> None:
    ops.store(x, state, which * ops.bytes)


def _number(ops: Simd, x: ir.Value) -> Value:
    """A double, rounded to the dtype, or an integer in every lane."""
    kind = FLOAT[ops.itemsize]
    if x.type == I64:
        x = ops.builder.sitofp(x, kind)
    elif ops.itemsize == 4:
        x = ops.builder.fptrunc(x, kind)
    return Value(ops, ops.spread(x))


def _begin(ops: Simd, kind: int, state: ir.Value, w: dict[str, Word]) -> None:
    """For all rows. Smoothed targets are (1 - s)*target + s/m (Szegedy et al. 2016)."""
    b = ops.builder
    s = b.bitcast(w["smoothing"].ir, FLOAT[8])
    count = _number(ops, (w["n"] if kind in SOFTMAX else w["n"] * w["m"]).ir)
    _put(ops, count, state, COUNT)
    _put(ops, (2.0 if kind == _SQUARES else 1.0) / count, state, SCALE)
    _put(ops, _number(ops, b.fsub(ir.Constant(FLOAT[8], 1.0), s)), state, KEEP)
    _put(ops, _number(ops, b.fdiv(s, b.sitofp(w["m"].ir, FLOAT[8]))), state, SHARE)
    for which in (CHAIN, SUM):
        _put(ops, ops.constant(0.0), state, which)


def _begin_rows(ops: Simd, state: ir.Value, rows: Word, labels: Word | None, step: Word) -> None:
    b = ops.builder
    _put(ops, ops.constant(-elementary.INF), state, MAXIMUM)
    _put(ops, ops.constant(0.0), state, TOTAL)
    _put(ops, ops.constant(0.0), state, ROW_LOSS)
    if labels is not None:
        element = ops.int.element
        with for_range(b, rows.ir) as i:
            label = b.load(word_pointer(b, b.add(labels.ir, b.mul(i, step.ir))))
            label = b.trunc(label, element) if ops.itemsize == 4 else label
            to = b.add(state, b.mul(i, i64(ops.itemsize)))
            b.store(label, ops.pointer(to, LABELS * ops.bytes, element))


@contextmanager
def _columns(ops: Simd, count: ir.Value) -> Iterator[Callable[[ir.Value], ir.Value]]:
    """A loop over the columns of panels; yields where the vector of a panel is."""
    b = ops.builder
    with for_range(b, count) as j:
        offset = b.mul(j, i64(ops.bytes))
        yield lambda panel: b.add(panel, offset)


class _Sum:
    """A vector of the state that a loop over columns changes."""

    def __init__(self, ops: Simd, state: ir.Value, which: int) -> None:
        self.ops, self.state, self.which = ops, state, which
        self.variable = ops.builder.alloca(ops.float)  # a register, once LLVM has promoted it
        self.set(_get(ops, state, which))

    def get(self) -> Value:
        return Value(self.ops, self.ops.builder.load(self.variable))

    def set(self, x: Value) -> None:
        self.ops.builder.store(x.ir, self.variable)

    def keep(self) -> None:
        _put(self.ops, self.get(), self.state, self.which)


def _maximum(ops: Simd, state: ir.Value, z: ir.Value, columns: ir.Value) -> None:
    """A NaN may be passed over: its row becomes NaN in the sum."""
    top = _Sum(ops, state, MAXIMUM)
    with _columns(ops, columns) as at:
        value, before = ops.load(at(z)), top.get()
        top.set(ops.select(value > before, value, before))
    top.keep()


def _exponentials(ops: Simd, state: ir.Value, z: ir.Value, e: ir.Value, columns: ir.Value) -> None:
    top, total = _get(ops, state, MAXIMUM), _Sum(ops, state, TOTAL)
    with _columns(ops, columns) as at:
        value = elementary.exp(ops, ops.load(at(z)) - top)
        ops.store(value, at(e))
        total.set(total.get() + value)
    total.keep()


def _softmax(ops: Simd, state: ir.Value) -> Callable[..., tuple[Value, Value]]:
    """A target times the row's log-sum-exp less the logit; 0 where the target is, also of Inf."""
    top, total = _get(ops, state, MAXIMUM), _get(ops, state, TOTAL)
    keep, share, scale = (_get(ops, state, which) for which in (KEEP, SHARE, SCALE))
    log_total, inverse = elementary.log(ops, total), 1.0 / total

    def column(z: Value, e: Value, t: Value) -> tuple[Value, Value]:
        target = t * keep + share
        term = target * (log_total - (z - top))
        term = ops.select(target == 0.0, 0.0, term)
        return term, (e * inverse - target) * scale

    return column


def _binary(ops: Simd, state: ir.Value) -> Callable[..., tuple[Value, Value]]:
    """max(z, 0) - z*t + log(1 + exp(-|z|)); sigmoid(z) - t."""
    scale = _get(ops, state, SCALE)

    def column(z: Value, e: Value, t: Value) -> tuple[Value, Value]:
        e = elementary.exp(ops, -ops.abs(z))
        u = e + 1.0  # log(1 + e) to the last bits although 1 + e rounds: W. Kahan's correction
        log1p = ops.select(u == 1.0, e, elementary.log(ops, u) * (e / (u - 1.0)))
        slope = ops.select(z > 0.0, 1.0 - t, -t)  # max(z, 0) - z*t = slope*z, and 0*Inf is 0 here
        term = ops.select(slope == 0.0, 0.0, slope * z) + log1p
        return term, (elementary.sigmoid(ops, z) - t) * scale

    return column


def _squares(ops: Simd, state: ir.Value) -> Callable[..., tuple[Value, Value]]:
    scale = _get(ops, state, SCALE)

    def column(p: Value, e: Value, t: Value) -> tuple[Value, Value]:
        d = p - t
        return d * d, d * scale

    return column


def _finish(
    ops: Simd, state: ir.Value, z: ir.Value, e: ir.Value, t: ir.Value, columns: ir.Value,
    first: ir.Value, kind: int,
) -> None:  # fmt: skip
    """Panels of logits, of their exponentials if there are, of targets -> e is the gradient."""
    b = ops.builder
    emit = {_BINARY: _binary, _SQUARES: _squares}.get(kind, _softmax)(ops, state)
    loss, label = _Sum(ops, state, ROW_LOSS), b.alloca(I64)
    b.store(first, label)
    labels = ops.bits(_get(ops, state, LABELS)).ir
    with _columns(ops, columns) as at:
        if kind == _LABELS:
            number = b.load(label)
            b.store(b.add(number, i64(1)), label)
            number = b.trunc(number, ops.int.element) if ops.itemsize == 4 else number
            here = Value(ops, b.icmp_signed("==", labels, ops.spread(number)))
            target = ops.select(here, 1.0, 0.0)
        else:
            target = ops.load(at(t))
        exponential = ops.load(at(e)) if kind in SOFTMAX else target
        term, slope = emit(ops.load(at(z)), exponential, target)
        ops.store(slope, at(e))
        loss.set(loss.get() + term)
    loss.keep()


def _add_rows(ops: Simd, state: ir.Value, rows: ir.Value, ends: ir.Value) -> None:
    """The chain goes on over the losses of these rows; where it ends it is added to the sum."""
    b, element = ops.builder, FLOAT[ops.itemsize]
    at_chain, at_sum = (ops.pointer(state, which * ops.bytes, element) for which in (CHAIN, SUM))
    chain = b.alloca(element)
    b.store(b.load(at_chain), chain)
    with for_range(b, rows) as i:
        place = b.add(state, b.mul(i, i64(ops.itemsize)))
        loss = b.load(ops.pointer(place, ROW_LOSS * ops.bytes, element))
        b.store(b.fadd(b.load(chain), loss), chain)
    with b.if_then(ends):
        b.store(b.fadd(b.load(at_sum), b.load(chain)), at_sum)
        b.store(ir.Constant(element, 0.0), chain)
    b.store(b.load(chain), at_chain)


def _end(ops: Simd, state: ir.Value, loss: ir.Value) -> None:
    b, element = ops.builder, FLOAT[ops.itemsize]
    total, count = (
        b.load(ops.pointer(state, which * ops.bytes, element)) for which in (SUM, COUNT)
    )
    mean = b.fdiv(total, count)
    mean = b.fpext(mean, FLOAT[8]) if ops.itemsize == 4 else mean
    b.store(mean, ops.pointer(loss, 0, FLOAT[8]))


def _call(ops: Simd, emit: Callable[..., None], *args: Any, **known: int) -> None:
    """A step, as a function of its own."""
    b = ops.builder
    name = f"fastgrad_loss{emit.__name__}_f{8 * ops.itemsize}"
    function, inner = new_function(b.module, name, len(args))
    emit(Simd(inner, ops.itemsize, ops.lanes, ops.has_fma), *function.args, **known)
    inner.ret_void()
    b.call(function, [a.ir if isinstance(a, Word) else a for a in args])


def _emit_loss(module: ir.Module, itemsize: int, kind: int) -> ir.Function:
    """f(descriptor, scratch): labels are good."""
    function, b = new_function(module, f"fastgrad_loss_{kind}_f{8 * itemsize}", 2)
    isa = current().isa
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    descriptor, state = function.args
    words = (Word(b, b.load(word_pointer(b, descriptor, i64(i)))) for i in range(len(DESCRIPTOR)))
    w = dict(zip(DESCRIPTOR, words, strict=True))
    z, e, t = (b.add(state, i64((STATE + i * COLUMNS) * ops.bytes)) for i in range(3))
    n, m = w["n"], w["m"]
    in_pieces = (m > COLUMNS).ir
    read, write = emit_read(module, itemsize), emit_write(module, itemsize)
    kc = KC[{4: "float32", 8: "float64"}[itemsize]]

    def move(function: ir.Function, *args: Any) -> None:
        b.call(function, [a.ir if isinstance(a, Word) else a for a in args])

    _begin(ops, kind, state, w)
    with for_range(b, n.ir, ops.lanes) as index:
        r = Word(b, index)
        left = n - r
        rows = (left < ops.lanes).choose(left, ops.lanes)
        of_z, of_t, to = (w[a] + r * w[f"{a}_row"] for a in ("logits", "targets", "grad"))

        @contextmanager
        def pieces() -> Iterator[tuple[Word, Word]]:
            """Of the rows: the first column, the number of columns."""
            with for_range(b, m.ir, COLUMNS) as first:
                c = Word(b, first)
                yield c, (m - c < COLUMNS).choose(m - c, COLUMNS)

        def read_logits(c: Word, width: Word) -> None:
            step = w["logits_column"]
            move(read, rows, width, of_z + c * step, w["logits_row"], step, z)

        has_labels = kind == _LABELS
        _begin_rows(ops, state, rows, of_t if has_labels else None, w["targets_row"])
        if kind in SOFTMAX:
            with pieces() as (c, width):
                read_logits(c, width)
                _call(ops, _maximum, state, z, width)
            with pieces() as (c, width):
                with b.if_then(in_pieces):
                    read_logits(c, width)
                _call(ops, _exponentials, state, z, e, width)
                with b.if_then(in_pieces):  # the exponentials wait where the gradient will be
                    move(write, rows, width, e, to + c * itemsize, w["grad_row"])
        with pieces() as (c, width):
            with b.if_then(in_pieces) if kind in SOFTMAX else nullcontext():
                read_logits(c, width)
                if kind in SOFTMAX:
                    at = to + c * itemsize
                    move(read, rows, width, at, w["grad_row"], i64(itemsize), e)
            if not has_labels:
                step = w["targets_column"]
                move(read, rows, width, of_t + c * step, w["targets_row"], step, t)
            _call(ops, _finish, state, z, e, t, width, c, kind=kind)
            move(write, rows, width, e, to + c * itemsize, w["grad_row"])
        done = r + ops.lanes
        _add_rows(ops, state, rows.ir, (((done & (kc - 1)) == 0) | (done >= n)).ir)
    _end(ops, state, w["loss"].ir)
    b.ret_void()
    return function


@intrinsic(prefer_literal=True)
def _loss(typing_context: Any, itemsize: Any, kind: Any, descriptor: Any, scratch: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        size, number = (a.literal_value for a in signature.args[:2])
        b.call(_emit_loss(b.module, size, number), args[2:])
        return context.get_dummy_value()

    return types.void(itemsize, kind, types.intp, types.intp), codegen


@on_integers
def _bad_labels(b: ir.IRBuilder, descriptor: ir.Value) -> ir.Value:
    """How many labels are not from 0 to m - 1."""
    n, m, labels, step = (
        b.load(word_pointer(b, descriptor, i64(DESCRIPTOR.index(name))))
        for name in ("n", "m", "targets", "targets_row")
    )
    bad = cgutils.alloca_once_value(b, i64(0))
    with for_range(b, n) as i:
        label = b.load(word_pointer(b, b.add(labels, b.mul(i, step))))
        b.store(b.add(b.load(bad), b.zext(b.icmp_unsigned(">=", label, m), I64)), bad)
    return b.load(bad)


def _build(kind: int) -> Callable[[str], Any]:
    def build(dtype: str) -> Any:
        version = stamp()
        size = 4 if dtype == "float32" else 8

        def with_labels(d):  # type: ignore[no-untyped-def]
            _ = version
            if _bad_labels(d) != 0:
                return BAD_LABEL
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            _loss(size, kind, d, arena + HEADER)
            release(arena)
            return OK

        def with_targets(d):  # type: ignore[no-untyped-def]
            _ = version
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            _loss(size, kind, d, arena + HEADER)
            release(arena)
            return OK

        return with_labels if kind == _LABELS else with_targets

    return build


SOFTMAX_LABELS, SOFTMAX_PROBABILITIES, BINARY_CROSS_ENTROPY, MSE = (
    register(name, _build(kind), uses=(COPY,))
    for kind, name in enumerate(
        ("softmax_labels", "softmax_probabilities", "binary_cross_entropy", "mse")
    )
)
LOSSES = {
    "softmax_labels": SOFTMAX_LABELS,
    "softmax_probabilities": SOFTMAX_PROBABILITIES,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "mse": MSE,
}
