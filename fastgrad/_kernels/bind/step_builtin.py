"""What Python calls with a batch: a builtin function that belongs to the table of a model.

    train_step(x, targets) -> True

It takes what the table's step can read where it lies: x (rows, inputs) of the model's dtype, and
targets of the dtype and the number of dimensions that the table names. Its answer to anything else,
to a label that is none, and while another thread is in a step of the table, is None, with nothing
changed.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..layer.train_step import PLACE, STEP
from ..runtime.jit import BAD_LABEL, compile_callable, keep, stamp
from . import objects
from .builtins import METH_FASTCALL, _Definition
from .frame import Frame

_X, _TARGETS, _BUSY = (8 * PLACE[name] for name in ("x", "targets", "busy"))


def of_table(table: Any) -> Any:
    """The function of the ndarray ``table``, or None where builtins cannot be made."""
    return _new()(_definition(), table, None) if objects.verify() else None


def format_of(dtype: Any) -> int:
    """What the table's targets_format says of a dtype; 0, where nothing may be read, of none."""
    return objects._word(id(dtype) + objects.FORMAT) if objects.verify() else 0


def compile_ahead() -> None:
    """Compile the code of the functions, or load it from the cache."""
    if objects.verify():
        _definition()


@functools.cache
def _definition() -> Any:
    """One for all models: what is given to Python's functions is never freed."""
    return keep(_Definition(b"train_step", _compile(), METH_FASTCALL, None))


@functools.cache
def _new() -> Any:
    """(definition, object, None) -> the builtin of the object."""
    prototype = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.POINTER(_Definition), ctypes.py_object, ctypes.c_void_p
    )
    return prototype(("PyCFunction_NewEx", ctypes.pythonapi))


def _compile() -> int:
    version = stamp()
    layout = (objects.HEADER, objects.ITEMS)  # what machine code knows of this Python

    def step_entry(of, args, nargs):  # type: ignore[no-untyped-def]
        _ = version, layout
        return _call(of, args, nargs)

    return compile_callable(step_entry)


@intrinsic
def _call(typing_context: Any, of: Any, args: Any, nargs: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        return _emit(Frame(b, values, 2))

    return types.intp(types.intp, types.intp, types.intp), codegen


def _emit(f: Frame) -> ir.Value:
    x, targets = f.objects
    table = f.load(f.self_, objects.DATA)

    def told(name: str) -> Any:
        return f.load(table, 8 * PLACE[name])

    (given,) = f.arrays((x, 2))
    n, k = given.lengths
    ndim = told("targets_ndim")
    f.require(
        n >= 1,
        n <= told("most_rows"),
        k == told("inputs"),
        told("busy") == 0,
        f.is_double.choose(f.constant(1), 0) == told("is_double"),
        f.load(targets, objects.TYPE) == f.known(objects.NDARRAY),
    )
    dtype = f.load(targets, objects.DTYPE)
    f.require(
        f.load_int(targets, objects.NDIM) == ndim,
        f.load(dtype, objects.FORMAT) == told("targets_format"),
    )
    lengths, strides = (f.load(targets, at) for at in (objects.LENGTHS, objects.STRIDES))
    f.require(f.load(lengths, 0) == n)
    column = f.variable()
    with f.where(ndim == 2):
        f.require(f.load(lengths, 8) == told("outputs"))
        f.set(column, f.load(strides, 8))
    words = (f.load(targets, objects.DATA), f.load(strides, 0), f.get(column))
    for at, three in ((_X, given.words), (_TARGETS, words)):
        for i, word in enumerate(three):
            f.store(word, table, at + 8 * i)
    f.store(n, table, 0)
    f.store(f.constant(1), table, _BUSY)
    with f.gil_released_where(f.is_long(n * told("row_fmas"))):
        status = f.kernel(f.of_dtype(STEP), (table,))
    f.store(f.constant(0), table, _BUSY)
    f.require(status != BAD_LABEL)
    f.check(status)
    return f.answer(f.reference(f.known(objects.TRUE)))
