"""A batch that kernels cannot read where it lies: converted and looked at, into a net's own memory.

In: the table, with the batch and, for each of x, targets and weights, the slot of the kernel that
converts it, or 0. Out: the table, with where they lie now. Targets go by way of float64, in which
labels and shares are looked at as they were given, and then become what the loss reads.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ..codegen.calls import call, kernel_at, slot_of, subroutine
from ..codegen.integers import on_integers, pick
from ..codegen.memory import word_pointer
from ..codegen.simd import FLOAT, I64, for_range, i64
from ..codegen.structs import load, view
from ..gemm.args import Matrix, Rows
from ..runtime.registry import Floats, Word, kernel
from ..runtime.table import BAD_LABEL, OK
from .args import Net
from .conversion import ANY, CONVERT, Conversion
from .losses import MSE, SOFTMAX_LABELS, SOFTMAX_PROBABILITIES

# A row of shares sums to 1 within 1e-3 in every order of its sum: they differ by less than 1e-6.
NEAR = 1e-3 - 1e-6


@on_integers
def _number_labels(b: ir.IRBuilder, n: ir.Value, m: ir.Value, at: ir.Value) -> ir.Value:
    """(n,) float64 become int64; how many are not from 0 to m - 1."""
    bad, end = cgutils.alloca_once_value(b, i64(0)), b.sitofp(m, FLOAT[8])
    zero = FLOAT[8](0.0)
    with for_range(b, n) as i:
        place = word_pointer(b, at, i)
        label = b.bitcast(b.load(place), FLOAT[8])
        right = b.and_(b.fcmp_ordered(">=", label, zero), b.fcmp_ordered("<", label, end))
        b.store(b.add(b.load(bad), b.zext(b.not_(right), I64)), bad)
        b.store(b.fptosi(b.select(right, label, zero), I64), place)
    return b.load(bad)


@on_integers
def _bad_shares(
    b: ir.IRBuilder, n: ir.Value, m: ir.Value, at: ir.Value, adds_up: ir.Value
) -> ir.Value:
    """How many of (n, m) float64 are not from 0 to 1 and, where adds_up, rows not 1 in all."""
    zero, one, near = (FLOAT[8](x) for x in (0.0, 1.0, NEAR))
    bad, total = cgutils.alloca_once_value(b, i64(0)), cgutils.alloca_once_value(b, zero)

    def count(wrong: ir.Value) -> None:
        b.store(b.add(b.load(bad), b.zext(wrong, I64)), bad)

    with for_range(b, n) as r:
        row = b.add(at, b.mul(r, b.mul(m, i64(8))))
        b.store(zero, total)
        with for_range(b, m) as c:
            share = b.bitcast(b.load(word_pointer(b, row, c)), FLOAT[8])
            right = b.and_(b.fcmp_ordered(">=", share, zero), b.fcmp_ordered("<=", share, one))
            count(b.not_(right))
            b.store(b.fadd(b.load(total), share), total)
        off = b.fsub(b.load(total), one)
        right = b.and_(b.fcmp_ordered("<=", off, near), b.fcmp_ordered(">=", off, b.fneg(near)))
        count(b.and_(b.icmp_signed("!=", adds_up, i64(0)), b.not_(right)))
    return b.load(bad)


def _take_targets(t: Floats) -> Any:
    size, convert, narrow = t.size, t[ANY], t[CONVERT["float64"]]
    labels, shares, squares = t[SOFTMAX_LABELS], t[SOFTMAX_PROBABILITIES], t[MSE]

    @subroutine
    def take_targets(net):  # type: ignore[no-untyped-def]
        n, to, loss = net.rows, net.targets_copy, net.loss_slot
        m = pick(loss - slot_of(labels), net.outputs, 1)
        wide = Rows(data=to, row=m * 8)
        status = call(kernel_at(convert, net.targets_from), Conversion(
            rows=n, columns=m, source=load(net.targets), to=wide
        ))  # fmt: skip
        if status != OK:
            return status
        net.targets.data, net.targets.row, net.targets.column = to, m * size, size
        if loss == slot_of(labels):
            net.targets.row = 8
            return pick(_number_labels(n, net.outputs, to), BAD_LABEL, OK)
        if loss != slot_of(squares):
            if _bad_shares(n, m, to, loss == slot_of(shares)) != 0:
                return BAD_LABEL
        if size == 4:
            source = Matrix(data=to, row=m * 8, column=8)
            return call(narrow, Conversion(
                rows=n, columns=m, source=source, to=Rows(data=to, row=m * size)
            ))  # fmt: skip
        return OK

    return take_targets


@kernel(Word)
def take_batch(t: Floats) -> Any:
    """value: the address of the table. BAD_LABEL, with nothing written but the memory for it:
    targets are none, or there is no memory yet."""
    size, convert, take_targets = t.size, t[ANY], _take_targets(t)

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
            status = take_targets(net)
        if net.x_from != 0 and status == OK:
            net.kept = 0  # what backward wants stands there
            to = Rows(data=net.x_copy, row=net.inputs * size)
            status = call(kernel_at(convert, net.x_from), Conversion(
                rows=net.rows, columns=net.inputs, source=load(net.x), to=to
            ))  # fmt: skip
            net.x.data, net.x.row, net.x.column = net.x_copy, net.inputs * size, size
        return status

    return body
