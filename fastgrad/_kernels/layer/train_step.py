"""A training step: forward, loss, backward and optimizer of a net that a table describes.

In: the table, a Net and then its Layers, which may have any number, widths and activations; x and
targets of any strides. Out: changed parameters, their gradients, and the loss, in the table. The
bits are those of the same kernels called one by one, and those of the parts of a step, which are
kernels as well: net_gradients, or those of kept_pass.py, and net_update.
"""

from __future__ import annotations

from typing import Any

from ..codegen.calls import call, kernel_at, nth, subroutine
from ..codegen.integers import bits_of, ceil_div, least, most, pick, quotient
from ..codegen.structs import address, load, on_stack, view
from ..gemm import thresholds
from ..gemm.args import ALONE, Matrix, Product, Rows
from ..gemm.dispatch import gemm
from ..gemm.elementwise import BACKWARD
from ..runtime.pool_kernels import ensure, now, share, threads_in_force
from ..runtime.registry import Floats, Word, kernel
from ..runtime.table import BAD_LABEL, OK
from .args import (
    ActivationGradientPlan,
    Backward,
    Gradients,
    Layer,
    Loss,
    Net,
    Sgd,
)
from .backward import activation_gradient, linear_backward
from .clipping import clip_layers
from .joined_step import Joined, joined_step
from .losses import MSE
from .net import LAYER_BYTES, LOSS_OFFSET, NET_BYTES
from .optimizers import (
    NO_UPDATE,
    plan_adam,
    plan_sgd,
    tiny_of,
    update_elements,
)
from .optimizers import SHARED as UPDATE_SHARED
from .owned_update import update_by_owners_of

BY_PRODUCT = 0  # or ALONE, as products take it
MANY_STEPS, MOST_NS = 1 << 13, 1 << 62
SHARED = 1 << 14  # elements of dF/dZ that are worth several threads


def forward_of(t: Floats) -> Any:
    size, product = t.size, t[gemm]

    @subroutine
    def forward(net, alone):  # type: ignore[no-untyped-def]
        n, x, status = net.rows, load(net.x), OK
        first = address(net) + NET_BYTES
        for i in range(net.layers):
            layer = view(first + i * LAYER_BYTES, Layer)
            m, row = layer.m, layer.row
            status |= call(product, Product(
                m=n, n=m, k=layer.k, a=x,
                b=Matrix(data=layer.weight, row=m * size, column=size),
                c=Matrix(data=layer.y, row=row, column=size), z=Rows(data=layer.z, row=row),
                bias=layer.bias, activation=layer.activation, accumulate=0, alone=alone,
            ))  # fmt: skip
            x = Matrix(data=layer.y, row=row, column=size)
        return status

    return forward


def _activation_gradient(t: Floats) -> Any:
    size, kc = t.size, t.kc
    gradient, derivative = t[activation_gradient], t[BACKWARD]

    @subroutine
    def form_h(layer, g, r, rows, add, alone):  # type: ignore[no-untyped-def]
        """H in place of G, and db on the way.

        That is the one pass that db, a sum in the order of the rows, costs anyway.
        """
        m, row = layer.m, layer.row
        status = ensure(nth(derivative, layer.activation))
        if status != OK:
            return status
        shared = alone == 0 and rows * m >= SHARED
        wide = least(kc, most(64, ceil_div(m, threads_in_force() if shared else 1)))
        saved = pick(layer.z, layer.z, layer.y) + r * row
        plan = on_stack(ActivationGradientPlan(
            rows=rows, columns=m, g=Matrix(data=g, row=row, column=size),
            saved=Matrix(data=saved, row=row, column=size), h=Rows(data=g, row=row),
            db=layer.bias_grad, accumulate_b=add, activation=layer.activation, wide=wide,
        ))  # fmt: skip
        tasks = ceil_div(m, wide)
        return share(gradient, plan, tasks, rows * m, alone)

    return form_h


