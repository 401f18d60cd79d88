"""The one place for numba: options, and a function of words in, machine code for C to call out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba import types
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock

from ..codegen.pipeline import KernelCompiler
from . import disk_cache
from .table import keep

# fastmath and error_model are inherited from the first caller where they are not set; boundscheck
# would have no arrays to check.
OPTIONS: dict[str, Any] = {"fastmath": False, "error_model": "numpy"}

THREAD_NAME = "fastgrad-compiles"
_seconds = 0.0
_count: Callable[[str], None] | None = None  # is told the name of each kernel that is ready
lock = threading.RLock()


def compiled(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """A function of words or views, compiled or from the disk; with its ``address``.

    The sources and its name tell it from all others on the disk.
    """
    global _seconds
    start = time.perf_counter()
    try:
        return _in_own_thread(_compile, name, function, arguments)
    finally:
        _seconds += time.perf_counter() - start
        if _count is not None:
            _count(name)


@contextmanager
def counted(count: Callable[[str], None]) -> Iterator[None]:
    """Inside it ``count`` is called with the name of each kernel once it is compiled or loaded."""
    global _count
    _count = count
    try:
        yield
    finally:
        _count = None


def address_of(name: str, function: Callable[..., Any]) -> int:
    """The address of a function of words, compiled, as long as the process lives."""
    with lock:
        result = compiled(name, function, (types.int64,) * function.__code__.co_argcount)
    return int(keep(result).address)


def seconds() -> float:
    """Time this process has spent compiling or loading kernels."""
    return _seconds


def cache_path() -> str:
    """The folder that the kernels are kept in."""
    cache = disk_cache.cache_of("")
    if cache is None:
        return "none: no folder can be written to, so every process compiles anew"
    return str(cache.cache_path)


def _compile(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    signature = arguments, types.int64
    made: Any = CFunc(function, signature, {}, OPTIONS, pipeline_class=KernelCompiler)
    cache = disk_cache.cache_of(name)
    if cache is not None:
        made._cache = cache
    else:
        disk_cache.warn("no folder can be written to")
    made.compile()
    return made


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

    thread = threading.Thread(target=run, name=THREAD_NAME, daemon=True)
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


def _renew_lock() -> None:
    global lock
    lock = threading.RLock()  # the thread that held it may not exist in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
