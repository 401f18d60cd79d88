"""The one place for numba: options, cache policy, and the table of entry points.

A kernel is a function of one descriptor address, compiled by ``numba.cfunc`` when it is first
called. Its address stands in a slot of the table, which all compiled code, ours and users',
reaches through one external symbol; an empty slot holds a trampoline that compiles and goes on.

The table (64-bit words), in memory that is never freed and found again on re-import:
    0             ABI version, compared by callers
    SCRATCH ...   scratch arenas, see scratch.py
    SLOTS ...     kernels, one word each: 2 * number + (1 for float64)
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import types

from .lowlevel import TABLE_SYMBOL

ABI_VERSION = 1
TABLE_WORDS = 512
SCRATCH = 8
SLOTS = 128
KERNEL_TYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)

# Status of a kernel
OK, OUT_OF_MEMORY, FAILED = 0, 1, 2

# fastmath and error_model are inherited from the first caller where they are not set; boundscheck
# would have no arrays to check.
OPTIONS: dict[str, Any] = {"fastmath": False, "error_model": "numpy"}

Builder = Callable[[str], Callable[..., Any]]
_builders: dict[str, Builder] = {}
_lock = threading.RLock()
_failure = threading.local()
_keep: list[Any] = []  # compiled code and trampolines live as long as the process
_compile_seconds = 0.0


def register(name: str, build: Builder) -> int:
    """Give ``build(dtype) -> function of a descriptor`` a number in the table."""
    number = len(_builders)
    _builders[name] = build
    for dtype in ("float32", "float64"):
        trampoline = KERNEL_TYPE(functools.partial(_first_call, name, dtype))
        _keep.append(trampoline)
        TABLE[slot(number, dtype)] = ctypes.cast(trampoline, ctypes.c_void_p).value or 0
    return number


def slot(number: int, dtype: str) -> int:
    return SLOTS + 2 * number + (dtype == "float64")


def _first_call(name: str, dtype: str, descriptor: int) -> int:
    """What an empty slot does: compile or load, fill the slot, and do the call."""
    try:
        address = compile_kernel(name, dtype)
        return int(KERNEL_TYPE(address)(descriptor))
    except BaseException as error:  # cannot pass through compiled frames: see raise_status
        _failure.error = error
        return FAILED


def compile_kernel(name: str, dtype: str) -> int:
    with _lock:
        number = list(_builders).index(name)
        index = slot(number, dtype)
        if index not in _compiled:
            function = _timed(_compile, _builders[name](dtype))
            _compiled[index] = function
            TABLE[index] = function.address
        return int(_compiled[index].address)


_compiled: dict[int, Any] = {}


def _compile(function: Callable[..., Any]) -> Any:
    signature = types.int64(types.int64)
    try:
        return numba.cfunc(signature, cache=True, **OPTIONS)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return numba.cfunc(signature, **OPTIONS)(function)  # nowhere to write: compile each time


def entry(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """``@entry(sig)``: a function that Python calls with arrays; compiled at once, GIL released."""

    def decorate(function: Callable[..., Any]) -> Any:
        options = {**OPTIONS, "nogil": True}
        try:
            return _timed(numba.njit(signature, cache=True, **options), function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return _timed(numba.njit(signature, **options), function)

    return decorate


def _timed(function: Callable[..., Any], *args: Any) -> Any:
    global _compile_seconds
    start = time.perf_counter()
    try:
        return function(*args)
    finally:
        _compile_seconds += time.perf_counter() - start


def kernel_names() -> list[str]:
    return list(_builders)


def compile_seconds() -> float:
    """Time this process has spent compiling or loading kernels."""
    return _compile_seconds


def cache_path() -> str:
    """The folder that numba keeps the kernels in: asked of a function that is not compiled."""
    try:
        return str(numba.njit(cache=True)(slot).stats.cache_path)
    except RuntimeError:  # no locator available
        return "none: no folder can be written to, so every process compiles anew"


def raise_status(status: int) -> None:
    """A kernel's status other than OK as the exception it stands for."""
    if status == FAILED:
        error = getattr(_failure, "error", None)
        _failure.error = None
        raise error if error is not None else RuntimeError("fastgrad: a kernel failed to compile")
    if status == OUT_OF_MEMORY:
        raise MemoryError("fastgrad: no memory for the scratch of a kernel")
    raise SystemError(f"fastgrad: a kernel refused arguments that had been checked ({status})")


@functools.cache
def stamp() -> int:
    """Hash of the sources that kernels are generated from.

    numba's cache key holds a function's bytecode and closure, not the intrinsics it calls. Every
    kernel closes over this number, so that an upgrade never runs yesterday's machine code.
    """
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return int.from_bytes(digest.digest()[:7], "little")


def _make_table() -> Any:
    """The process's table: found by its symbol, or made in memory that is never freed."""
    address = llvm.address_of_symbol(TABLE_SYMBOL)
    kind = ctypes.c_int64 * TABLE_WORDS
    if not address:
        calloc = ctypes.pythonapi.PyMem_RawCalloc
        calloc.restype, calloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t, ctypes.c_size_t]
        address = calloc(TABLE_WORDS, 8)
        llvm.add_symbol(TABLE_SYMBOL, address)
    table = kind.from_address(address)
    table[0] = ABI_VERSION
    return table


TABLE = _make_table()
