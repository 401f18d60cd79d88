"""Where CPython and numpy keep what object_frame.py reads of their objects, found out and verified.

The offsets are those of every CPython and numpy so far; ``verify`` compares what stands there in
live objects with what Python says of them, before compiled code looks for the first time. What is
an address in this process stands in the table: machine code is cached for others.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..formulas import activations
from ..layer.conversion import KINDS
from ..runtime.registry import raise_status
from ..runtime.scratch import ARENAS
from ..runtime.table import PYTHON, SCRATCH, SLOTS, TABLE, keep
from .grads import LinearGrads

# Bytes from the start of an object: the first is 16, or 32 where there is no GIL.
HEADER = object.__basicsize__
TYPE = HEADER - 8
DATA, NDIM, LENGTHS, STRIDES, DTYPE, FLAGS = (HEADER + n for n in (0, 8, 16, 24, 40, 48))
FORMAT = HEADER + 8  # of a dtype: kind, character, byte order, flags; then the number of the type
WRITEABLE = 0x400  # in FLAGS

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_INT64 = np.dtype(np.int64)
_TP_NEW = 65  # Py_tp_new of Python's stable ABI

# Objects whose addresses stand in the table, ...
_OBJECTS = {
    "ndarray": np.ndarray, "tuple": tuple, "float": float, "int": int, "LinearGrads": LinearGrads,
    "raise": raise_status, "None": None, "True": True, "False": False,
    "np.float32": np.float32, "np.float64": np.float64, "np.int64": np.int64,
    "float32": _FLOATS[0], "float64": _FLOATS[1], "int64": _INT64,
    "nothing": np.empty((0, 0), np.float32),
    **{f"activation {row.code}": sys.intern(row.name) for row in activations.TABLE},
}  # fmt: skip
OBJECT = {name: PYTHON + i for i, name in enumerate(_OBJECTS)}
# ... the words at FORMAT of the dtypes that can be converted, ...
_FORMATS = {name: np.dtype(name) for name in KINDS}
FORMATS = {name: PYTHON + len(OBJECT) + i for i, name in enumerate(_FORMATS)}
# ... and functions of Python and numpy.
FUNCTIONS = (
    "PyLong_FromLong", "PyLong_AsLongLong", "PyFloat_FromDouble", "PyFloat_AsDouble",
    "PyEval_SaveThread", "PyEval_RestoreThread", "Py_IncRef", "Py_DecRef", "PyTuple_New",
    "PyTuple_Size", "PyTuple_GetItem", "PyTuple_SetItem", "PyErr_Clear", "PyErr_Occurred",
    "PyObject_CallObject", "tuple.tp_new", "PyArray_Empty", "PyArray_Return",
)  # fmt: skip
FUNCTION = {name: PYTHON + len(OBJECT) + len(FORMATS) + i for i, name in enumerate(FUNCTIONS)}
assert SCRATCH + 2 * ARENAS <= PYTHON
assert PYTHON + len(OBJECT) + len(FORMATS) + len(FUNCTIONS) <= SLOTS

_ABI = (0x1000009, 0x2000000)  # of numpy 1 and 2: their tables of functions have the same places
_ABI_AT, _NDARRAY_AT, _RETURN_AT, _EMPTY_AT = 0, 2, 76, 184  # in that table


@functools.cache
def verify() -> bool:
    """Fill the table. False where something is not as assumed: then nothing may be read."""
    try:
        if ctypes.sizeof(ctypes.c_void_p) != 8 or not _objects_are_as_assumed():
            return False
        for name in FUNCTIONS[:-3]:
            TABLE[FUNCTION[name]] = _address(getattr(ctypes.pythonapi, name))
        TABLE[FUNCTION["tuple.tp_new"]] = _slot_of(tuple, _TP_NEW)
        for name, at in (("PyArray_Empty", _EMPTY_AT), ("PyArray_Return", _RETURN_AT)):
            TABLE[FUNCTION[name]] = _of_numpy(at)
    except (AttributeError, ImportError, ValueError):  # no such symbol, no such module
        return False
    for name, one in _OBJECTS.items():
        TABLE[OBJECT[name]] = id(keep(one))
    for name, dtype in _FORMATS.items():
        TABLE[FORMATS[name]] = format_of(dtype)
    return True


def format_of(dtype: Any) -> int:
    """What stands at FORMAT of a dtype."""
    return _word(id(dtype) + FORMAT)


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _int(address: int) -> int:
    return ctypes.c_int32.from_address(address).value


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _objects_are_as_assumed() -> bool:
    """Whether arrays, dtypes and types of objects stand where this file says."""
    if np.ndarray.__basicsize__ < FLAGS + 4 or np.dtype.__basicsize__ < FORMAT + 8:
        return False
    if any(_word(id(one) + TYPE) != id(type(one)) for one in _OBJECTS.values()):
        return False
    return all(_is_array_as_assumed(a) for a in _samples()) and _are_formats_as_assumed()


def _is_array_as_assumed(a: np.ndarray[Any, Any]) -> bool:
    at, n = id(a), a.ndim
    fields = [_word(at + TYPE), _word(at + DATA), _int(at + NDIM), _word(at + DTYPE)]
    if fields != [id(type(a)), a.__array_interface__["data"][0], n, id(a.dtype)]:
        return False
    flags, writeable = _int(at + FLAGS), WRITEABLE if a.flags.writeable else 0
    if flags != a.flags.num or flags & WRITEABLE != writeable:
        return False
    lengths, strides = _word(at + LENGTHS), _word(at + STRIDES)
    if strides != lengths + 8 * n or not lengths:  # one block: so these are the addresses meant
        return False
    shape = tuple(_word(lengths + 8 * i) for i in range(n))
    return shape == a.shape and tuple(_word(strides + 8 * i) for i in range(n)) == a.strides


def _are_formats_as_assumed() -> bool:
    """Whether the word at FORMAT tells the dtypes from each other, others, and swapped ones."""
    dtypes = [*_FORMATS.values()]
    known, letters = [format_of(d) for d in dtypes], [d.char for d in dtypes]
    others = [np.dtype(c) for c in "?bBhHiIlLqQefdgFDGOSUVMm" if c not in letters]
    others += [d.newbyteorder() for d in dtypes if d.itemsize > 1]
    equal = np.dtype(np.float32, metadata={"equal": "but not identical"})
    return (
        len(set(known)) == len(known)
        and not any(format_of(d) in known for d in others)
        and format_of(equal) == format_of(np.dtype(np.float32))
    )


def _samples() -> Iterator[np.ndarray[Any, Any]]:
    for dtype in _FLOATS:
        base = np.arange(60, dtype=dtype)
        read_only = base[3:7]
        read_only.flags.writeable = False
        cube = base.reshape(3, 4, 5)
        yield from (base, read_only, base.reshape(4, 15), base.reshape(15, 4).T, cube[::-2, :, 1:])
        yield from (np.broadcast_to(base[:4], (2, 4)), np.empty((0, 7), dtype), cube.astype(">f8"))


def _slot_of(kind: type, number: int) -> int:
    """The C function in a slot of a type."""
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_int)
    found = prototype(("PyType_GetSlot", ctypes.pythonapi))(kind, number)
    if not found:
        raise ValueError(f"{kind} has no slot {number}")
    return int(found)


def _of_numpy(at: int) -> int:
    """A function of numpy's, from the table that every extension module takes it from."""
    try:
        core: Any = importlib.import_module("numpy._core._multiarray_umath")
    except ImportError:  # numpy 1
        core = importlib.import_module("numpy.core._multiarray_umath")
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    functions = prototype(_address(pointer))(core._ARRAY_API, None)
    abi = ctypes.CFUNCTYPE(ctypes.c_uint)(_word(functions + 8 * _ABI_AT))
    if abi() not in _ABI or _word(functions + 8 * _NDARRAY_AT) != id(np.ndarray):
        raise ValueError("numpy's table of functions is not the one that is known")
    return _word(functions + 8 * at)
