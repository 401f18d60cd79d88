"""Inference: rows of x through all layers of a net, and what is made of the logits.

Rows go through in blocks, whose hidden activations lie in two halves of one arena in turn: scratch
is bounded whatever the number of rows. Blocks are the tasks of a job where the net is small; a
large net goes product by product, each on all threads. A row depends on itself alone, so the bits
are the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir

from ..codegen.calls import call, nth, subroutine, vector_function
from ..codegen.integers import ceil_div, least, most, pick, quotient
from ..codegen.simd import FLOAT, I64, Simd, Value, at_most, for_range, i64
from ..codegen.structs import load, on_stack, pointer, view
from ..formulas import elementary
from ..gemm import thresholds
from ..gemm.args import IN_JOB, Formula, Matrix, Product, Rows
from ..gemm.dispatch import ensured, gemm
from ..gemm.elementwise import KERNELS, VALUE
from ..gemm.packing import copy
from ..runtime.pool_kernels import ensure, fork_join, run_task, threads_in_force
from ..runtime.registry import Floats, kernel, task
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from .args import Inference, Layer, Net
from .conversion import converted_of
from .loss_sums import RowSum, columns_of, narrowed
from .losses import COLUMNS
from .net import LAYER_BYTES, NET_BYTES
from .row_panels import ReadPanel, WritePanel, read_panel, write_panel

HALF = (ARENA_BYTES - HEADER) // 2  # bytes for the activations of a block of rows
ROWS = 256  # of a block, if they have room
SMALL_NET = 1 << 18  # elements of all weights: each thread packs them for itself
# What is made of the logits
LOGITS, SOFTMAX, SIGMOID, CLASSES, SIGNS = range(5)


class Scores(NamedTuple):
    """rows (rows, columns) of logits, and where what is made of them goes."""

    rows: int
    columns: int
    z: Rows
    to: int


@vector_function(Scores)
def largest(ops: Simd, p: Scores) -> None:
    """Of each row the number of the first largest logit, or of the first NaN."""
    b, kind = ops.builder, FLOAT[ops.itemsize]
    best, where = b.alloca(kind), b.alloca(I64)
    with for_range(b, p.rows) as r:
        row = b.add(p.z.data, b.mul(r, p.z.row))
        b.store(ir.Constant(kind, float("-inf")), best)
        b.store(i64(0), where)
        with for_range(b, p.columns) as c:
            at = ops.pointer(b.add(row, b.mul(c, i64(ops.itemsize))), 0, kind)
            x, before = b.load(at, align=ops.itemsize), b.load(best)
            is_number = b.fcmp_ordered("==", before, before)
            above = b.and_(b.fcmp_unordered(">", x, before), is_number)
            b.store(b.select(above, x, before), best)
            b.store(b.select(above, c, b.load(where)), where)
        b.store(b.load(where), pointer(b, b.add(p.to, b.mul(r, i64(8)))))


@vector_function(Scores)
def positive(ops: Simd, p: Scores) -> None:
    """1 where a logit is above 0, else 0."""
    b, kind = ops.builder, FLOAT[ops.itemsize]
    with for_range(b, p.rows) as r, for_range(b, p.columns) as c:
        at = b.add(b.add(p.z.data, b.mul(r, p.z.row)), b.mul(c, i64(ops.itemsize)))
        x = b.load(ops.pointer(at, 0, kind), align=ops.itemsize)
        found = b.zext(b.fcmp_ordered(">", x, ir.Constant(kind, 0.0)), I64)
        place = b.add(b.mul(r, p.columns), c)
        b.store(found, pointer(b, b.add(p.to, b.mul(place, i64(8)))))


class Softmax(NamedTuple):
    """z (rows, columns) becomes the probabilities of each row; scratch for one panel."""

    rows: int
    columns: int
    z: Rows
    panel: int


@vector_function(Softmax)
def softmax(ops: Simd, p: Softmax) -> None:
    """exp(z - max) / sum, the sum as losses.py adds along a row; lanes are rows."""
    b, size = ops.builder, i64(ops.itemsize)
    top, total = b.alloca(ops.float), RowSum(ops)

    def panels(first: ir.Value, rows: ir.Value, change: Any, writes: bool, *sums: RowSum) -> None:
        with for_range(b, p.columns, COLUMNS) as c:
            width = at_most(b, b.sub(p.columns, c), COLUMNS)
            at = b.add(b.add(p.z.data, b.mul(first, p.z.row)), b.mul(c, size))
            read_panel(ops, ReadPanel(rows, width, Matrix(at, p.z.row, size), p.panel))
            with columns_of(ops, width, *sums) as place:
                x = change(ops.load(place(p.panel)))
                if writes:
                    ops.store(x, place(p.panel))
            if writes:
                write_panel(ops, WritePanel(rows, width, p.panel, Rows(at, p.z.row)))

    def higher(x: Value) -> None:
        before = Value(ops, b.load(top))
        b.store(ops.select(x > before, x, before).ir, top)

    def exponential(x: Value) -> Value:
        e = elementary.exp(ops, x - Value(ops, b.load(top)))
        total.add(e)
        return e

    with for_range(b, p.rows, ops.lanes) as r:
        rows = at_most(b, b.sub(p.rows, r), ops.lanes)
        b.store(ops.constant(-elementary.INF).ir, top)
        total.begin()
        panels(r, rows, higher, False)
        panels(r, rows, exponential, True, total)
        inverse = 1.0 / narrowed(ops, total.value())
        panels(r, rows, inverse.__mul__, True)


@kernel(Scores, uses=(copy,))
def softmax_of_rows(t: Floats) -> Any:
    """z becomes the probabilities of each row."""
    normalize = t[softmax]

    def body(p):  # type: ignore[no-untyped-def]
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        call(normalize, Softmax(rows=p.rows, columns=p.columns, z=p.z,
                                panel=arena + HEADER))  # fmt: skip
        release(arena)
        return OK

    return body


def _finish(t: Floats) -> Any:
    sigmoid, classes, signs, normalize = t[KERNELS["sigmoid"]], t[largest], t[positive], t[softmax]

    @subroutine
    def finish(plan, first, rows, z, z_row):  # type: ignore[no-untyped-def]
        """From the logits of some rows to what is asked for."""
        m, what = view(plan.net, Net).outputs, plan.what
        logits = Rows(data=z, row=z_row)
        if what == LOGITS:
            return OK
        if what == SIGMOID:
            return call(sigmoid, Formula(rows=rows, columns=m, x=logits, y=logits))
        if what == SOFTMAX:
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            call(normalize, Softmax(rows=rows, columns=m, z=logits, panel=arena + HEADER))
            release(arena)
            return OK
        if what == CLASSES:
            to = plan.numbers + first * 8
            return call(classes, Scores(rows=rows, columns=m, z=logits, to=to))
        to = plan.numbers + first * m * 8
        return call(signs, Scores(rows=rows, columns=m, z=logits, to=to))

    return finish


@task(Inference)
def inference_rows(t: Floats) -> Any:
    """A block of rows through all layers."""
    size, product, finish, converted = t.size, t[gemm], _finish(t), converted_of(t)

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Inference)
        net = view(plan.net, Net)
        first = p.task * plan.block
        rows = least(plan.block, plan.rows - first)
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        half, other = arena + HEADER, arena + HEADER + HALF
        x, status = load(plan.x), OK
        x = Matrix(data=x.data + first * x.row, row=x.row, column=x.column)
        if plan.x_from != 0:  # into the half that the first layer does not write
            place = on_stack(x)
            status = converted(plan.x_from, rows, net.inputs, place, other)
            x = load(place)
        layers = plan.net + NET_BYTES
        for i in range(net.layers):
            layer = view(layers + i * LAYER_BYTES, Layer)
            to, row = half, layer.m * size
            if i == net.layers - 1 and plan.out.data != 0:
                to, row = plan.out.data + first * plan.out.row, plan.out.row
            status |= call(product, Product(
                m=rows, n=layer.m, k=layer.k, a=x,
                b=Matrix(data=layer.weight, row=layer.m * size, column=size),
                c=Matrix(data=to, row=row, column=size), z=Rows(data=0, row=0), bias=layer.bias,
                activation=layer.activation, accumulate=0, alone=plan.alone,
            ))  # fmt: skip
            x = Matrix(data=to, row=row, column=size)
            half, other = other, half
        if status == OK:
            status = finish(plan, first, rows, x.data, x.row)
        release(arena)
        return status

    return body


@kernel(Inference)
def inference(t: Floats) -> Any:
    size, one, value, ensure_product = t.size, t[inference_rows], t[VALUE], ensured(t)
    sigmoid = t[KERNELS["sigmoid"]]

    def body(p):  # type: ignore[no-untyped-def]
        net = view(p.net, Net)
        widest = most(net.widest, pick(p.out.data, 0, net.outputs))
        widest = most(widest, pick(p.x_from, net.inputs, 0))
        room = quotient(HALF, most(widest, 1) * size)
        p.block, p.alone = least(most(p.rows, 1), least(ROWS, room)), 0
        weights = quotient(net.row_fmas, 3)
        threads = 1
        if p.rows * weights * size >= 4 * thresholds.FORK_FMAS:
            threads = threads_in_force()
        status = OK
        if threads > 1 and weights <= SMALL_NET and p.rows > 1:
            status = ensure(sigmoid)
            if p.x_from != 0:
                status |= ensure(p.x_from)
            p.block = ceil_div(p.rows, most(2 * threads, ceil_div(p.rows, p.block)))
            for i in range(net.layers):
                layer = view(p.net + NET_BYTES + i * LAYER_BYTES, Layer)
                status |= ensure(nth(value, layer.activation))
                status |= ensure_product(p.block, layer.m, layer.k)
            if status != OK:
                return status
            p.alone = IN_JOB
            ns = quotient(p.rows * weights * size, 4 * thresholds.FMAS_PER_NS)
            return fork_join(one, p, ceil_div(p.rows, p.block), ns)
        for i in range(ceil_div(p.rows, p.block)):
            status |= run_task(one, p, i)
        return status

    return body
