"""A training step of a small net in two joins: by rows, and then by parameters.

A row of a batch depends on itself alone through all layers, forward and backward. So each thread
takes its rows through forward, loss and dX down to the first layer's H; join; then dW, db and the
optimizer's update of the same parameters are cut by parameters, each with its whole chain over the
rows; join. What one core wrote another reads twice a step, instead of three times a layer.

Assumption: the table has room for every layer's dF/dY of all rows. The bits are those of the step
product by product: no chain is cut, and the losses of the rows are added in the same order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, kernel_at, nth, slot_of, subroutine
from ..codegen.integers import ceil_div, double, least, most, pick, quotient
from ..codegen.structs import load, on_stack, view
from ..gemm import thresholds
from ..gemm.args import IN_JOB, Matrix, Product, Rows
from ..gemm.dispatch import ensured, gemm
from ..gemm.elementwise import BACKWARD, VALUE, Derivative
from ..gemm.reduce import AddBlocks, ColumnSums, add_blocks, column_sums
from ..runtime.pool_kernels import ensure, fork_join
from ..runtime.registry import Floats, kernel, task
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import BAD_LABEL, OK, OUT_OF_MEMORY
from .args import Layer, Loss, Net, Update
from .loss_checks import divisor_of
from .loss_sums import RowLosses, mean_of_rows
from .losses import MSE, SOFTMAX_LABELS, SOFTMAX_PROBABILITIES
from .net import LAYER_BYTES, LOSS_OFFSET, NET_BYTES
from .optimizers import update, update_some_of

SUMS = 4096  # columns of dF/dZ at a time
ROWS = 4  # of a task at least: fewer would leave registers of a tile empty
PIECE = 4096  # parameters of a task at least
PIECES = 2  # of all parameters, a thread


class RowsPlan(NamedTuple):
    """A job over rows; task t has rows t * rows ..."""

    net: int  # address of a Net
    rows: int
    divisor: int  # of the batch's loss, the bits of a float64


class ParametersPlan(NamedTuple):
    """A job over parameters: rows of each layer's weight, layer by layer; see ``piece``."""

    net: int
    piece: int  # parameters of a task, about
    update: Update  # of all parameters; mode -1: they are not updated
    accumulate: int  # 1: gradients are added to those that are there


def _forward(t: Floats) -> Any:
    size, product = t.size, t[gemm]

    @subroutine
    def forward(net, layers, r, rows):  # type: ignore[no-untyped-def]
        x, status = load(net.x), OK
        x = Matrix(data=x.data + r * x.row, row=x.row, column=x.column)
        for i in range(net.layers):
            layer = view(layers + i * LAYER_BYTES, Layer)
            to = Matrix(data=layer.y + r * layer.row, row=layer.row, column=size)
            status |= call(product, Product(
                m=rows, n=layer.m, k=layer.k, a=x,
                b=Matrix(data=layer.weight, row=layer.m * size, column=size), c=to,
                z=Rows(data=pick(layer.z, layer.z + r * layer.row, 0), row=layer.row),
                bias=layer.bias, activation=layer.activation, accumulate=0, alone=IN_JOB,
            ))  # fmt: skip
            x = to
        return status

    return forward


def _backward(t: Floats) -> Any:
    size, product, derivative = t.size, t[gemm], t[BACKWARD]

    @subroutine
    def backward(net, layers, r, rows, sums):  # type: ignore[no-untyped-def]
        """dF/dZ of each layer where its dF/dY is, from the last one down; nobody asks for sums."""
        status = OK
        for i in range(net.layers - 1, -1, -1):
            layer = view(layers + i * LAYER_BYTES, Layer)
            m, row = layer.m, layer.row
            g = layer.g + r * row
            if layer.activation != 0:
                saved = pick(layer.z, layer.z, layer.y) + r * row
                for c in range(0, m, SUMS):
                    here = c * size
                    status |= call(nth(derivative, layer.activation), Derivative(
                        rows=rows, columns=least(SUMS, m - c), x=Rows(data=g + here, row=row),
                        s=Rows(data=saved + here, row=row), y=Rows(data=g + here, row=row),
                        sums=sums,
                    ))  # fmt: skip
            if i > 0:
                below = view(layers + (i - 1) * LAYER_BYTES, Layer)
                status |= call(product, Product(
                    m=rows, n=layer.k, k=m, a=Matrix(data=g, row=row, column=size),
                    b=Matrix(data=layer.weight, row=size, column=m * size),
                    c=Matrix(data=below.g + r * below.row, row=below.row, column=size),
                    z=Rows(data=0, row=0), bias=0, activation=0, accumulate=0, alone=IN_JOB,
                ))  # fmt: skip
        return status

    return backward


