"""What Python calls with a batch: builtin functions that belong to the table of a model.

    train_step(x, targets, weights) -> loss
    loss_and_grads(x, targets, accumulate, weights, denominator) -> loss
    update() -> True
    forward(x) -> logits (rows, outputs); x is kept for backward
    backward(dF/dlogits, input_grad, accumulate) -> dF/dX (rows, inputs), or True
    infer_floats(x, what) -> logits or probabilities (rows, outputs); sigmoids of one output (rows,)
    infer_numbers(x, what) -> classes (rows,), or signs: see layer/inference.py

x (rows, inputs), targets (rows,) or (rows, outputs), weights (rows,) or None are arrays of any
strides and any dtype of integers, bools, float32 or float64. What is of the dtype that kernels
read, which is int64 of labels and float64 of weights, is read where it lies; the rest is converted
into memory of the table: see layer/batch.py. The answer to anything else, to targets or weights
that are none, where there is no memory, nothing to update with, and while another thread is in a
step of the table, is None, with nothing changed.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

from ..codegen import structs
from ..codegen.words import Word
from ..gemm.args import Rows
from ..layer.args import Back, Forward, Gradients, Inference, Net
from ..layer.batch import take_batch
from ..layer.conversion import ANY, CONVERT
from ..layer.inference import CLASSES, HALF, SIGMOID, inference
from ..layer.kept_pass import net_backward, net_forward
from ..layer.losses import SOFTMAX_LABELS, SOFTMAX_PROBABILITIES
from ..layer.train_step import net_gradients, net_update, train_step
from ..runtime import registry
from ..runtime.registry import Kernel
from ..runtime.table import BAD_LABEL
from . import abi
from .builtins import Codes, compile_code, definition, of_definition, refuse
from .object_frame import ObjectFrame
from .operands import Array


def of_table(name: str, table: Any) -> Any:
    """The function of the ndarray ``table``; one that refuses where builtins cannot be made."""
    return _new()(_definition(name), table, None) if abi.verify() else refuse


def compile_ahead() -> None:
    """Compile the code of the functions, or load it from the cache."""
    for name in _CODES if abi.verify() else ():
        _definition(name)


@functools.cache
def _definition(name: str) -> Any:
    """One for all models."""
    return definition(name, compile_code(_CODES, name))


@functools.cache
def _new() -> Any:
    return of_definition()


def _at(name: str) -> int:
    return 8 * structs.offset(Net, name)


class _Table:
    """The table of the object that a builtin belongs to."""

    def __init__(self, f: ObjectFrame) -> None:
        self.f, self.table = f, f.load(f.self_, abi.DATA)
        f.is_double = self.told("is_double") == 1
        f.itemsize = f.is_double.choose(8, f.constant(4))
        self.format = f.is_double.choose(f.format("float64"), f.format("float32"))
        self.converters: list[Word] = []  # slots: of x, targets and weights; 0: of none

    def dtype(self) -> Word:
        """The object."""
        return self.f.is_double.choose(self.f.object("float64"), self.f.object("float32"))

    def told(self, name: str) -> Word:
        return self.f.load(self.table, _at(name))

    def tell(self, name: str, *words: Word) -> None:
        """A field, and those after it."""
        for i, word in enumerate(words):
            self.f.store(word, self.table, _at(name) + 8 * i)

    def x(self, handle: Word) -> tuple[Array, Word]:
        """(rows, inputs), and the slot of what converts it."""
        x, found = self.matrix(handle, "inputs")
        return x, self.converter(found, self.format)

    def matrix(self, handle: Word, columns: str) -> tuple[Array, Word]:
        """(rows, so many columns), and what stands at FORMAT of its dtype."""
        f = self.f
        operand, found = f.numbers(handle)
        a = f.fixed(operand, 2)
        f.require(a.lengths[1] == self.told(columns))
        return a, found

    def converter(self, found: Word, wanted: Word) -> Word:
        """The slot of the kernel that converts to the model's dtype, or 0."""
        return self.f.converter(found, wanted, self.f.slot(ANY))

    def is_free(self) -> Word:
        """No other thread is in it, nor waits to be."""
        return (self.told("busy") == 0) & (self.told("most_rows") > 0)

    def argument(self) -> Any:
        """What kernels of the table are given."""
        return structs.make(registry.Word, self.table)

    def run(self, kernel: Kernel, args: Any) -> None:
        """A kernel that works with the table, which is busy meanwhile, after the batch is taken."""
        f = self.f
        status = f.variable()
        self.tell("busy", f.constant(1))
        with f.released(self.told("rows") * self.told("row_fmas")):
            if self.converters:
                with f.where(functools.reduce(operator.or_, self.converters) != 0):
                    f.set(status, f.run(f.slot(take_batch), self.argument()))
            with f.where(f.get(status) == 0):
                f.set(status, f.run(f.slot(kernel), args))
        self.tell("busy", f.constant(0))
        f.check(f.get(status), refusal=BAD_LABEL)

    def loss(self) -> Word:
        return self.f.new_float(self.told("loss"))


