"""What Python calls with a batch: a builtin function that belongs to the table of a model.

    train_step(x, targets) -> True

It takes what the table's step can read where it lies: x (rows, inputs) of the model's dtype, and
targets of the dtype and the number of dimensions that the table names. Its answer to anything else,
to a label that is none, and while another thread is in a step of the table, is None, with nothing
changed.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..codegen import structs
from ..codegen.words import Word
from ..layer.args import Net
from ..layer.train_step import train_step
from ..runtime import compiler, registry
from ..runtime.table import BAD_LABEL
from . import abi
from .builtins import definition, of_definition
from .object_frame import ObjectFrame


def of_table(table: Any) -> Any:
    """The function of the ndarray ``table``, or None where builtins cannot be made."""
    return _new()(_definition(), table, None) if abi.verify() else None


def format_of(dtype: Any) -> int:
    """What the table's targets_format says of a dtype; 0, where nothing may be read, of none."""
    return abi.format_of(dtype) if abi.verify() else 0


def compile_ahead() -> None:
    """Compile the code of the functions, or load it from the cache."""
    if abi.verify():
        _definition()


@functools.cache
def _definition() -> Any:
    """One for all models."""
    return definition("train_step", _compile())


@functools.cache
def _new() -> Any:
    return of_definition()


def _compile() -> int:
    def step_fast_path(of, args, nargs):  # type: ignore[no-untyped-def]
        return _emit(of, args, nargs)

    return compiler.address_of(f"python_train_step.{abi.HEADER}", step_fast_path)


@intrinsic
def _emit(typing_context: Any, of: Any, args: Any, nargs: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        f = ObjectFrame(b, values, 2)
        return f.finish(_step(f))

    return types.intp(types.intp, types.intp, types.intp), codegen


def _at(name: str) -> int:
    return 8 * structs.offset(Net, name)


def _step(f: ObjectFrame) -> Word:
    x, targets = f.handles
    table = f.load(f.self_, abi.DATA)

    def told(name: str) -> Word:
        return f.load(table, _at(name))

    rows = f.fixed(f.floats(x)[0], 2)
    n, k = rows.lengths
    ndim = told("targets_ndim")
    f.require(
        n >= 1,
        n <= told("most_rows"),
        k == told("inputs"),
        told("busy") == 0,
        f.is_double.choose(f.constant(1), 0) == told("is_double"),
    )
    of_y = f.formatted(targets, told("targets_format"))
    f.require(of_y.ndim == ndim)
    f.require(f.item(of_y.lengths, 0) == n)
    column = f.variable()
    with f.where(ndim == 2):
        f.require(f.item(of_y.lengths, 1) == told("outputs"))
        f.set(column, f.item(of_y.strides, 1))
    words = (of_y.data, f.item(of_y.strides, 0), f.get(column))
    for name, three in (("x", rows.matrix), ("targets", words)):
        for i, word in enumerate(three):
            f.store(word, table, _at(name) + 8 * i)
    f.store(n, table, _at("rows"))
    f.store(f.constant(1), table, _at("busy"))
    with f.released(n * told("row_fmas")):
        status = f.run(f.slot(train_step), structs.make(registry.Word, table))
    f.store(f.constant(0), table, _at("busy"))
    f.check(status, refusal=BAD_LABEL)
    return f.reference(f.object("True"))
