"""What each builtin of entries.py does, emitted: what it requires, results, descriptor, kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from ..codegen.simd import for_range
from ..codegen.words import Word
from ..formulas.activations import TABLE
from ..gemm.dispatch import GEMM
from ..layer.backward import BACKWARD_KERNEL
from ..runtime.jit import READY, SLOTS
from . import objects
from .frame import Frame
from .operands import Array, apart

# The object that a product belongs to says which operand is given transposed.
NEITHER, FIRST, SECOND = None, False, True


def product(f: Frame) -> ir.Value:
    """c (m, n) = or += a (m, k) . b (k, n)"""
    a, b, out, accumulate = f.objects
    is_new, add = f.is_none(out), f.flag(accumulate)
    left, right = f.arrays((a, 2), (b, 2))
    left = left.turned_where(f.self_ == f.known(objects.FALSE))
    right = right.turned_where(f.self_ == f.known(objects.TRUE))
    (m, k), (k_of_b, n) = left.lengths, right.lengths
    given = f.array_where(~is_new, out, 2, is_output=True)
    to = given.span()
    f.require(
        k == k_of_b,
        ~(is_new & add),
        is_new | given.has_lengths((m, n)),
        given.is_dense(),
        apart(to, left.span()),
        apart(to, right.span()),
    )
    c, made = f.new_where(is_new, given, (m, n))
    with f.gil_released_where(f.is_long(m * n * k, m * n, m * k, k * n)):
        status = f.kernel(f.of_dtype(GEMM), _descriptor(f, left, right, c, add))
    f.check(status)
    return f.answer(f.reference(out, made))


def _descriptor(f: Frame, a: Array, b: Array, c: Array, add: Word) -> Sequence[Word]:
    (m, k), (_, n) = a.lengths, b.lengths
    zero = f.constant(0)
    return (m, n, k, *a.words, *b.words, *c.words, *[zero] * 4, add.choose(1, zero), zero)


def product_stack(f: Frame) -> ir.Value:
    """c (s, m, n) = or += a (s, m, k) . b (s, k, n), matrix by matrix.

    That the matrices of c do not overlap each other, the caller has made sure of.
    """
    a, b, out, accumulate = f.objects
    add = f.flag(accumulate)
    left, right, c = f.arrays((a, 3), (b, 3), (out, 3))
    (s, m, k), (s_of_b, k_of_b, n) = left.lengths, right.lengths
    to = c.span()
    f.require(
        f.is_writeable(out),
        k == k_of_b,
        s == s_of_b,
        c.has_lengths((s, m, n)),
        c.is_dense(),
        apart(to, left.span()),
        apart(to, right.span()),
    )
    total = f.variable()
    with f.gil_released_where(f.is_long(s * m * n * k, s * m * n, s * m * k, s * k * n)):
        with for_range(f.b, s.ir) as i:
            a_i, b_i, c_i = (stack.matrix(Word(f.b, i)) for stack in (left, right, c))
            status = f.kernel(f.of_dtype(GEMM), _descriptor(f, a_i, b_i, c_i, add))
            f.set(total, f.get(total) | status)
    f.check(f.get(total))
    return f.answer(f.reference(out))


def forward(f: Frame) -> ir.Value:
    """y (n, m) = act(z), z (n, m) = x (n, k) . w (k, m) + bias (m,)"""
    x, weight, bias, activation, out, z_out = f.objects
    is_new, no_bias, no_z = f.is_none(out), f.is_none(bias), f.is_none(z_out)
    code = f.activation(activation)
    left, right = f.arrays((x, 2), (weight, 2))
    (n, k), (k_of_w, m) = left.lengths, right.lengths
    row = f.array_where(~no_bias, bias, 1)
    given = f.array_where(~is_new, out, 2, is_output=True)
    z = f.array_where(~no_z, z_out, 2, is_output=True)
    inputs = [a.span() for a in (left, right, row)]
    to_y, to_z = given.span(), z.span()
    f.require(
        k == k_of_w,
        no_bias | row.has_lengths((m,)),
        row.is_dense_vector(),
        is_new | given.has_lengths((n, m)),
        given.has_dense_rows(),
        no_z | z.has_lengths((n, m)),
        z.has_dense_rows(),
        apart(to_y, to_z),
        *(apart(to, read) for to in (to_y, to_z) for read in inputs),
    )
    y, made = f.new_where(is_new, given, (n, m))
    zero = f.constant(0)
    with f.gil_released_where(f.is_long(n * k * m, n * m, n * k, k * m)):
        status = f.kernel(
            f.of_dtype(GEMM),
            (n, m, k, *left.words, *right.words, *y.words,
             z.data, z.strides[0], row.data, code, zero, zero),
        )  # fmt: skip
    f.check(status)
    return f.answer(f.reference(out, made))


def backward(f: Frame) -> ir.Value:
    """dx (n, k), dw (k, m), db (m,) = or += the backward of forward; g and saved (n, m)"""
    g, x, weight, activation, output, preactivation, needs, out, accumulate = f.objects
    code = f.activation(activation)
    needed = [f.flag(item) for item in f.triple(needs)]
    adds, outs = f.flags(accumulate), f.triple(out)
    is_none = [f.is_none(item) for item in outs]
    saved = (code == 0).choose(g, preactivation)
    for row in TABLE:
        if row.saved == "output":
            saved = (code == row.code).choose(output, saved)
    inputs = f.arrays((g, 2), (x, 2), (weight, 2), (saved, 2))
    (n, k), (k_of_w, m) = inputs[1].lengths, inputs[2].lengths
    lengths = ((n, k), (k, m), (m,))
    wanted = [need & none for need, none in zip(needed, is_none, strict=True)]
    targets = [
        f.array_where(need & ~none, item, ndim, is_output=True)
        for need, none, item, ndim in zip(needed, is_none, outs, (2, 2, 1), strict=True)
    ]
    dx, dw, db = (target.span() for target in targets)
    f.require(
        k == k_of_w,
        inputs[0].has_lengths((n, m)),
        inputs[3].has_lengths((n, m)),
        *(
            ~need | none | target.has_lengths(want)
            for need, none, target, want in zip(needed, is_none, targets, lengths, strict=True)
        ),
        targets[0].is_dense(),
        targets[1].is_dense(),
        targets[2].is_dense_vector(),
        *(apart(one, other) for one, other in ((dx, dw), (dx, db), (dw, db))),
        *(apart(to, a.span()) for a in inputs for to in (dx, dw, db)),
        # to add to nothing is an error
        ~((adds[0] | adds[1] | adds[2]) & is_none[0] & is_none[1] & is_none[2]),
    )
    made = []
    for i in range(3):
        targets[i], new = f.new_where(wanted[i], targets[i], lengths[i])
        made.append(new)
    zero = f.constant(0)
    bits = [(add & ~none).choose(1, zero) for add, none in zip(adds, is_none, strict=True)]
    words = [word for a in (*inputs, *targets[:2]) for word in a.words]
    words = [n, k, m, *words, targets[2].data, code, *bits]
    with f.gil_released_where(f.is_long(n * k * m * 2, n * m, n * k, k * m)):
        status = f.kernel(f.of_dtype(BACKWARD_KERNEL), words)
    f.check(status)
    none = f.known(objects.NONE)
    results = [
        f.reference(need.choose(item, none), new)
        for need, item, new in zip(needed, outs, made, strict=True)
    ]
    return f.answer(f.new_of(f.known(objects.GRADS), results))


def unary(f: Frame) -> ir.Value:
    """y (n,) = a formula of x (n,), both of unit stride; its slot for float32 is given."""
    x, out, number = f.objects
    index = f.call("PyLong_AsLongLong", number)
    f.require(index >= SLOTS, index + 1 < READY)
    source, target = f.arrays((x, 1), (out, 1))
    n = source.lengths[0]
    f.require(
        f.is_writeable(out),
        target.has_lengths((n,)),
        source.is_dense_vector(),
        target.is_dense_vector(),
        apart(source.span(), target.span()),
    )
    zero, one = f.constant(0), f.constant(1)
    with f.gil_released_where(f.is_long(n)):
        words = (one, n, source.data, zero, target.data, zero)
        status = f.kernel(index + f.is_double.choose(1, zero), words)
    f.check(status)
    return f.answer(f.reference(out))


# name -> function, number of arguments
CALLS: dict[str, tuple[Callable[[Frame], ir.Value], int]] = {
    "product": (product, 4),
    "product_stack": (product_stack, 4),
    "forward": (forward, 6),
    "backward": (backward, 9),
    "unary": (unary, 3),
}


def emit(b: ir.IRBuilder, args: Sequence[ir.Value], number: int) -> ir.Value:
    """The body of the builtin at the place ``number`` of CALLS."""
    call, count = list(CALLS.values())[number]
    return call(Frame(b, args, count))