def _batch(f: ObjectFrame, x: Word, y: Word, weights: Word, divisor: Word) -> _Table:
    """The table, with the batch in it; divisor: the bits of a float64."""
    model = _Table(f)
    of_x, x_from = model.x(x)
    n, doubles = of_x.lengths[0], f.constant(ANY.slot("float64"))
    f.require(n >= 1, n <= model.told("most_rows"), model.is_free())
    targets, loss, targets_from = _targets(model, y, n, doubles)
    of_w = [f.variable() for _ in range(3)]
    with f.where(~f.is_none(weights)):
        operand, found = f.numbers(weights)
        f.require(operand.ndim == 1)
        f.require(f.item(operand.lengths, 0) == n)
        slot = f.converter(found, f.format("float64"), doubles)
        for variable, word in zip(
            of_w, (operand.data, f.item(operand.strides, 0), slot), strict=True
        ):
            f.set(variable, word)
    data, step, weights_from = (f.get(variable) for variable in of_w)
    model.tell("rows", n, of_x.data, *of_x.strides, *targets)
    model.tell("loss_slot", loss)
    model.converters = [x_from, targets_from, weights_from]
    model.tell("x_from", *model.converters)
    model.tell("weights", data, step, divisor)
    return model


def _targets(
    model: _Table, handle: Word, n: Word, doubles: Word
) -> tuple[tuple[Word, Word, Word], Word, Word]:
    """Data and strides, the slot of the loss that reads them, and that of what converts them.

    The loss of a softmax goes by their dimensions; for the others (rows,) are those of one output.
    """
    f, told = model.f, model.told
    operand, found = f.numbers(handle)
    ndim, takes_labels = operand.ndim, told("takes_labels") == 1
    is_flat = ndim == 1
    f.require(is_flat | (ndim == 2))
    f.require(f.item(operand.lengths, 0) == n)
    f.require(~is_flat | takes_labels | (told("outputs") == 1))
    column = f.variable()
    with f.where(~is_flat):
        f.require(f.item(operand.lengths, 1) == told("outputs"))
        f.set(column, f.item(operand.strides, 1))
    is_label, is_share = takes_labels & is_flat, takes_labels & ~is_flat
    wanted = takes_labels.choose(f.format("int64"), model.format)
    wanted = is_share.choose(0, wanted)  # shares are looked at on the way
    slot = f.converter(found, wanted, doubles)
    f.require(~is_label | (slot < CONVERT["float32"].slot("float64")))
    of_softmax = is_flat.choose(f.slot(SOFTMAX_LABELS), f.slot(SOFTMAX_PROBABILITIES))
    loss = takes_labels.choose(of_softmax, told("loss_slot"))
    return (operand.data, f.item(operand.strides, 0), f.get(column)), loss, slot


def _step(f: ObjectFrame) -> Word:
    x, targets, weights = f.handles
    model = _batch(f, x, targets, weights, f.constant(0))
    model.run(train_step, model.argument())
    return model.loss()


