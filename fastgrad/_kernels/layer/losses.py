"""Losses: logits (n, m) and targets -> the mean loss, a number, and its gradient (n, m).

Lanes are rows, because a sum along a row is one chain: as many rows as a vector has lanes are
transposed into panels (columns, lanes), where every step is a vector. The losses of the rows are
added as the contract says: a chain over each KC rows, and the chains in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from ..codegen import structs
from ..codegen.calls import VectorFunction, call, vector_function
from ..codegen.integers import on_integers
from ..codegen.memory import word_pointer
from ..codegen.simd import FLOAT, I64, Simd, Value, at_most, for_range, i64, new_function
from ..codegen.structs import address, on_stack
from ..codegen.target import KC
from ..formulas import elementary
from ..gemm.args import Matrix, Rows
from ..gemm.packing import copy
from ..runtime.registry import Floats, Kernel, Word, register
from ..runtime.scratch import HEADER, acquire, release
from ..runtime.table import BAD_LABEL, OK, OUT_OF_MEMORY
from .args import Loss
from .row_panels import ReadPanel, WritePanel, read_panel, write_panel

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


def _begin(ops: Simd, kind: int, state: ir.Value, p: Loss) -> None:
    """For all rows. Smoothed targets are (1 - s)*target + s/m (Szegedy et al. 2016)."""
    b = ops.builder
    s = b.bitcast(p.smoothing, FLOAT[8])
    count = _number(ops, p.n if kind in SOFTMAX else b.mul(p.n, p.m))
    _put(ops, count, state, COUNT)
    _put(ops, (2.0 if kind == _SQUARES else 1.0) / count, state, SCALE)
    _put(ops, _number(ops, b.fsub(ir.Constant(FLOAT[8], 1.0), s)), state, KEEP)
    _put(ops, _number(ops, b.fdiv(s, b.sitofp(p.m, FLOAT[8]))), state, SHARE)
    for which in (CHAIN, SUM):
        _put(ops, ops.constant(0.0), state, which)


def _begin_rows(
    ops: Simd, state: ir.Value, rows: ir.Value, labels: ir.Value | None, step: ir.Value
) -> None:
    b = ops.builder
    _put(ops, ops.constant(-elementary.INF), state, MAXIMUM)
    _put(ops, ops.constant(0.0), state, TOTAL)
    _put(ops, ops.constant(0.0), state, ROW_LOSS)
    if labels is not None:
        element = ops.int.element
        with for_range(b, rows) as i:
            label = b.load(word_pointer(b, b.add(labels, b.mul(i, step))))
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


def _call(ops: Simd, emit: Callable[..., None], *args: ir.Value, **known: int) -> None:
    """A step, as a function of its own."""
    b = ops.builder
    name = f"fastgrad_loss{emit.__name__}_f{8 * ops.itemsize}"
    function, inner = new_function(b.module, name, len(args))
    emit(Simd(inner, ops.itemsize, ops.lanes, ops.has_fma), *function.args, **known)
    inner.ret_void()
    b.call(function, list(args))


class Here(NamedTuple):
    """The loss, labels checked, and scratch for the state and three panels."""

    loss: Loss
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
        has_labels, is_softmax = kind == _LABELS, kind in SOFTMAX

        def column(a: Matrix | Rows, r: ir.Value, c: ir.Value) -> Matrix:
            step = a.column if isinstance(a, Matrix) else size
            return Matrix(b.add(b.add(a.data, b.mul(r, a.row)), b.mul(c, step)), a.row, step)

        _begin(ops, kind, state, p)
        with for_range(b, p.n, ops.lanes) as r:
            rows = at_most(b, b.sub(p.n, r), ops.lanes)

            def read(source: Matrix | Rows, c: ir.Value, width: ir.Value, to: ir.Value) -> None:
                read_panel(ops, ReadPanel(rows, width, column(source, r, c), to))

            def write(panel: ir.Value, c: ir.Value, width: ir.Value) -> None:
                to = Rows(column(p.grad, r, c).data, p.grad.row)
                write_panel(ops, WritePanel(rows, width, panel, to))

            labels = column(p.targets, r, i64(0)).data if has_labels else None
            _begin_rows(ops, state, rows, labels, p.targets.row)
            if is_softmax:
                with _pieces(b, p.m) as (c, width):
                    read(p.logits, c, width, z)
                    _call(ops, _maximum, state, z, width)
                with _pieces(b, p.m) as (c, width):
                    with b.if_then(in_pieces):
                        read(p.logits, c, width, z)
                    _call(ops, _exponentials, state, z, e, width)
                    with b.if_then(in_pieces):  # they wait where the gradient will be
                        write(e, c, width)
            with _pieces(b, p.m) as (c, width):
                with b.if_then(in_pieces) if is_softmax else nullcontext():
                    read(p.logits, c, width, z)
                    if is_softmax:
                        read(p.grad, c, width, e)
                if not has_labels:
                    read(p.targets, c, width, t)
                _call(ops, _finish, state, z, e, t, width, c, kind=kind)
                write(e, c, width)
            done = b.add(r, i64(ops.lanes))
            whole = b.icmp_signed("==", b.and_(done, i64(KC[ops.dtype.name] - 1)), i64(0))
            ends = b.or_(whole, b.icmp_signed(">=", done, p.n))
            _add_rows(ops, state, rows, ends)
        _end(ops, state, p.loss)

    return emit


class Probabilities(NamedTuple):
    """Sets the word at ``bad`` if not every target is from 0 to 1; a NaN is not."""

    n: int
    m: int
    targets: Matrix
    bad: int  # address


@vector_function(Probabilities)
def are_probabilities(ops: Simd, p: Probabilities) -> None:
    b, t = ops.builder, p.targets
    wrong = b.alloca(ops.bool)
    b.store(ir.Constant(ops.bool, None), wrong)

    def look(x: Value) -> None:
        right = (x >= 0.0) & (x <= 1.0)
        b.store(b.or_(b.load(wrong), b.not_(right.ir)), wrong)

    dense = b.icmp_signed("==", t.column, i64(ops.itemsize))
    with for_range(b, p.n) as r:
        row = b.add(t.data, b.mul(r, t.row))
        with b.if_else(dense) as (vectors, elements):
            with vectors:
                ops.over_columns(p.m, lambda at, mask: look(ops.load(b.add(row, at), 0, mask)))
            with elements, for_range(b, p.m) as c:
                look(ops.broadcast(b.add(row, b.mul(c, t.column))))
    lanes = b.bitcast(b.load(wrong), ir.IntType(ops.lanes))
    with b.if_then(b.icmp_unsigned("!=", lanes, lanes.type(0))):
        b.store(i64(1), word_pointer(b, p.bad))


@on_integers
def _bad_labels(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """How many labels are not from 0 to m - 1."""
    p = structs.loaded(b, address, Loss)
    bad = cgutils.alloca_once_value(b, i64(0))
    with for_range(b, p.n) as i:
        label = b.load(word_pointer(b, b.add(p.targets.data, b.mul(i, p.targets.row))))
        b.store(b.add(b.load(bad), b.zext(b.icmp_unsigned(">=", label, p.m), I64)), bad)
    return b.load(bad)


def _kernel(kind: int, name: str) -> Kernel:
    """BAD_LABEL, with nothing written: a target is not from 0 to m - 1, or not from 0 to 1."""
    function = VectorFunction(_emit_loss(kind), Here, f"loss_{name}")
    has_labels, is_binary = kind == _LABELS, kind == _BINARY

    def build(t: Floats) -> Callable[..., Any]:
        emitted, check = t[function], t[are_probabilities]

        def body(p):  # type: ignore[no-untyped-def]
            if is_binary:
                found = on_stack(Word(value=0))
                call(check, Probabilities(n=p.n, m=p.m, targets=p.targets, bad=address(found)))
                if found.value != 0:
                    return BAD_LABEL
            if has_labels and _bad_labels(address(p)) != 0:
                return BAD_LABEL
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            call(emitted, Here(loss=p, scratch=arena + HEADER))
            release(arena)
            return OK

        return body

    return register(name, build, Loss, uses=(copy,))


_NAMES = ("softmax_labels", "softmax_probabilities", "binary_cross_entropy", "mse")
LOSSES = {name: _kernel(kind, name) for kind, name in enumerate(_NAMES)}
SOFTMAX_LABELS, SOFTMAX_PROBABILITIES, BINARY_CROSS_ENTROPY, MSE = LOSSES.values()
