"""The fork-join pool, Python's part: how many threads, starting and stopping them, forks.

Workers are daemon Python threads inside pool_kernels.pool_worker. The pool's words stand in the
table, so there is one pool a process, whoever asks for it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from numba.core.compiler_lock import global_compiler_lock

from . import compiler, registry
from .pool_kernels import pool_worker
from .pool_words import (
    ACQUIRE,
    BUSY,
    CALLERS,
    CLOCK,
    CLOCK_ID,
    CPU,
    GET_MASK,
    LOCK,
    MAX_THREADS,
    MOVED,
    REFUSED,
    RELEASE,
    RUNNING,
    SET_MASK,
    START,
    STARTED,
    STOP,
    THREAD,
    THREADS,
    TICKET,
    WORKERS,
    YIELD,
)
from .table import DTYPES, LINE, OK, TABLE

default: Callable[[], int] = lambda: 1  # noqa: E731  set from above: fastgrad/threads.py
_lock = threading.Lock()
_held: tuple[Any, ...] = ()  # locks, during a fork
_workers: list[threading.Thread] = []


def threads() -> int:
    """The number of threads that calls use, the caller among them."""
    if TABLE[THREADS] == 0:
        TABLE[THREADS] = max(1, min(default(), MAX_THREADS))
    return int(TABLE[THREADS])


def set_threads(n: int) -> None:
    """Takes effect at the next job. Threads are started when a job wants them, and kept."""
    TABLE[THREADS] = n
    TABLE[REFUSED] = 0


def _start(address: int) -> int:
    """Decide the number of threads if nobody has, and start those that are missing."""
    with _lock:
        wanted = threads() - 1
        if wanted > TABLE[STARTED] and not TABLE[STOP] and not TABLE[REFUSED]:
            try:
                _find_primitives()
                registry.compile_slot(_WORKER)
                for helper in range(TABLE[STARTED], wanted):
                    _start_worker(helper)
            except (AttributeError, OSError, RuntimeError, TypeError):
                TABLE[REFUSED] = 1  # no such primitive, no thread to be had: fewer do the work
    return OK


def _find_primitives() -> None:
    """Addresses of what the loop calls; raises where the platform lacks one."""
    api, libc = ctypes.pythonapi, ctypes.CDLL(None)
    api.PyThread_allocate_lock.restype = ctypes.c_void_p
    for index, function in (
        (ACQUIRE, api.PyThread_acquire_lock),
        (RELEASE, api.PyThread_release_lock),
        (YIELD, libc.sched_yield),
    ):
        TABLE[index] = ctypes.cast(function, ctypes.c_void_p).value or 0
    with contextlib.suppress(AttributeError):  # on Linux
        get_mask, set_mask = libc.sched_getaffinity, libc.sched_setaffinity
        TABLE[CPU] = ctypes.cast(libc.sched_getcpu, ctypes.c_void_p).value or 0
        TABLE[SET_MASK] = ctypes.cast(set_mask, ctypes.c_void_p).value or 0
        TABLE[GET_MASK] = ctypes.cast(get_mask, ctypes.c_void_p).value or 0


def _find_clock() -> None:
    """Where there is none, no worker is started: ``_find_primitives`` finds no ``sched_yield``."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        clock = ctypes.CDLL(None).clock_gettime
        TABLE[CLOCK_ID] = time.CLOCK_MONOTONIC
        TABLE[CLOCK] = ctypes.cast(clock, ctypes.c_void_p).value or 0


def _start_worker(helper: int) -> None:
    state = WORKERS + helper * LINE
    TABLE[state], TABLE[state + MOVED] = RUNNING, 0  # a forked parent's may have been moved
    TABLE[state + LOCK] = ctypes.pythonapi.PyThread_allocate_lock()
    ctypes.pythonapi.PyThread_acquire_lock(ctypes.c_void_p(TABLE[state + LOCK]), 1)
    thread = threading.Thread(target=_run, args=(helper,), name=f"fastgrad-{helper}", daemon=True)
    try:
        thread.start()
    finally:  # an interrupt comes out of start() while it waits for a thread that exists
        if thread in threading.enumerate():
            _workers.append(thread)
            TABLE[STARTED] = helper + 1


def _run(helper: int) -> None:
    number = ctypes.c_int64(helper)
    TABLE[WORKERS + helper * LINE + THREAD] = threading.get_native_id()
    registry.function_in(_WORKER)(ctypes.addressof(number))


def stop() -> None:
    """At exit: wake every worker and wait until it has left the loop."""
    TABLE[STOP] = 1
    for helper in range(TABLE[STARTED]):
        ctypes.pythonapi.PyThread_release_lock(
            ctypes.c_void_p(TABLE[WORKERS + helper * LINE + LOCK])
        )
    TABLE[STARTED] = 0
    for thread in _workers:
        if thread.ident is not None:
            thread.join(timeout=1.0)


def _wait_for_compiling() -> None:
    """Before a fork: whoever compiles holds locks, ours and numba's, that a child would find held
    by nobody. Both at a time, or none while waiting: others take them in either order."""
    global _held
    ours, numbas = compiler.lock, global_compiler_lock._lock
    while True:
        ours.acquire()
        if numbas.acquire(blocking=False):
            break
        ours.release()
        time.sleep(0.001)
    _held = (ours, numbas)


def _go_on_compiling() -> None:
    for lock in _held:
        lock.release()


def _forget_after_fork() -> None:
    """A forked child has none of the workers, and perhaps a job that nobody will finish."""
    global _lock
    _lock = threading.Lock()
    _workers.clear()
    TABLE[STARTED] = TABLE[REFUSED] = TABLE[BUSY] = TABLE[CALLERS] = 0
    TABLE[TICKET] = TABLE[TICKET] >> 32 << 32  # for no thread
    _go_on_compiling()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_wait_for_compiling,
        after_in_parent=_go_on_compiling,
        after_in_child=_forget_after_fork,
    )
atexit.register(stop)

_find_clock()
_WORKER = pool_worker.slot(DTYPES[0])
TABLE[START] = registry.callback("pool_start", _start, registry.Nothing).index
