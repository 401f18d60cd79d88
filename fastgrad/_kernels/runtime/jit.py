"""The one place for numba: options, compiling, and the table of entry points.

A kernel is a function of one descriptor address, compiled as by ``numba.cfunc`` when it is first
called, and kept on disk by disk.py. Its address stands in a slot of the table, which all compiled
code, ours and users', reaches through one external symbol; an empty slot holds a trampoline that
compiles and goes on.

The table (64-bit words), in memory that is never freed and found again on re-import; words 0 and 1
are in machine code that users keep, and never move:
    0             ABI version, compared by callers
    1             the gateway, all that users' compiled functions call, see gateway.py
    SCRATCH ...   scratch arenas, see scratch.py
    PYTHON ...    addresses of Python's and numpy's objects and functions, see objects.py
    SLOTS ...     kernels, one word each: 2 * number + (1 for float64)
    READY ...     beside each slot, 1 once it holds a compiled kernel
    POOL ...      the fork-join pool, see pool.py
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from numba import types
from numba.core import config
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock

from ..codegen.memory import TABLE_SYMBOL
from . import disk_cache, source_hash
from .callbacks import KERNEL_TYPE as KERNEL_TYPE
from .callbacks import entry

ABI_VERSION = 1
SCRATCH, PYTHON, SLOTS, READY, POOL = 8, 208, 256, 512, 768
TABLE_WORDS = 2048
LINE = 16  # words that two threads should not share: two cache lines, which are fetched together

# Status of a kernel; bits, so that those of a job's tasks are or-ed
OK, OUT_OF_MEMORY, FAILED, BAD_LABEL = 0, 1, 2, 4

# fastmath and error_model are inherited from the first caller where they are not set; boundscheck
# would have no arrays to check.
OPTIONS: dict[str, Any] = {"fastmath": False, "error_model": "numpy"}

# NUMBA_DISABLE_JIT, as it was when this was imported: see _without_jit.py.
DISABLED = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]

Builder = Callable[[str], Callable[..., Any]]
DTYPES = ("float32", "float64")
COMPILES = "fastgrad-compiles"  # name of the thread that does
_builders: dict[int, Callable[[], Callable[..., Any]]] = {}  # by slot
_uses: dict[int, list[int]] = {}  # by slot
_compiled: dict[int, Any] = {}  # by slot
_numbers: list[str] = []
_lock = threading.RLock()
_failures: dict[int, BaseException] = {}  # by thread, and the last one of any as LAST
_LAST = 0
_compile_seconds = 0.0
stamp = source_hash.stamp  # every kernel closes over it


def register(
    name: str, build: Builder, dtypes: tuple[str, ...] = DTYPES, uses: tuple[int, ...] = ()
) -> int:
    """Give ``build(dtype) -> function of a descriptor`` a number in the table.

    A kernel that computes with no floats has one dtype, the first. ``uses``: numbers of kernels
    that it calls as a task of a job, compiled before it (see pool.ensure).
    """
    number = _new_number(name)
    for dtype in dtypes:
        index = slot(number, dtype)
        _uses[index] = [slot(used, dtype) for used in uses]
        _builders[index] = functools.partial(build, dtype)
        _fill(index, functools.partial(_first_call, index))
    return number


def failed(error: BaseException) -> int:
    """The status of a kernel that raised this; it waits for whoever called from Python."""
    _failures[threading.get_ident()] = _failures[_LAST] = error
    return FAILED


def register_callback(
    name: str, function: Callable[[int], int], caught: Callable[[BaseException], int] = failed
) -> int:
    """Give a Python function of a descriptor a slot: what compiled code asks Python for.

    ``caught`` makes a status of an exception.
    """
    index = slot(_new_number(name), DTYPES[0])
    _fill(index, function, caught)
    TABLE[READY + index - SLOTS] = 1
    return index


def replace(number: int, dtype: str, function: Callable[[int], int]) -> None:
    """Let a Python function of a descriptor stand for a kernel, which is not compiled then."""
    index = slot(number, dtype)
    _fill(index, function)
    _compiled[index], _uses[index] = function, []
    TABLE[READY + index - SLOTS] = 1


def _new_number(name: str) -> int:
    assert name not in _numbers and SLOTS + 2 * len(_numbers) + 1 < READY
    _numbers.append(name)
    return len(_numbers) - 1


def _fill(
    index: int, function: Callable[[int], int], caught: Callable[[BaseException], int] = failed
) -> None:
    TABLE[READY + index - SLOTS] = 0  # it may be 1 from an earlier import
    TABLE[index] = address_of(function, caught)


def address_of(function: Callable[[int], int], caught: Callable[[BaseException], int]) -> int:
    """Of a Python function, for compiled code; it lives as long as the process."""
    return ctypes.cast(keep(entry(function, caught)), ctypes.c_void_p).value or 0


def keep(what: Any) -> Any:
    """``what``, which now lives as long as the process: machine code has its address."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))
    return what


