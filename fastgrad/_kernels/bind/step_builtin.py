"""What Python calls with a batch: builtin functions that belong to the table of a model.

    train_step(x, targets) -> True
    loss_and_grads(x, targets, accumulate) -> True
    weighted_step(x, targets, weights) -> True
    weighted_grads(x, targets, accumulate, weights) -> True
    update() -> True
    infer_floats(x, what) -> logits or probabilities (rows, outputs); sigmoids of one output (rows,)
    infer_numbers(x, what) -> classes (rows,), or signs: see layer/inference.py

They take what kernels can read where it lies: x (rows, inputs) of the model's dtype, and targets of
the dtype and the number of dimensions that the table names; weights (rows,) float64, of any stride,
which the kernel looks at. Their answer to anything else, to a
label that is none, where there are no gradients to update with, and while another thread is in a
step of the table, is None, with nothing changed.
"""

from __future__ import annotations

import functools
from typing import Any

from ..codegen import structs
from ..codegen.words import Word
from ..gemm.args import Rows
from ..layer.args import Gradients, Inference, Net
from ..layer.inference import CLASSES, HALF, SIGMOID, inference
from ..layer.train_step import net_gradients, net_update, train_step
from ..runtime import registry
from ..runtime.registry import Kernel
from ..runtime.table import BAD_LABEL
from . import abi
from .builtins import Codes, compile_code, definition, of_definition, refuse
from .object_frame import ObjectFrame


def of_table(name: str, table: Any) -> Any:
    """The function of the ndarray ``table``; one that refuses where builtins cannot be made."""
    return _new()(_definition(name), table, None) if abi.verify() else refuse


def format_of(dtype: Any) -> int:
    """What the table's targets_format says of a dtype; 0, where nothing may be read, of none."""
    return abi.format_of(dtype) if abi.verify() else 0


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


NO_DX = Rows(0, 0)


def _at(name: str) -> int:
    return 8 * structs.offset(Net, name)


class _Table:
    """The table of the object that a builtin belongs to."""

    def __init__(self, f: ObjectFrame) -> None:
        self.f, self.table = f, f.load(f.self_, abi.DATA)

    def told(self, name: str) -> Word:
        return self.f.load(self.table, _at(name))

    def run(self, kernel: Kernel, args: Any, weights: Word | None = None) -> Word:
        """True: a kernel that works with the table, which is busy meanwhile. weights: of its rows,
        which are in the table as long."""
        f = self.f
        places = [_at("weights"), _at("weight_step")]
        if weights is not None:
            of_w = f.formatted(weights, f.known(abi.FORMATS["float64"]))
            f.require(of_w.ndim == 1)
            f.require(f.item(of_w.lengths, 0) == self.told("rows"))
            for word, place in zip((of_w.data, f.item(of_w.strides, 0)), places, strict=True):
                f.store(word, self.table, place)
        f.store(f.constant(1), self.table, _at("busy"))
        with f.released(self.told("rows") * self.told("row_fmas")):
            status = f.run(f.slot(kernel), args)
        for place in [_at("busy"), *(places if weights is not None else ())]:
            f.store(f.constant(0), self.table, place)
        f.check(status, refusal=BAD_LABEL)
        return f.reference(f.object("True"))


class _Model(_Table):
    """With x (rows, inputs) of the model's dtype."""

    def __init__(self, f: ObjectFrame, x: Word) -> None:
        super().__init__(f)
        self.x = f.fixed(f.floats(x)[0], 2)
        f.require(
            self.x.lengths[1] == self.told("inputs"),
            f.is_double.choose(f.constant(1), 0) == self.told("is_double"),
        )


def _batch(f: ObjectFrame, x: Word, targets: Word) -> _Model:
    """The model, with x and targets in its table."""
    model = _Model(f, x)
    table, told, n = model.table, model.told, model.x.lengths[0]
    ndim = told("targets_ndim")
    f.require(n >= 1, n <= told("most_rows"), told("busy") == 0)
    of_y = f.formatted(targets, told("targets_format"))
    f.require(of_y.ndim == ndim)
    f.require(f.item(of_y.lengths, 0) == n)
    column = f.variable()
    with f.where(ndim == 2):
        f.require(f.item(of_y.lengths, 1) == told("outputs"))
        f.set(column, f.item(of_y.strides, 1))
    words = (of_y.data, f.item(of_y.strides, 0), f.get(column))
    for name, three in (("x", model.x.matrix), ("targets", words)):
        for i, word in enumerate(three):
            f.store(word, table, _at(name) + 8 * i)
    f.store(n, table, _at("rows"))
    return model


def _step(f: ObjectFrame) -> Word:
    x, targets, *weights = f.handles
    model = _batch(f, x, targets)
    return model.run(train_step, structs.make(registry.Word, model.table), *weights)


def _gradients(f: ObjectFrame) -> Word:
    x, targets, accumulate, *weights = f.handles
    adds = f.flag(accumulate).choose(f.constant(1), 0)
    model = _batch(f, x, targets)
    args = structs.make(Gradients, model.table, adds, NO_DX)
    return model.run(net_gradients, args, *weights)


def _update(f: ObjectFrame) -> Word:
    model = _Table(f)
    told = model.told
    f.is_double = told("is_double") == 1
    f.itemsize = f.is_double.choose(8, f.constant(4))
    f.require(told("has_gradients") == 1, told("most_rows") > 0, told("busy") == 0)
    return model.run(net_update, structs.make(registry.Word, model.table))


def _infer(f: ObjectFrame, gives_numbers: bool) -> Word:
    x, code = f.handles
    what = f.integer(code)
    model = _Model(f, x)
    n, m = model.x.lengths[0], model.told("outputs")
    one, two = f.constant(1), f.constant(2)
    widest = model.told("widest")
    f.require(widest * f.itemsize <= HALF, m * f.itemsize <= HALF)
    ndim, dtype = two, f.is_double.choose(f.object("float64"), f.object("float32"))
    if gives_numbers:
        ndim = ((what == CLASSES) | (m == 1)).choose(one, two)
        dtype = f.object("int64")
    else:
        ndim = ((what == SIGMOID) & (m == 1)).choose(one, two)
    new = f.new_matrix(n, m, ndim, dtype)
    data, nothing = f.load(new, abi.DATA), f.constant(0)
    to, numbers = (nothing, data) if gives_numbers else (data, nothing)
    args = structs.make(
        Inference, model.table, n, model.x.matrix, structs.make(Rows, to, m * f.itemsize), what,
        numbers, 0, 0,
    )  # fmt: skip
    with f.released(n * model.told("row_fmas")):
        status = f.run(f.slot(inference), args)
    f.check(status)
    return new


# name -> what emits it, number of arguments
_CODES: Codes = {
    "train_step": (_step, 2),
    "loss_and_grads": (_gradients, 3),
    "weighted_step": (_step, 3),
    "weighted_grads": (_gradients, 4),
    "update": (_update, 0),
    "infer_floats": (lambda f: _infer(f, False), 2),
    "infer_numbers": (lambda f: _infer(f, True), 2),
}