@task(RowsPlan)
def step_rows(t: Floats) -> Any:
    """Some rows, forward and backward."""
    size, any_loss = t.size, t[MSE]
    forward, backward = _forward(t), _backward(t)
    assert HEADER + SUMS * 8 <= ARENA_BYTES

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, RowsPlan)
        net, layers = view(plan.net, Net), plan.net + NET_BYTES
        r = p.task * plan.rows
        rows = least(plan.rows, net.rows - r)
        status = forward(net, layers, r, rows)
        last = view(layers + (net.layers - 1) * LAYER_BYTES, Layer)
        targets = net.targets
        if status == OK:
            status = call(kernel_at(any_loss, net.loss_slot), Loss(
                n=rows, m=last.m,
                logits=Matrix(data=last.y + r * last.row, row=last.row, column=size),
                targets=Matrix(data=targets.data + r * targets.row, row=targets.row,
                               column=targets.column),
                grad=Rows(data=last.g + r * last.row, row=last.row), loss=0,
                smoothing=net.smoothing, divisor=plan.divisor,
                row_losses=net.row_losses + r * 8,
                weights=pick(net.weights, net.weights + r * net.weight_step, 0),
                weight_step=net.weight_step, ignores=0, ignored=0, positive=0, positive_step=0,
            ))  # fmt: skip
        if status != OK:
            return status
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        status = backward(net, layers, r, rows, arena + HEADER)
        release(arena)
        return status

    return body


@subroutine
def piece_rows(layer, piece):  # type: ignore[no-untyped-def]
    """Rows of a layer's weight in a piece."""
    return least(layer.k, most(ceil_div(piece, layer.m), 1))


def _bias(t: Floats) -> Any:
    size, kc, sum_up, add_up = t.size, t.kc, t[column_sums], t[add_blocks]

    @subroutine
    def bias_gradient(layer, n, sums, accumulate):  # type: ignore[no-untyped-def]
        """db, the column sums of dF/dZ: chains over KC rows, then those."""
        for r in range(0, n, kc):
            for c in range(0, layer.m, SUMS):
                columns, here = least(SUMS, layer.m - c), c * size
                h = Rows(data=layer.g + r * layer.row + here, row=layer.row)
                db = layer.bias_grad + here
                call(sum_up, ColumnSums(rows=least(kc, n - r), columns=columns, h=h,
                                        out=pick(r + accumulate, sums, db)))  # fmt: skip
                if r + accumulate > 0:
                    call(add_up, AddBlocks(n=columns, start=db, first=sums, blocks=1, step=0,
                                           to=db))  # fmt: skip
        return OK

    return bias_gradient


@task(ParametersPlan)
def step_parameters(t: Floats) -> Any:
    """A piece of a layer's weight, with its first piece the bias: gradient and update."""
    size, product = t.size, t[gemm]
    update_some, bias_gradient = update_some_of(t), _bias(t)

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, ParametersPlan)
        net, layers = view(plan.net, Net), plan.net + NET_BYTES
        left, i = p.task, 0
        layer = view(layers, Layer)
        rows = piece_rows(layer, plan.piece)
        while left >= ceil_div(layer.k, rows):  # whose piece is it?
            left -= ceil_div(layer.k, rows)
            i += 1
            layer = view(layers + i * LAYER_BYTES, Layer)
            rows = piece_rows(layer, plan.piece)
        x = load(net.x)
        if i > 0:
            below = view(layers + (i - 1) * LAYER_BYTES, Layer)
            x = Matrix(data=below.y, row=below.row, column=size)
        k, m = left * rows, layer.m
        count = least(rows, layer.k - k)
        at = k * m * size
        status = call(product, Product(
            m=count, n=m, k=net.rows,
            a=Matrix(data=x.data + k * x.column, row=x.column, column=x.row),
            b=Matrix(data=layer.g, row=layer.row, column=size),
            c=Matrix(data=layer.weight_grad + at, row=m * size, column=size),
            z=Rows(data=0, row=0), bias=0, activation=0, accumulate=plan.accumulate, alone=IN_JOB,
        ))  # fmt: skip
        whole = plan.update
        if status == OK:
            first = quotient(layer.weight_grad - whole.grad, size) + k * m
            status = update_some(whole, first, count * m)
        if left == 0 and status == OK:
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            bias_gradient(layer, net.rows, arena + HEADER, plan.accumulate)
            release(arena)
            status = update_some(whole, quotient(layer.bias_grad - whole.grad, size), m)
        return status

    return body