def _backward_rows(t: Floats) -> Any:
    size, backward, form_h = t.size, t[linear_backward], _activation_gradient(t)

    @subroutine
    def backward_rows(net, r, rows, accumulate, alone, to, to_row):  # type: ignore[no-untyped-def]
        """All layers, of rows from r on: the last one's G is whole, the others hold these rows.

        to: where dX of the input goes, or 0.
        """
        first = address(net) + NET_BYTES
        add, last, status = pick(r + accumulate, 1, 0), net.layers - 1, OK
        for i in range(last, -1, -1):
            layer = view(first + i * LAYER_BYTES, Layer)
            m, row, db = layer.m, layer.row, layer.bias_grad
            x = load(net.x)
            dx = Matrix(data=pick(to, to + r * to_row, 0), row=to_row, column=size)
            if i > 0:
                below = view(first + (i - 1) * LAYER_BYTES, Layer)
                x = Matrix(data=below.y, row=below.row, column=size)
                dx = Matrix(data=below.g, row=below.row, column=size)
            g = layer.g + pick(i - last, 0, r * row)
            if layer.activation != 0:
                if status == OK:
                    status = form_h(layer, g, r, rows, add, alone)
                db = 0
            if status == OK:
                status = call(backward, Backward(
                    n=rows, k=layer.k, m=m, g=Matrix(data=g, row=row, column=size),
                    x=Matrix(data=x.data + r * x.row, row=x.row, column=x.column),
                    w=Matrix(data=layer.weight, row=m * size, column=size),
                    saved=Matrix(data=0, row=0, column=0), dx=dx,
                    dw=Matrix(data=layer.weight_grad, row=m * size, column=size), db=db,
                    activation=0, accumulate_x=0, accumulate_w=add, accumulate_b=add, alone=alone,
                ))  # fmt: skip
        return status

    return backward_rows


def backward_of(t: Floats) -> Any:
    backward_rows = _backward_rows(t)

    @subroutine
    def backward(net, accumulate, alone, to, to_row):  # type: ignore[no-untyped-def]
        """From dF/dY of the last layer, a block of rows after the other."""
        n, status = net.rows, OK
        for r in range(0, n, net.block):
            status |= backward_rows(net, r, least(net.block, n - r), accumulate, alone, to, to_row)
        return status

    return backward


def _gradients(t: Floats) -> Any:
    size, any_loss = t.size, t[MSE]
    forward, backward = forward_of(t), backward_of(t)

    @subroutine
    def gradients(net, accumulate, alone):  # type: ignore[no-untyped-def]
        """Forward, loss and backward, product by product, each on all threads unless alone."""
        n, base = net.rows, address(net)
        status = forward(net, alone)
        if status != OK:
            return status
        last = view(base + NET_BYTES + (net.layers - 1) * LAYER_BYTES, Layer)
        status = call(kernel_at(any_loss, net.loss_slot), Loss(
            n=n, m=last.m, logits=Matrix(data=last.y, row=last.row, column=size),
            targets=net.targets, grad=Rows(data=last.g, row=last.row), loss=base + LOSS_OFFSET,
            smoothing=net.smoothing, divisor=net.divisor, row_losses=0, weights=net.weights,
            weight_step=net.weight_step, ignores=0, ignored=0, positive=0, positive_step=0,
        ))  # fmt: skip
        if status != OK:
            return status
        return backward(net, accumulate, alone, 0, 0)

    return gradients


@subroutine
def _plan_update(net, plan, tiny):  # type: ignore[no-untyped-def]
    """The optimizer's update of all parameters in this step."""
    words = net.optimizer.words
    if net.optimizer.counts_steps == 0:
        return plan_sgd(view(address(words), Sgd), plan)
    words.step = net.steps + 1
    return plan_adam(words, plan, tiny)


@subroutine
def _moved_lines(net, size):  # type: ignore[no-untyped-def]
    """Cache lines that all threads together fetch from other cores, in a step in two joins.

    Each layer's H and dF/dY, written by rows, are read by parameters; these the other way round.
    """
    first, bytes_moved = address(net) + NET_BYTES, 0
    for i in range(net.layers):
        layer = view(first + i * LAYER_BYTES, Layer)
        bytes_moved += 2 * net.rows * layer.row + layer.k * layer.m * size
    return bytes_moved >> 6


