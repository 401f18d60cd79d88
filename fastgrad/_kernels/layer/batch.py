"""A batch that kernels cannot read where it lies: converted and looked at, into a net's own memory.

In: the table, with the batch and, for each of x, targets and weights, the slot of the kernel that
converts it, or 0. Out: the table, with where they lie now. Targets go by way of float64, in which
labels and shares are looked at as they were given, and then become what the loss reads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from ..codegen.calls import call, kernel_at, slot_of, subroutine, vector_function
from ..codegen.integers import least, most, on_integers, pick, quotient
from ..codegen.memory import word_pointer
from ..codegen.simd import FLOAT, I32, I64, Simd, Value, for_range, i64
from ..codegen.structs import address, on_stack, view
from ..gemm.args import Matrix, Rows
from ..runtime.registry import Floats, Word, kernel
from ..runtime.table import BAD_LABEL, OK
from .args import Net
from .conversion import ANY, CONVERT, Conversion, converted_of
from .losses import MSE, SOFTMAX_LABELS, SOFTMAX_PROBABILITIES

# A row of shares sums to 1 within 1e-3 in every order of its sum: they differ by less than 1e-6.
NEAR = 1e-3 - 1e-6
ELEMENTS = 2048  # that are float64 at a time: in L1


@on_integers
def _number_labels(b: ir.IRBuilder, n: ir.Value, m: ir.Value, at: ir.Value) -> ir.Value:
    """(n,) float64 become int64; how many are not from 0 to m - 1."""
    bad, end = cgutils.alloca_once_value(b, i64(0)), b.sitofp(m, FLOAT[8])
    b.store(i64(0), bad)
    zero = FLOAT[8](0.0)
    with for_range(b, n) as i:
        place = word_pointer(b, at, i)
        label = b.bitcast(b.load(place), FLOAT[8])
        right = b.and_(b.fcmp_ordered(">=", label, zero), b.fcmp_ordered("<", label, end))
        b.store(b.add(b.load(bad), b.zext(b.not_(right), I64)), bad)
        b.store(b.fptosi(b.select(right, label, zero), I64), place)
    return b.load(bad)


class Shares(NamedTuple):
    """(n, m) float64. BAD_LABEL is written to ``bad`` if not every one is from 0 to 1 or, where
    they add up, not every row to about 1."""

    n: int
    m: int
    at: int
    adds_up: int
    bad: int  # address


@vector_function(Shares)
def _look(ops: Simd, p: Shares) -> None:
    b = ops.builder
    total, wrong = b.alloca(ops.float), b.alloca(ops.bool)
    b.store(ir.Constant(ops.bool, None), wrong)

    def look(x: Value) -> None:
        b.store((Value(ops, b.load(total)) + x).ir, total)
        right = (x >= 0.0) & (x <= 1.0)
        b.store(b.or_(b.load(wrong), b.not_(right.ir)), wrong)

    with for_range(b, p.n) as r:
        row = b.add(p.at, b.mul(r, b.mul(p.m, i64(8))))
        b.store(ops.constant(0.0).ir, total)
        ops.over_columns(p.m, lambda at, mask: look(ops.load(b.add(row, at), 0, mask)))
        found = ops.constant(-1.0)
        for lane in range(ops.lanes):
            found = found + Value(ops, ops.spread(b.extract_element(b.load(total), I32(lane))))
        near = (found <= NEAR) & (found >= -NEAR)
        adds_up = ops.spread(b.icmp_signed("!=", p.adds_up, i64(0)))
        b.store(b.or_(b.load(wrong), b.and_(adds_up, b.not_(near.ir))), wrong)
    lanes = b.bitcast(b.load(wrong), ir.IntType(ops.lanes))
    with b.if_then(b.icmp_unsigned("!=", lanes, lanes.type(0))):
        b.store(i64(BAD_LABEL), word_pointer(b, p.bad))


@kernel(Shares, dtypes=("float64",))
def look_at_shares(t: Floats) -> Any:
    look = t[_look]

    def body(p):  # type: ignore[no-untyped-def]
        call(look, p)
        return OK

    return body


def _take_rows(t: Floats) -> Any:
    size, convert, narrow = t.size, t[ANY], t[CONVERT["float64"]]
    labels, shares, squares = t[SOFTMAX_LABELS], t[SOFTMAX_PROBABILITIES], t[MSE]
    look = Floats("float64")[look_at_shares]

    @subroutine
    def take_rows(net, first, n, m):  # type: ignore[no-untyped-def]
        """Some rows: as float64 where they go or, of a float32 model, behind all of them."""
        y, loss = net.targets, net.loss_slot
        is_label = pick(loss - slot_of(labels), 0, 1)
        in_place = is_label | (size >> 3)
        to = net.targets_copy + first * m * pick(is_label, 8, size)
        at = pick(in_place, to, net.targets_copy + net.rows * m * size)
        status = call(kernel_at(convert, net.targets_from), Conversion(
            rows=n, columns=m,
            source=Matrix(data=y.data + first * y.row, row=y.row, column=y.column),
            to=Rows(data=at, row=m * 8),
        ))  # fmt: skip
        if status != OK:
            return status
        if is_label != 0:
            return pick(_number_labels(n, net.outputs, at), BAD_LABEL, OK)
        if loss != slot_of(squares):
            found = on_stack(Word(value=OK))
            status = call(look, Shares(
                n=n, m=m, at=at, adds_up=pick(loss - slot_of(shares), 0, 1), bad=address(found)
            ))  # fmt: skip
            if status | found.value != OK:
                return status | found.value
        if in_place == 0:
            return call(narrow, Conversion(
                rows=n, columns=m, source=Matrix(data=at, row=m * 8, column=8),
                to=Rows(data=to, row=m * size),
            ))  # fmt: skip
        return OK

    return take_rows


@kernel(Word)
def take_targets(t: Floats) -> Any:
    """value: the address of the table. BAD_LABEL: one is none."""
    size, labels, take_rows = t.size, t[SOFTMAX_LABELS], _take_rows(t)

    def body(p):  # type: ignore[no-untyped-def]
        net, status = view(p.value, Net), OK
        is_label = pick(net.loss_slot - slot_of(labels), 0, 1)
        m = pick(is_label, 1, net.outputs)
        # what is behind all rows has room for half of them, and one
        block = least(most(quotient(ELEMENTS, m), 1), (net.rows >> 1) + 1)
        for first in range(0, net.rows, block):
            if status == OK:
                status = take_rows(net, first, least(block, net.rows - first), m)
        net.targets.data, net.targets.column = net.targets_copy, size
        net.targets.row = pick(is_label, 8, m * size)
        return status

    return body


@kernel(Word)
def take_batch(t: Floats) -> Any:
    """value: the address of the table. BAD_LABEL, with nothing written but the memory for it:
    targets are none, or there is no memory yet."""
    convert, converted, of_targets = t[ANY], converted_of(t), t[take_targets]

    def body(p):  # type: ignore[no-untyped-def]
        net, status = view(p.value, Net), OK
        if net.x_copy == 0:
            net.wants_copies = 1
            return BAD_LABEL
        if net.weights_from != 0:
            source = Matrix(data=net.weights, row=net.weight_step, column=0)
            status = call(kernel_at(convert, net.weights_from), Conversion(
                rows=net.rows, columns=1, source=source, to=Rows(data=net.weights_copy, row=8)
            ))  # fmt: skip
            net.weights, net.weight_step = net.weights_copy, 8
        if net.targets_from != 0 and status == OK:
            status = call(of_targets, p)
        if net.x_from != 0 and status == OK:
            net.kept = 0  # what backward wants stands there
            status = converted(net.x_from, net.rows, net.inputs, net.x, net.x_copy)
        return status

    return body
