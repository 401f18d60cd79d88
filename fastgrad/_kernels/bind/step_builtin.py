"""What Python calls with a batch: builtin functions that belong to the table of a model.

    train_step(x, targets) -> True
    infer_floats(x, what) -> logits or probabilities (rows, outputs)
    infer_numbers(x, what) -> classes (rows,), or signs: see layer/inference.py

They take what kernels can read where it lies: x (rows, inputs) of the model's dtype, and targets of
the dtype and the number of dimensions that the table names. Their answer to anything else, to a
label that is none, and while another thread is in a step of the table, is None, with nothing
changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..codegen import structs
from ..codegen.words import Word
from ..gemm.args import Rows
from ..layer.args import Inference, Net
from ..layer.inference import CLASSES, HALF, inference
from ..layer.train_step import train_step
from ..runtime import compiler, registry
from ..runtime.table import BAD_LABEL
from . import abi
from .builtins import definition, of_definition, refuse
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
    return definition(name, _compile(name))


@functools.cache
def _new() -> Any:
    return of_definition()


def _compile(name: str) -> int:
    number = list(_CODES).index(name)

    def of_model(of, args, nargs):  # type: ignore[no-untyped-def]
        return _emit(number, of, args, nargs)

    return compiler.address_of(f"python_{name}.{abi.HEADER}", of_model)


@intrinsic(prefer_literal=True)
def _emit(typing_context: Any, number: Any, of: Any, args: Any, nargs: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        f = ObjectFrame(b, values[1:], 2)
        return f.finish(list(_CODES.values())[signature.args[0].literal_value](f))

    return types.intp(number, types.intp, types.intp, types.intp), codegen


def _at(name: str) -> int:
    return 8 * structs.offset(Net, name)


class _Model:
    """The table of the object that a builtin belongs to, and x (rows, inputs) of its dtype."""

    def __init__(self, f: ObjectFrame, x: Word) -> None:
        self.f, self.table = f, f.load(f.self_, abi.DATA)
        self.x = f.fixed(f.floats(x)[0], 2)
        f.require(
            self.x.lengths[1] == self.told("inputs"),
            f.is_double.choose(f.constant(1), 0) == self.told("is_double"),
        )

    def told(self, name: str) -> Word:
        return self.f.load(self.table, _at(name))


def _step(f: ObjectFrame) -> Word:
    x, targets = f.handles
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
    f.store(f.constant(1), table, _at("busy"))
    with f.released(n * told("row_fmas")):
        status = f.run(f.slot(train_step), structs.make(registry.Word, table))
    f.store(f.constant(0), table, _at("busy"))
    f.check(status, refusal=BAD_LABEL)
    return f.reference(f.object("True"))


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


_CODES: dict[str, Callable[[ObjectFrame], Word]] = {
    "train_step": _step,
    "infer_floats": lambda f: _infer(f, False),
    "infer_numbers": lambda f: _infer(f, True),
}
