"""Small products of a stack, matrix by matrix: the loop over matrices is compiled with its tiles.

What is the same for all matrices is decided before the loop: how many vectors a row of C has, and
how many tiles of each height cover its rows. A tile keeps its chains in registers through the loop
over k as those of microkernel.py do, and reads operands where they lie. There is no prefetch: with
some, one thread took as long or longer, for L2 fetches such streams by itself.

Assumptions: B and C have unit stride along n, A any strides; k is at most KC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from ..codegen.calls import vector_function
from ..codegen.simd import Simd, Value, for_range, i64, keep_rolled
from ..codegen.target import current
from .args import Matrix, Rows
from .microkernel import relu_threshold

# What is done with a sum over k: it is stored, added to C, or + bias and through relu.
STORED, ADDED, FINISHED = range(3)


class Matrices(NamedTuple):
    """C (m, n) = or += A (m, k) · B (k, n) of matrices that lie ``step`` bytes apart."""

    matrices: int
    m: int
    n: int
    k: int
    a: Matrix  # of the first
    b: Rows
    c: Rows
    a_step: int
    b_step: int
    c_step: int
    vectors: int  # that n columns take, the last one masked; at most those of the widest tile
    epilogue: int
    bias: int  # of FINISHED: a row of n, or zeros (-0.0) and a step of 0
    bias_step: int
    relu: int  # of FINISHED: 1 or 0


_Masks = list[ir.Value | None]  # of a row of vectors


def heights(registers: int, vectors: int) -> list[int]:
    """Of the tiles that wide, tallest first; a quarter of the registers is left for operands."""
    tallest = min(16, registers * 3 // 4 // vectors)
    return [tallest, *(h for h in (8, 4, 2, 1) if h < tallest)]


@vector_function(Matrices)
def stack_tiles(ops: Simd, p: Matrices) -> None:
    b, isa = ops.builder, current().isa
    for vectors in range(1, isa.vectors + 1):
        with b.if_then(b.icmp_signed("==", p.vectors, i64(vectors))):
            _emit_matrices(ops, p, vectors, heights(isa.registers, vectors))
            b.ret_void()


def _emit_matrices(ops: Simd, p: Matrices, vectors: int, tall: list[int]) -> None:
    b = ops.builder
    tail = ops.first(b.sub(p.n, i64((vectors - 1) * ops.lanes)))
    masks: _Masks = [*[None] * (vectors - 1), tail]
    counts, left = [], p.m
    for height in tall:
        counts.append(b.udiv(left, i64(height)))
        left = b.sub(left, b.mul(counts[-1], i64(height)))
    with for_range(b, p.matrices) as i:
        a, from_b, c = (
            b.add(first.data, b.mul(i, step))
            for first, step in ((p.a, p.a_step), (p.b, p.b_step), (p.c, p.c_step))
        )
        for height, count in zip(tall, counts, strict=True):
            with for_range(b, count) as tile:
                row = b.mul(tile, i64(height))
                here = Matrix(b.add(a, b.mul(row, p.a.row)), p.a.row, p.a.column)
                to = Rows(b.add(c, b.mul(row, p.c.row)), p.c.row)
                _emit_tile(ops, p, i, here, from_b, to, height, masks)
            rows = b.mul(count, i64(height))
            a, c = b.add(a, b.mul(rows, p.a.row)), b.add(c, b.mul(rows, p.c.row))


_ROWS_PER_POINTER = 4  # rows addressed as p, p+s, p+2s, p+3s


def _emit_tile(
    ops: Simd,
    p: Matrices,
    i: ir.Value,
    a: Matrix,
    b_data: ir.Value,
    c: Rows,
    rows: int,
    masks: list[ir.Value | None],
) -> None:
    b, vectors = ops.builder, len(masks)
    groups = [b.add(a.data, b.mul(a.row, i64(r))) for r in range(0, rows, _ROWS_PER_POINTER)]
    steps = [i64(0), a.row, b.mul(a.row, i64(2)), b.mul(a.row, i64(3))]
    start = [p.k, *groups, b_data, *[ops.constant(0.0).ir] * (rows * vectors)]
    before = b.block
    loop, after = (b.append_basic_block(name) for name in ("steps", "sums"))
    b.cbranch(b.icmp_signed(">", p.k, i64(0)), loop, after)

    b.position_at_end(loop)
    state = [b.phi(x.type) for x in start]
    left, from_a, from_b, chains = (
        state[0], state[1 : 1 + len(groups)], state[1 + len(groups)], state[2 + len(groups) :],
    )  # fmt: skip
    columns = [ops.load(from_b, v * ops.bytes, mask) for v, mask in enumerate(masks)]
    fused: list[ir.Value] = []
    for r in range(rows):
        group, part = divmod(r, _ROWS_PER_POINTER)
        x = ops.broadcast(b.add(from_a[group], steps[part]) if part else from_a[group])
        fused += [
            ops.fma(x, column, Value(ops, chains[r * vectors + v])).ir
            for v, column in enumerate(columns)
        ]
    rest = b.sub(left, i64(1))
    following = [rest, *(b.add(x, a.column) for x in from_a), b.add(from_b, p.b.row), *fused]
    for phi, first, then in zip(state, start, following, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, loop)
    keep_rolled(b.cbranch(b.icmp_signed(">", rest, i64(0)), loop, after))

    b.position_at_end(after)
    sums = []
    for first, last in zip(start[-rows * vectors :], fused, strict=True):
        phi = b.phi(first.type)
        phi.add_incoming(first, before)
        phi.add_incoming(last, loop)
        sums.append(Value(ops, phi))
    _emit_epilogue(ops, p, i, sums, c, masks)


def _emit_epilogue(
    ops: Simd, p: Matrices, i: ir.Value, sums: list[Value], c: Rows, masks: _Masks
) -> None:
    b = ops.builder

    def store(result: Callable[[Value, ir.Value, int], Value]) -> None:
        """``result`` of a sum, its address and its vector."""
        for at, x in enumerate(sums):
            row, v = divmod(at, len(masks))
            to = b.add(b.add(c.data, b.mul(c.row, i64(row))), i64(v * ops.bytes))
            ops.store(result(x, to, v), to, 0, masks[v])

    with b.if_else(b.icmp_signed("==", p.epilogue, i64(STORED))) as (stored, other):
        with stored:
            store(lambda x, to, v: x)
        with other, b.if_else(b.icmp_signed("==", p.epilogue, i64(ADDED))) as (added, finished):
            with added:
                store(lambda x, to, v: ops.load(to, 0, masks[v]) + x)
            with finished:
                bias = b.add(p.bias, b.mul(i, p.bias_step))
                biases = [ops.load(bias, v * ops.bytes, mask) for v, mask in enumerate(masks)]
                threshold = relu_threshold(ops, p.relu)

                def finish(x: Value, to: ir.Value, v: int) -> Value:
                    z = x + biases[v]
                    return ops.select(z <= threshold, 0.0, z)

                store(finish)