@subroutine
def _way_of(net, start, size):  # type: ignore[no-untyped-def]
    """How a step goes: BY_PRODUCT, ALONE, or in two joins on this many threads, 2 or more.

    What computes the same bits may be tried: some steps alone and, where that is not hopeless, some
    in two joins. The fastest ones decide, for the next MANY_STEPS.
    """
    if net.row_losses == 0 or net.rows < thresholds.JOINED_ROWS:
        return BY_PRODUCT
    if net.passes & (MANY_STEPS - 1) == 0:
        net.alone_ns = net.joined_ns = MOST_NS
        net.tried = 0
    threads = threads_in_force()
    if threads == 1 or start == 0 or net.tried < thresholds.TRIALS:
        return ALONE
    alone = (net.rows * net.alone_ns) >> 8
    lines = quotient(_moved_lines(net, size), threads)
    if alone - quotient(alone, threads) < 2 * thresholds.JOIN_NS + lines * thresholds.LINE_NS:
        return ALONE
    trying = net.tried < thresholds.TRIALS + thresholds.JOINED_TRIALS
    return threads if trying or net.joined_ns < net.alone_ns - (net.alone_ns >> 5) else ALONE


@subroutine
def _note_time(net, way, ns):  # type: ignore[no-untyped-def]
    """Of a step that was tried."""
    mine = quotient(ns << 8, net.rows)
    net.passes += 1
    if way == ALONE and net.tried < thresholds.TRIALS:
        net.alone_ns = least(net.alone_ns, mine)
        net.tried += 1
    if way > ALONE and net.tried < thresholds.TRIALS + thresholds.JOINED_TRIALS:
        net.joined_ns = least(net.joined_ns, mine)
        net.tried += 1
    return OK


@subroutine
def _note(net, status):  # type: ignore[no-untyped-def]
    """What there is after a pass with this status. A label that is none ends it in its beginning,
    when no gradient has been written yet."""
    net.kept = 0
    if status != BAD_LABEL:
        net.has_gradients = pick(status, 0, 1)
    return status


@kernel(Word)
def train_step(t: Floats) -> Any:
    """value: the address of the table. Parameters change when all else is done."""
    size, clip, joined, gradients = t.size, t[clip_layers], t[joined_step], _gradients(t)
    all_elements, tiny, by_owners = update_elements(t), tiny_of(t.size), update_by_owners_of(t)

    def body(p):  # type: ignore[no-untyped-def]
        net = view(p.value, Net)
        plan = on_stack(NO_UPDATE)
        _plan_update(net, plan, bits_of(tiny))
        clips, start = net.max_norm != 0, now()
        way = _way_of(net, start, size)
        if way > ALONE:
            mode = plan.mode
            if clips:
                plan.mode = -1
            status = call(joined, Joined(net=p.value, threads=way, update=plan, accumulate=0))
            plan.mode = mode
        else:
            status = gradients(net, 0, way)
        _note(net, status)
        if status == OK and clips:
            status = call(clip, p)
        if status == OK and (clips or way <= ALONE):
            threads = 1
            if way == BY_PRODUCT and plan.size >= UPDATE_SHARED:
                threads = threads_in_force()
            if threads > 1:
                status = by_owners(net, p.value, plan, threads)
            else:
                status = all_elements(plan)
        if status == OK:
            _note_time(net, way, now() - start)
            net.steps += 1
        return status

    return body


@kernel(Gradients)
def net_gradients(t: Floats) -> Any:
    """A step without its update. dX is not formed."""
    size, joined, gradients = t.size, t[joined_step], _gradients(t)

    def body(p):  # type: ignore[no-untyped-def]
        net, start = view(p.net, Net), now()
        way = _way_of(net, start, size)
        if way > ALONE:
            plan = on_stack(NO_UPDATE)
            plan.mode = -1
            status = call(joined, Joined(
                net=p.net, threads=way, update=plan, accumulate=p.accumulate
            ))  # fmt: skip
        else:
            status = gradients(net, p.accumulate, way)
        if status == OK:
            _note_time(net, way, now() - start)
        return _note(net, status)

    return body


@kernel(Word)
def net_update(t: Floats) -> Any:
    """The rest of a step: clipping, and the optimizer. value: the address of the table."""
    clip, all_elements, tiny = t[clip_layers], update_elements(t), tiny_of(t.size)

    def body(p):  # type: ignore[no-untyped-def]
        net, status = view(p.value, Net), OK
        plan = on_stack(NO_UPDATE)
        _plan_update(net, plan, bits_of(tiny))
        net.kept = 0
        if net.max_norm != 0:
            status = call(clip, p)
        if status == OK:
            status = all_elements(plan)
        if status == OK:
            net.steps += 1
        return status

    return body