def _gradients(f: ObjectFrame) -> Word:
    x, targets, accumulate, weights, denominator = f.handles
    adds = f.flag(accumulate).choose(f.constant(1), 0)
    divisor = f.variable()
    with f.where(~f.is_none(denominator)):
        f.set(divisor, f.positive(denominator))
    model = _batch(f, x, targets, weights, f.get(divisor))
    model.run(net_gradients, structs.make(Gradients, model.table, adds))
    return model.loss()


def _update(f: ObjectFrame) -> Word:
    model = _Table(f)
    f.require(model.told("has_gradients") == 1, model.is_free())
    model.run(net_update, model.argument())
    return f.reference(f.object("True"))


def _forward(f: ObjectFrame) -> Word:
    (x,) = f.handles
    model = _Table(f)
    of_x, found = model.matrix(x, "inputs")
    n, m, always = of_x.lengths[0], model.told("outputs"), f.constant(0) == 0
    f.require(n >= 1, n <= model.told("most_rows"), model.is_free(), model.told("x_copy") != 0)
    slot = model.converter(found, f.constant(0))
    new, data = f.new_matrix(n, m, f.constant(2), model.dtype(), always)
    logits = structs.make(Rows, data, m * f.itemsize)
    model.tell("rows", n)
    model.run(net_forward, structs.make(Forward, model.table, n, of_x.matrix, slot, logits))
    return new


def _backward(f: ObjectFrame) -> Word:
    grad, input_grad, accumulate = f.handles
    needed, adds = f.flag(input_grad), f.flag(accumulate).choose(f.constant(1), 0)
    model = _Table(f)
    of_grad, found = model.matrix(grad, "outputs")
    n, k = of_grad.lengths[0], model.told("inputs")
    f.require(n == model.told("kept"), n >= 1, model.is_free())
    slot = model.converter(found, f.constant(0))
    f.require(slot >= f.slot(CONVERT["float32"]))
    new, data = f.new_matrix(n, k, f.constant(2), model.dtype(), needed)
    dx = structs.make(Rows, data, k * f.itemsize)
    model.tell("rows", n)
    model.run(net_backward, structs.make(Back, model.table, of_grad.matrix, slot, adds, dx))
    f.call("Py_IncRef", needed.choose(0, f.object("True")))
    return needed.choose(new, f.object("True"))


def _infer(f: ObjectFrame, gives_numbers: bool) -> Word:
    x, code = f.handles
    what = f.integer(code)
    model = _Table(f)
    of_x, x_from = model.x(x)
    n, m, k = of_x.lengths[0], model.told("outputs"), model.told("inputs")
    one, two, always = f.constant(1), f.constant(2), f.constant(0) == 0
    for width in (model.told("widest"), m, (x_from != 0).choose(k, 0)):
        f.require(width * f.itemsize <= HALF)
    if gives_numbers:
        ndim, dtype = ((what == CLASSES) | (m == 1)).choose(one, two), f.object("int64")
    else:
        ndim, dtype = ((what == SIGMOID) & (m == 1)).choose(one, two), model.dtype()
    new, data = f.new_matrix(n, m, ndim, dtype, always)
    nothing = f.constant(0)
    to, numbers = (nothing, data) if gives_numbers else (data, nothing)
    args = structs.make(
        Inference, model.table, n, of_x.matrix, structs.make(Rows, to, m * f.itemsize), what,
        numbers, x_from, 0, 0,
    )  # fmt: skip
    with f.released(n * model.told("row_fmas")):
        status = f.run(f.slot(inference), args)
    f.check(status)
    return new


# name -> what emits it, number of arguments
_CODES: Codes = {
    "train_step": (_step, 3),
    "loss_and_grads": (_gradients, 5),
    "update": (_update, 0),
    "forward": (_forward, 1),
    "backward": (_backward, 3),
    "infer_floats": (lambda f: _infer(f, False), 2),
    "infer_numbers": (lambda f: _infer(f, True), 2),
}
