"""The rules of a layer, as rules.py says those of other calls, and of a stack of layers.

Of a stack all arrays have the layers first: weight (S, k, m), bias (S, m), x and y (S, ..., k or
m). But an x (k,) or (rows, k) is one for all, and its gradient the sum of theirs, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..codegen.simd import for_range
from ..codegen.structs import make
from ..codegen.words import Word
from ..formulas.activations import TABLE
from ..gemm.args import Product
from ..gemm.dispatch import gemm
from ..gemm.stack import Stack as StackOfProducts
from ..gemm.stack import stack as stack_of_products
from ..layer.args import Backward
from ..layer.backward import linear_backward
from ..layer.stack import BackwardStack, backward_stack
from .frame import MOST_DIMENSIONS, Frame, Result, Shape
from .operands import Array, Operand, disjoint


class Layer:
    """x (..., k), weight (k, m), and how kernels see arrays of their shapes."""

    ahead = 0  # dimensions that arrays have before those of a layer
    lead: tuple[Word, ...] = ()  # their lengths

    def __init__(self, f: Frame, x: Operand, weight: Operand) -> None:
        self.f = f
        self.weight = self.like_weight(weight)
        self.k, self.m = self.weight.lengths[-2:]
        f.require(x.ndim >= 1)
        f.require(f.item(x.lengths, x.ndim - 1) == self.k)
        self.shape = self._shape(x)  # of y

    def _shape(self, x: Operand) -> Shape:
        return Shape(x, x.ndim - 1, (self.m,))

    def like_x(self, o: Operand) -> Array:
        return self.f.matrix(o)

    def like_y(self, o: Operand) -> Array:
        return self.f.matrix(o)

    def like_weight(self, o: Operand) -> Array:
        return self.f.fixed(o, self.ahead + 2)

    def like_bias(self, o: Operand, needed: Word | None = None) -> Array:
        return self.f.fixed(o, self.ahead + 1, needed)

    def first(self, a: Array) -> Array:
        """Of the first layer."""
        return a

    def is_dense(self, a: Array) -> Word:
        return a.is_dense()

    def has_dense_rows(self, a: Array) -> Word:
        return a.has_dense_rows()

    def is_dense_bias(self, a: Array) -> Word:
        return a.is_dense_vector()

    def work(self, n: Word) -> tuple[Word, ...]:
        """Fused multiply-adds of a product, and elements of the matrices."""
        k, m = self.k, self.m
        return n * k * m, n * m, n * k, k * m

    def run_forward(self, product: Product, arrays: Sequence[Array]) -> Word:
        """arrays: whose steps a stack takes; x, weight, y, z, bias."""
        return self.f.run(self.f.slot(gemm), product)

    def run_backward(self, one: Backward, arrays: Sequence[Array]) -> Word:
        """arrays: g, x, weight, saved, dx, dw, db."""
        return self.f.run(self.f.slot(linear_backward), one)


class Stack(Layer):
    """The same with the layers first."""

    ahead = 1

    def __init__(self, f: Frame, x: Operand, weight: Operand) -> None:
        f.require(weight.ndim == 3, x.ndim >= 1)
        s = f.item(weight.lengths, 0)
        self.lead, self._one_x = (s,), x.ndim < 3
        # no layer at all: the sum of their gradients is for the checked path
        f.require(s > 0, self._one_x | (f.item(x.lengths, 0) == s))
        super().__init__(f, x, weight)

    def _shape(self, x: Operand) -> Shape:
        f, rows = self.f, self._rows(x, self._one_x)
        lengths = f.memory(MOST_DIMENSIONS)
        f.store(self.lead[0], lengths)
        with for_range(f.b, (rows.ndim - 1).ir) as i:
            f.store(f.item(rows.lengths, Word(f.b, i)), lengths + Word(f.b, i) * 8, 8)
        return Shape(rows._replace(lengths=lengths), rows.ndim, (self.m,))

    def _rows(self, o: Operand, is_one: Word) -> Operand:
        """(..., columns) of the first layer."""
        ahead = is_one.choose(0, self.f.constant(1))
        lengths, strides = o.lengths + ahead * 8, o.strides + ahead * 8
        return Operand(o.data, o.ndim - ahead, lengths, strides, o.itemsize)

    def _piled(self, o: Operand, is_one: Word) -> Array:
        """(s, rows, columns); of what is one for all s is 1."""
        rows = self.f.matrix(self._rows(o, is_one))
        count, step = is_one.choose(1, self.lead[0]), is_one.choose(0, self.f.item(o.strides, 0))
        return Array(o.data, (count, *rows.lengths), (step, *rows.strides), o.itemsize)

    def like_x(self, o: Operand) -> Array:
        return self._piled(o, self._one_x)

    def like_y(self, o: Operand) -> Array:
        never = self.f.constant(0) != 0
        return self._piled(o, never)

    def first(self, a: Array) -> Array:
        return a.first

    def is_dense(self, a: Array) -> Word:
        return a.first.is_dense() & a.is_apart()

    def has_dense_rows(self, a: Array) -> Word:
        return a.first.has_dense_rows() & a.is_apart()

    def is_dense_bias(self, a: Array) -> Word:
        return a.has_dense_rows()

    def work(self, n: Word) -> tuple[Word, ...]:
        return tuple(words * self.lead[0] for words in super().work(n))

    def run_forward(self, product: Product, arrays: Sequence[Array]) -> Word:
        steps = (a.strides[0] for a in arrays)
        args = make(StackOfProducts, product, *self.lead, *steps, 0)
        return self.f.run(self.f.slot(stack_of_products), args)

    def run_backward(self, one: Backward, arrays: Sequence[Array]) -> Word:
        steps = [a.strides[0] for a in arrays]
        steps[4] = self._one_x.choose(0, steps[4])
        args = make(BackwardStack, one, *self.lead, *steps, 0)
        return self.f.run(self.f.slot(backward_stack), args)


def forward(
    kind: type[Layer], f: Frame, x: Word, weight: Word, bias: Word, activation: Word, out: Word,
    z_out: Word,
) -> Result:  # fmt: skip
    """y (..., m) = act(z), z (..., m) = x (..., k) · weight (k, m) + bias (m,)"""
    code = f.activation(activation)
    no_bias, no_z = f.is_none(bias), f.is_none(z_out)
    from_x, from_weight = f.floats(x, weight)
    of = kind(f, from_x, from_weight)
    f.tell((out, of.shape))
    left, right = of.like_x(from_x), of.weight
    n, k, m = left.lengths[-2], of.k, of.m
    row = of.like_bias(f.like(bias, ~no_bias), ~no_bias)
    lengths = (*of.lead, n, m)
    result = f.output(out, of.shape, lengths, of.like_y)
    z = f.output(z_out, of.shape, lengths, of.like_y, ~no_z).array
    f.require(
        no_bias | row.has_lengths(*of.lead, m),
        of.first(row).is_dense_vector(),
        of.has_dense_rows(result.array),
        of.has_dense_rows(z),
        disjoint([result.array, z], [left, right, row]),
    )
    (y,) = f.create(result)
    arrays = left, right, y, z, row
    with f.released(*of.work(n)):
        matrices = [of.first(a).matrix for a in arrays[:3]]
        args = make(Product, n, m, k, *matrices, of.first(z).rows, row.data, code, 0, 0)
        status = of.run_forward(args, arrays)
    f.check(status)
    return result


def backward(
    kind: type[Layer], f: Frame, handles: Sequence[Word], needs: Sequence[Word],
    outs: Sequence[Word], adds: Sequence[Word],
) -> list[Result]:  # fmt: skip
    """dx (..., k), dw (k, m), db (m,) = or += the backward of forward; g and saved (..., m).

    handles: of g, x, weight, activation, output, preactivation.
    """
    g, x, weight, activation, output, preactivation = handles
    code = f.activation(activation)
    saved = (code == 0).choose(g, preactivation)
    for row in TABLE:
        if row.saved == "output":
            saved = (code == row.code).choose(output, saved)
    operands = f.floats(x, g, weight, saved)
    from_x, from_g, from_weight, from_saved = operands
    of = kind(f, from_x, from_weight)
    f.require_shape(from_g, of.shape)
    f.require_shape(from_saved, of.shape)
    k, m, nothing = of.k, of.m, f.constant(0)
    none = [f.is_none(out) for out in outs]
    # to add to nothing is an error
    f.require(~((adds[0] | adds[1] | adds[2]) & none[0] & none[1] & none[2]))
    shapes = (
        Shape(from_x, from_x.ndim - 1, (k,)),
        Shape(from_x, nothing, (*of.lead, k, m)),
        Shape(from_x, nothing, (*of.lead, m)),
    )
    f.tell(*zip(outs, shapes, strict=True))
    left, grad, kept = of.like_x(from_x), of.like_y(from_g), of.like_y(from_saved)
    n = left.lengths[-2]
    lengths = (left.lengths, (*of.lead, k, m), (*of.lead, m))
    views = (of.like_x, of.like_weight, of.like_bias)
    results = [
        f.output(out, shape, length, view, need)
        for out, shape, length, view, need in zip(outs, shapes, lengths, views, needs, strict=True)
    ]
    given = [result.array for result in results]
    f.require(
        of.is_dense(given[0]),
        of.is_dense(given[1]),
        of.is_dense_bias(given[2]),
        disjoint(given, [grad, left, of.weight, kept]),
    )
    made = f.create(*results)
    data = [need.choose(a.data, 0) for need, a in zip(needs, made, strict=True)]
    accumulate = [(add & ~new).choose(1, nothing) for add, new in zip(adds, none, strict=True)]
    arrays = grad, left, of.weight, kept, *made
    fmas, *elements = of.work(n)
    with f.released(fmas * 2, *elements):
        matrices = [of.first(a).matrix for a in arrays[:6]]
        to = [matrix._replace(data=x) for matrix, x in zip(matrices[4:], data, strict=False)]
        args = make(Backward, n, k, m, *matrices[:4], *to, data[2], code, *accumulate, 0)
        status = of.run_backward(args, arrays)
    f.check(status)
    return results
