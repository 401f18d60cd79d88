"""What losses are given, looked at before anything is written: labels, probabilities, weights."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from ..codegen import structs
from ..codegen.calls import subroutine, vector_function
from ..codegen.integers import bits_of, double, on_integers
from ..codegen.memory import word_pointer
from ..codegen.simd import FLOAT, I64, Simd, Value, for_range, i64
from ..codegen.structs import address
from ..gemm.args import Matrix
from ..runtime.registry import Floats
from .args import Loss


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
def bad_labels(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """How many labels are not from 0 to m - 1, of the rows that count."""
    p = structs.loaded(b, address, Loss)
    bad = cgutils.alloca_once_value(b, i64(0))
    ignores = b.icmp_signed("!=", p.ignores, i64(0))
    with for_range(b, p.n) as i:
        label = b.load(word_pointer(b, b.add(p.targets.data, b.mul(i, p.targets.row))))
        counts = b.not_(b.and_(ignores, b.icmp_signed("==", label, p.ignored)))
        is_bad = b.and_(b.icmp_unsigned(">=", label, p.m), counts)
        b.store(b.add(b.load(bad), b.zext(is_bad, I64)), bad)
    return b.load(bad)


@on_integers
def _sum_of_weights(b: ir.IRBuilder, address: ir.Value, kc: ir.Value) -> ir.Value:
    """The bits of the sum over the rows that count, chains over kc rows and then those; of -1.0 if
    a weight is negative or not finite."""
    p, kind = structs.loaded(b, address, Loss), FLOAT[8]
    zero, one = ir.Constant(kind, 0.0), ir.Constant(kind, 1.0)
    block, total, weight = (cgutils.alloca_once_value(b, zero) for _ in range(3))
    wrong = cgutils.alloca_once_value(b, ir.Constant(ir.IntType(1), 0))
    has_weights = b.icmp_signed("!=", p.weights, i64(0))
    ignores = b.icmp_signed("!=", p.ignores, i64(0))
    for variable in (block, total):
        b.store(zero, variable)
    with for_range(b, p.n) as i:
        b.store(one, weight)
        with b.if_then(has_weights):
            at = b.inttoptr(b.add(p.weights, b.mul(i, p.weight_step)), kind.as_pointer())
            b.store(b.load(at, align=1), weight)
        w = b.load(weight)
        right = b.and_(b.fcmp_ordered(">=", w, zero),
                       b.fcmp_ordered("<", w, ir.Constant(kind, float("inf"))))  # fmt: skip
        b.store(b.or_(b.load(wrong), b.not_(right)), wrong)
        with b.if_then(ignores):
            label = b.load(word_pointer(b, b.add(p.targets.data, b.mul(i, p.targets.row))))
            with b.if_then(b.icmp_signed("==", label, p.ignored)):
                b.store(zero, weight)
        b.store(b.fadd(b.load(block), b.load(weight)), block)
        ends = b.icmp_signed("==", b.urem(b.add(i, i64(1)), kc), i64(0))
        with b.if_then(ends):
            b.store(b.fadd(b.load(total), b.load(block)), total)
            b.store(zero, block)
    found = b.fadd(b.load(total), b.load(block))
    return b.bitcast(b.select(b.load(wrong), ir.Constant(kind, -1.0), found), I64)


def divisor_of(t: Floats) -> Any:
    """What the sum of losses is divided by, as bits: that of the struct or, where it is +0.0, the
    sum of weights, of losses of elements times m. Below 0.0 where a weight is wrong, 0.0 where no
    row counts."""
    kc = t.kc

    @subroutine
    def divisor_of(p, of_elements):  # type: ignore[no-untyped-def]
        given, total = double(p.divisor), float(p.n)
        if p.weights != 0 or p.ignores != 0:
            total = double(_sum_of_weights(address(p), kc))
            if total < 0.0:
                return bits_of(-1.0)
        if given != 0.0:
            return p.divisor
        if of_elements != 0:
            total *= float(p.m)
        return bits_of(total if total < math.inf else -1.0)

    return divisor_of