def slot(number: int, dtype: str) -> int:
    return SLOTS + 2 * number + (dtype == "float64")


def _first_call(index: int, descriptor: int) -> int:
    """What an empty slot does: compile or load, fill the slot, and do the call."""
    compile_slot(index)
    return int(KERNEL_TYPE(TABLE[index])(descriptor))


def compile_slot(index: int) -> int:
    with _lock:
        for used in _uses[index]:
            compile_slot(used)
        if index not in _compiled:
            function = _timed(_compile, _builders[index]())
            _compiled[index] = function
            TABLE[index] = function.address
            TABLE[READY + index - SLOTS] = 1
    return OK


def compile_all() -> None:
    for index in _builders:
        compile_slot(index)


def _compile(function: Callable[..., Any]) -> Any:
    """A function of words, for C to call; compiled, or from the cache."""
    arguments = (types.int64,) * function.__code__.co_argcount
    compiled: Any = CFunc(function, (arguments, types.int64), locals={}, options=OPTIONS)
    cache = disk_cache.cache_of(function)
    if cache is not None:
        compiled._cache = cache
    else:
        disk_cache.warn("no folder can be written to")
    compiled.compile()
    return compiled


def compile_callable(function: Callable[..., Any]) -> int:
    """The address of a function of words, once it is compiled, as long as the process lives."""
    with _lock:
        compiled = _timed(_compile, function)
    return int(keep(compiled).address)


def _timed(function: Callable[..., Any], *args: Any) -> Any:
    global _compile_seconds
    start = time.perf_counter()
    try:
        return _in_own_thread(function, *args)
    finally:
        _compile_seconds += time.perf_counter() - start


def _in_own_thread(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), out of the reach of signal handlers, which run in the main thread.

    A KeyboardInterrupt inside a callback of llvmlite's kills the process. Here it comes out of the
    wait, once the thread has ended.
    """
    if threading.current_thread() is not threading.main_thread() or _is_compiling():
        return function(*args)
    found: list[Any] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            found.append(function(*args))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name=COMPILES, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread to be had, or the interpreter is leaving
        return function(*args)
    interrupt: BaseException | None = None
    while thread.is_alive():
        try:
            thread.join()
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
    if raised:
        raise raised[0]
    return found[0]


def _is_compiling() -> bool:
    """Whether this thread is inside numba's compiler: another one would wait for it for ever."""
    return bool(global_compiler_lock.is_locked())


def compile_seconds() -> float:
    """Time this process has spent compiling or loading kernels."""
    return _compile_seconds


def cache_path() -> str:
    """The folder that the kernels are kept in."""
    cache = disk_cache.cache_of(slot)
    if cache is None:
        return "none: no folder can be written to, so every process compiles anew"
    return str(cache.cache_path)


def raise_status(status: int) -> None:
    """A kernel's status other than OK as the exception it stands for."""
    if status & FAILED:
        last = _failures.pop(_LAST, None)  # of a worker, if not of this thread
        error = _failures.pop(threading.get_ident(), last)
        raise error if error is not None else RuntimeError("fastgrad: a kernel failed to compile")
    if status & OUT_OF_MEMORY:
        raise MemoryError("fastgrad: no memory for the scratch of a kernel")
    raise SystemError(f"fastgrad: a kernel returned the status {status}")


def _make_table() -> Any:
    """The process's table: found by its symbol, or made in memory that is never freed."""
    address = llvm.address_of_symbol(TABLE_SYMBOL)
    kind = ctypes.c_int64 * TABLE_WORDS
    if not address:
        calloc = ctypes.pythonapi.PyMem_RawCalloc
        calloc.restype, calloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t, ctypes.c_size_t]
        line = 8 * LINE
        address = -(-calloc(TABLE_WORDS + LINE, 8) // line) * line
        llvm.add_symbol(TABLE_SYMBOL, address)
    table = kind.from_address(address)
    table[0] = ABI_VERSION
    return table


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()  # the thread that held it may not exist in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)

TABLE = _make_table()
COMPILE = register_callback("compile", lambda d: compile_slot(ctypes.c_int64.from_address(d).value))