def _ensure_all(t: Floats) -> Any:
    one, ensure_product = t[update], ensured(t)
    value, derivative = t[VALUE], t[BACKWARD]

    @subroutine
    def ensure_all(net, layers, rows):  # type: ignore[no-untyped-def]
        """What tasks call is compiled before them."""
        status = ensure(one) | ensure(net.loss_slot)
        for i in range(net.layers):
            layer = view(layers + i * LAYER_BYTES, Layer)
            m, k, activation = layer.m, layer.k, layer.activation
            status |= ensure_product(rows, m, k) | ensure_product(k, m, net.rows)
            if i > 0:
                status |= ensure_product(rows, k, m)
            if activation != 0:
                status |= ensure(nth(value, activation)) | ensure(nth(derivative, activation))
        return status

    return ensure_all


class Joined(NamedTuple):
    """A step's gradients and, unless ``update.mode`` is -1, its update of the parameters."""

    net: int
    threads: int
    update: Update
    accumulate: int


@kernel(Joined)
def joined_step(t: Floats) -> Any:
    """Parameters change when all rows are done."""
    size, by_rows, by_parameters = t.size, t[step_rows], t[step_parameters]
    ensure_all, add_losses, find_divisor = _ensure_all(t), t[mean_of_rows], divisor_of(t)
    labels, shares = t[SOFTMAX_LABELS], t[SOFTMAX_PROBABILITIES]

    def body(p):  # type: ignore[no-untyped-def]
        net, layers, threads = view(p.net, Net), p.net + NET_BYTES, p.threads
        n, parameters = net.rows, quotient(net.row_fmas, 3)
        rows_of_task = most(ceil_div(n, threads), ROWS)
        status = ensure_all(net, layers, rows_of_task)
        if status != OK:
            return status
        is_softmax = net.loss_slot == slot_of(labels) or net.loss_slot == slot_of(shares)
        none = Matrix(data=0, row=0, column=0)
        divisor = find_divisor(on_stack(Loss(
            n=n, m=net.outputs, logits=none, targets=none, grad=Rows(data=0, row=0), loss=0,
            smoothing=0, divisor=net.divisor, row_losses=0, weights=net.weights,
            weight_step=net.weight_step, ignores=0, ignored=0, positive=0, positive_step=0,
        )), 0 if is_softmax else 1)  # fmt: skip
        if not double(divisor) > 0.0:
            return BAD_LABEL
        rows = on_stack(RowsPlan(
            net=p.net, rows=rows_of_task, divisor=divisor,
        ))  # fmt: skip
        ns = quotient(2 * n * parameters * size, 4 * thresholds.FMAS_PER_NS)
        status = fork_join(by_rows, rows, ceil_div(n, rows.rows), ns)
        if status != OK:
            return status
        call(add_losses, RowLosses(n=n, row_losses=net.row_losses, divisor=divisor,
                                   loss=p.net + LOSS_OFFSET))  # fmt: skip
        piece = most(ceil_div(parameters, PIECES * threads), PIECE)
        plan = on_stack(ParametersPlan(net=p.net, piece=piece, update=p.update,
                                       accumulate=p.accumulate))  # fmt: skip
        tasks = 0
        for i in range(net.layers):
            layer = view(layers + i * LAYER_BYTES, Layer)
            tasks += ceil_div(layer.k, piece_rows(layer, piece))
        ns = quotient(n * parameters * size, 4 * thresholds.FMAS_PER_NS)
        return fork_join(by_parameters, plan, tasks, ns)

    return body
