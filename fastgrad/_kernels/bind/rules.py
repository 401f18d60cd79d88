"""The rules of a call, said once: what is plain, what is written, which struct, which kernel.

Each is emitted over a frame of Python's objects, and over one of a user's records. It refuses what
a kernel cannot do where it lies: a dtype that has to be converted, an overlap, an output without
unit stride. It returns the results, for the frame to answer with.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ..codegen.simd import for_range
from ..codegen.structs import make
from ..codegen.words import Word
from ..gemm.args import Matrix, Product, Rows
from ..gemm.dispatch import gemm
from ..gemm.stack import Stack
from ..gemm.stack import stack as stack_kernel
from ..layer import losses
from ..layer.args import Adam, Loss, Sgd
from ..layer.optimizers import adam, sgd
from ..runtime.registry import Kernel
from ..runtime.table import BAD_LABEL
from .frame import MOST_DIMENSIONS, Frame, Result, Shape
from .operands import Array, Operand, disjoint


def _bits(x: float) -> int:
    return int(struct.unpack("q", struct.pack("d", x))[0])


# Of float64 that are not negative, those below are those whose bits are below. The last one is the
# largest that is 0 in float32.
_ONE, _INFINITY, _TINIEST, _LOST = map(_bits, (1.0, float("inf"), 5e-324, 2.0**-150))


def _is_below(bits: Word, limit: int) -> Word:
    """From +0.0 up to a limit, which is left out."""
    return (bits >= 0) & (bits < limit)


# products ---------------------------------------------------------------------------------------


def product(f: Frame, a: Word, b: Word, out: Word, add: Word, turn_a: Word, turn_b: Word) -> Result:
    """c (..., n) = or += a (..., k) · b (k, n), one of them given transposed; vectors too."""
    left, right = f.floats(a, b)
    is_row, is_column = left.ndim == 1, right.ndim == 1
    f.require(left.ndim >= 1, right.ndim >= 1, right.ndim <= 2, ~turn_a | (left.ndim <= 2))
    turn_a, turn_b = turn_a & ~is_row, turn_b | is_column
    rows, last = left.ndim - 1, right.ndim - 1
    n = f.item(right.lengths, turn_b.choose(0, last))
    # the lengths of c: those of a but for k, and n
    lengths = f.memory(MOST_DIMENSIONS)
    first = turn_a.choose(left.lengths + 8, left.lengths)
    with for_range(f.b, rows.ir) as i:
        f.store(f.item(first, Word(f.b, i)), lengths + Word(f.b, i) * 8)
    f.store(n, lengths + rows * 8)
    ndim = is_column.choose(rows, rows + 1)
    shape = Shape(Operand(left.data, ndim, lengths, left.strides, f.itemsize), ndim, ())
    k = f.item(left.lengths, turn_a.choose(0, rows))
    f.require(k == f.item(right.lengths, turn_b.choose(last, 0)), ~(f.is_none(out) & add))
    f.tell((out, shape))
    x = _transposed_where(turn_a, f.matrix(left))
    y = _transposed_where(turn_b, f.matrix(right))
    m, n = x.lengths[0], is_column.choose(1, n)

    def view(c: Operand) -> Array:
        row = f.variable(), f.variable()
        with f.b.if_else(is_column.ir) as (column, matrix):
            with column:
                f.set(row[0], f.flat(c).strides[0])
                f.set(row[1], f.itemsize)
            with matrix:
                for variable, stride in zip(row, f.matrix(c).strides, strict=True):
                    f.set(variable, stride)
        return Array(c.data, (m, n), (f.get(row[0]), f.get(row[1])), f.itemsize)

    result = f.output(out, shape, (m, n), view)
    f.require(result.array.is_dense(), disjoint([result.array], [x, y]))
    (c,) = f.create(result)
    with f.released(m * n * k, m * n, m * k, k * n):
        status = f.run(f.slot(gemm), _product(f, x, y, c, add))
    f.check(status)
    return result


def _transposed_where(condition: Word, a: Array) -> Array:
    pairs = zip(a.lengths + a.strides, a.transposed.lengths + a.transposed.strides, strict=True)
    words = [condition.choose(other, plain) for plain, other in pairs]
    return Array(a.data, tuple(words[:2]), tuple(words[2:]), a.itemsize)


def _product(f: Frame, a: Array, b: Array, c: Array, add: Word) -> Product:
    (m, k), (_, n) = a.lengths, b.lengths
    accumulate = add.choose(1, f.constant(0))
    return make(
        Product, m, n, k, a.matrix, b.matrix, c.matrix, make(Rows, 0, 0), 0, 0, accumulate, 0
    )


def stack(f: Frame, a: Word, b: Word, out: Word, add: Word, turn_a: Word, turn_b: Word) -> Result:
    """c (..., m, n) = or += a (..., m, k) · b (..., k, n), matrix by matrix; or one for all."""
    left, right = f.floats(a, b)
    f.require(left.ndim >= 2, right.ndim >= 2, (left.ndim > 2) | (right.ndim > 2))
    one_a, one_b = left.ndim == 2, right.ndim == 2
    f.require(one_a | one_b | (left.ndim == right.ndim))
    lead = Operand(*(one_a.choose(y, x) for x, y in zip(left, right, strict=True)))
    count = lead.ndim - 2
    with f.where(~(one_a | one_b)):
        f.same_lengths(left, right, count)
    (m, k), (k_of_b, n) = _last_lengths(f, left, turn_a), _last_lengths(f, right, turn_b)
    f.require(k == k_of_b, ~(f.is_none(out) & add))
    shape = Shape(lead, count, (m, n))
    f.tell((out, shape))
    x, y = _stacked(f, left), _stacked(f, right)
    x_i, y_i = _transposed_where(turn_a, x.first), _transposed_where(turn_b, y.first)
    s = one_a.choose(y.lengths[0], x.lengths[0])
    result = f.output(out, shape, (s, m, n), lambda c: _stacked(f, c))
    given = result.array
    f.require(given.first.is_dense(), given.is_apart(), disjoint([given], [x, y]))
    (c,) = f.create(result)
    steps = [pile.strides[0] for pile in (x, y, c)]
    with f.released(s * m * n * k, s * m * n, s * m * k, s * k * n):
        args = make(Stack, _product(f, x_i, y_i, c.first, add), s, *steps, 0, 0, 0)
        status = f.run(f.slot(stack_kernel), args)
    f.check(status)
    return result


def _last_lengths(f: Frame, o: Operand, turned: Word) -> tuple[Word, Word]:
    """Of the matrices, transposed or not."""
    rows, columns = (f.item(o.lengths, o.ndim - i) for i in (2, 1))
    return turned.choose(columns, rows), turned.choose(rows, columns)


def _stacked(f: Frame, o: Operand) -> Array:
    """(..., m, n) as (s, m, n); of a matrix s is 1."""
    last, before = o.ndim - 1, o.ndim - 2
    first = f.flat(o, before)
    lengths, strides = (
        (f.item(words, before), f.item(words, last)) for words in (o.lengths, o.strides)
    )
    return Array(o.data, first.lengths + lengths, first.strides + strides, f.itemsize)


# losses -----------------------------------------------------------------------------------------


def softmax_cross_entropy(
    f: Frame, logits: Word, labels: Word, smoothing: Word, grad: Word, loss: Word
) -> Result:
    """logits (..., m), int64 labels (...) -> loss, an address, and grad (..., m)."""
    (operand,) = f.floats(logits)
    f.require(operand.ndim >= 2)
    given = f.labels(labels)
    f.require_shape(given, Shape(operand, operand.ndim - 1, ()))
    z, targets = f.matrix(operand), f.flat(given)
    bits = f.number(smoothing)
    aligned = ((targets.data | targets.strides[0]) & 7) == 0
    f.require(aligned, _is_below(bits, _ONE + 1))
    at = make(Matrix, targets.data, targets.strides[0], 0)
    return _loss(f, losses.SOFTMAX_LABELS, operand, z, at, bits, grad, loss)


def mean_loss(
    f: Frame, kernel: Kernel, prediction: Word, target: Word, grad: Word, loss: Word
) -> Result:
    """prediction (n, ...), target of that shape -> loss and grad; the later axes are one."""
    operand, other = f.floats(prediction, target)
    f.require(operand.ndim >= 1)
    f.require_shape(other, Shape(operand, operand.ndim, ()))
    p, t = _loss_rows(f, operand), _loss_rows(f, other)
    return _loss(f, kernel, operand, p, t.matrix, f.constant(0), grad, loss)


def _loss_rows(f: Frame, o: Operand) -> Array:
    later = f.flat(Operand(o.data, o.ndim - 1, o.lengths + 8, o.strides + 8, o.itemsize))
    lengths = f.item(o.lengths, 0), later.lengths[0]
    return Array(o.data, lengths, (f.item(o.strides, 0), later.strides[0]), o.itemsize)


def _loss(
    f: Frame, kernel: Kernel, operand: Operand, z: Array, targets: Matrix, smoothing: Word,
    grad: Word, loss: Word,
) -> Result:  # fmt: skip
    n, m = z.lengths
    f.require(n >= 1, m >= 1)
    shape = Shape(operand, operand.ndim, ())
    result = f.output(grad, shape, (n, m), f.matrix)
    f.require(result.is_new)
    (g,) = f.create(result)
    with f.released(n * m * 8, n * m):
        args = make(Loss, n, m, z.matrix, targets, g.rows, loss, smoothing, 0, 0, 0, 0, 0, 0, 0, 0)
        status = f.run(f.slot(kernel), args)
    f.check(status, refusal=BAD_LABEL)
    return result


# optimizer steps --------------------------------------------------------------------------------


def _parameters(f: Frame, *arrays: tuple[Word, Word]) -> list[Array]:
    """(handle, needed) each: param and then what has its shape; all but the second are written.

    All C-contiguous, and disjoint; what is not needed has data 0.
    """
    (param,) = f.floats(arrays[0][0])
    found = []
    for i, (handle, needed) in enumerate(arrays):
        operand = f.like(handle, needed)
        if i != 1:
            present = needed.choose(handle, f.nothing())
            f.require(~needed | f.is_writeable(present))
        with f.where(needed):
            f.require_shape(operand, Shape(param, param.ndim, ()))
        flat = f.flat(operand, needed=needed)
        f.require(flat.is_dense_vector() | ~needed)
        length = needed.choose(flat.lengths[0], 0)
        found.append(Array(flat.data, (length,), flat.strides, f.itemsize))
    f.require(disjoint(found))
    return found


def _is_not_lost(f: Frame, bits: Word) -> Word:
    """A float64 of +0.0 or more that is not 0 in the dtype where it is above 0."""
    return (bits == 0) | (bits > f.is_double.choose(0, f.constant(_LOST)))


def sgd_step(
    f: Frame, param: Word, grad: Word, lr: Word, velocity: Word, momentum: Word, nesterov: Word,
    weight_decay: Word,
) -> None:  # fmt: skip
    """nesterov is a truth value already."""
    rate, part, decay = (f.number(h) for h in (lr, momentum, weight_decay))
    is_moving = part >= _TINIEST
    f.require(
        _is_below(rate, _INFINITY),
        _is_below(decay, _INFINITY),
        _is_below(part, _ONE),
        ~nesterov | is_moving,
        ~is_moving | ~f.is_none(velocity),
    )
    always = f.constant(0) == 0
    p, g, v = _parameters(f, (param, always), (grad, always), (velocity, is_moving))
    f.require(_is_not_lost(f, rate))
    (count,) = p.lengths
    with f.released(count, count):
        status = f.run(f.slot(sgd), make(Sgd,
            count, p.data, g.data, v.data, rate, part, nesterov.choose(1, f.constant(0)), decay,
        ))  # fmt: skip
    f.check(status)


def adam_step(f: Frame, operands: Sequence[Word], decoupled: Word) -> None:
    """param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay; decoupled is a truth value."""
    param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay = operands
    numbers = [f.number(h) for h in (lr, beta1, beta2, eps, weight_decay)]
    count_of_steps = f.integer(step)
    limits = (_INFINITY, _ONE, _ONE, _INFINITY, _INFINITY)
    f.require(
        count_of_steps >= 1, *(_is_below(x, end) for x, end in zip(numbers, limits, strict=True))
    )
    always = f.constant(0) == 0
    arrays = _parameters(f, *((handle, always) for handle in (param, grad, m, v)))
    rate, *_, least, _ = numbers
    f.require(_is_not_lost(f, rate), _is_not_lost(f, least), least != 0)
    (count,) = arrays[0].lengths
    with f.released(count, count):
        status = f.run(f.slot(adam), make(Adam,
            count, *(a.data for a in arrays), count_of_steps, *numbers,
            decoupled.choose(1, f.constant(0)),
        ))  # fmt: skip
    f.check(status)
