"""Kernels that only tests run as tasks of a job. Their import registers them: one process each.

A task is called with (address of its job's words, number of the task). Those that wait for another
one call what the pool looks up with its first worker: not before that.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np
from fastgrad._kernels.runtime.jit import stamp

from fastgrad._kernels.codegen import atomics
from fastgrad._kernels.codegen.memory import call_kernel, in_memory, table, word
from fastgrad._kernels.runtime import jit, thread_pool

Words = np.ndarray[Any, np.dtype[np.int64]]
PATIENCE = 60_000_000_000  # ns that a task waits for another one


def count(dtype: str) -> Any:
    """words: address of counts, pauses. One more to counts[task]."""
    version = stamp()

    def kernel_count(d):  # type: ignore[no-untyped-def]
        _ = version
        job, task = word(d, 0), word(d, 1)
        atomics.add(word(job, 0) + 8 * task, 1)
        for _pause in range(word(job, 1)):
            atomics.pause()
        return 0

    return kernel_count


def total(dtype: str) -> Any:
    """words: address of two sums. One more to the first, the task's number to the second."""
    version = stamp()

    def kernel_total(d):  # type: ignore[no-untyped-def]
        _ = version
        sums = word(word(d, 0), 0)
        atomics.add(sums, 1)
        atomics.add(sums + 8, word(d, 1))
        return 0

    return kernel_total


def meet(dtype: str) -> Any:
    """words: address of a counter, how many tasks are to be inside at a time. 1: they never were.

    Nobody leaves before all have come, so that each is another thread's.
    """
    version, patience, offer = stamp(), PATIENCE, thread_pool.YIELD

    def kernel_meet(d):  # type: ignore[no-untyped-def]
        _ = version
        job = word(d, 0)
        inside, wanted = word(job, 0), word(job, 1)
        end = thread_pool.now() + patience
        atomics.add(inside, 1)
        while atomics.load(inside) < wanted:
            atomics.call_void(atomics.load(table() + 8 * offer))
            if thread_pool.now() > end:
                return 1
        return 0

    return kernel_meet


def where(dtype: str) -> Any:
    """words: address of the results, pauses. An address on the stack of the thread that does it."""
    version = stamp()

    def kernel_where(d):  # type: ignore[no-untyped-def]
        _ = version
        job, task = word(d, 0), word(d, 1)
        atomics.store(word(job, 0) + 8 * task, in_memory((task,)))
        for _pause in range(word(job, 1)):
            atomics.pause()
        return 0

    return kernel_where


def turns(dtype: str) -> Any:
    """words: address of a counter. Each task waits for the one below it. 1: it never came."""
    version, patience, offer = stamp(), PATIENCE, thread_pool.YIELD

    def kernel_turns(d):  # type: ignore[no-untyped-def]
        _ = version
        done, task = word(word(d, 0), 0), word(d, 1)
        end = thread_pool.now() + patience
        while atomics.load(done) != task:
            atomics.call_void(atomics.load(table() + 8 * offer))
            if thread_pool.now() > end:
                return 1
        atomics.add(done, 1)
        return 0

    return kernel_turns


def status(dtype: str) -> Any:
    """words: address of the statuses that the tasks return."""
    version = stamp()

    def kernel_status(d):  # type: ignore[no-untyped-def]
        _ = version
        return atomics.load(word(word(d, 0), 0) + 8 * word(d, 1))

    return kernel_status


def control(dtype: str) -> Any:
    """words: address of a counter, tasks to meet, address of each task's control word."""
    version, met = stamp(), jit.slot(MEET, dtype)

    def kernel_control(d):  # type: ignore[no-untyped-def]
        _ = version
        job, task = word(d, 0), word(d, 1)
        atomics.store(word(job, 2) + 8 * task, atomics.control_word())
        return call_kernel(met, (job, task))

    return kernel_control


def nest(dtype: str) -> Any:
    """words: address of counts, tasks of the inner jobs, pauses. Each task is a job of counting."""
    version, counting, fork_join = stamp(), jit.slot(COUNT, dtype), thread_pool.FORK_JOIN

    def kernel_nest(d):  # type: ignore[no-untyped-def]
        _ = version
        job, task = word(d, 0), word(d, 1)
        counts = word(job, 0) + 8 * task * word(job, 1)
        words = in_memory((counts, word(job, 2)))
        return call_kernel(fork_join, (counting, words, word(job, 1), 1_000_000))

    return kernel_nest


FLOAT32 = jit.DTYPES[:1]
COUNT = jit.register("test_count", count, FLOAT32)
TOTAL = jit.register("test_total", total, FLOAT32)
MEET = jit.register("test_meet", meet, FLOAT32)
WHERE = jit.register("test_where", where, FLOAT32)
TURNS = jit.register("test_turns", turns, FLOAT32)
STATUS = jit.register("test_status", status, FLOAT32)
CONTROL = jit.register("test_control", control, FLOAT32, uses=(MEET,))
NEST = jit.register("test_nest", nest, FLOAT32, uses=(COUNT,))

AWAKE = thread_pool.WAKE_NS  # an estimate that wakes sleeping workers
ASLEEP = 0  # one that does not
_HOLDING = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)  # the GIL


def run(
    kernel: int, words: tuple[Any, ...], tasks: int, estimate: int = AWAKE, nogil: bool = True
) -> int:
    """Run a job and return its status; arrays among the words are passed by address."""
    job = np.array([w.ctypes.data if isinstance(w, np.ndarray) else w for w in words], np.int64)
    index = jit.slot(kernel, "float32")
    descriptor = np.array([index, job.ctypes.data, tasks, estimate], np.int64)
    fork_join = (jit.KERNEL_TYPE if nogil else _HOLDING)(jit.TABLE[thread_pool.FORK_JOIN])
    return int(fork_join(descriptor.ctypes.data))


def zeros(n: int = 1) -> Words:
    return np.zeros(n, np.int64)


def all_meet(threads: int) -> bool:
    """Whether so many threads do tasks of one job at a time."""
    return run(MEET, (zeros(), threads), threads) == 0


def doers(tasks: int, estimate: int = AWAKE) -> Words:
    """Run a job of ~10 us a task; where on its stack each task's thread was."""
    places = zeros(tasks)
    assert run(WHERE, (places, 300), tasks, estimate) == 0
    return places


def threads_of(places: Words) -> int:
    """How many threads did tasks: on one stack, all are at nearly one place."""
    return 1 + int((np.diff(np.sort(places)) > 1 << 16).sum())


def workers() -> list[int]:
    """The state of each worker that was started."""
    states = [thread_pool.WORKERS + i * jit.LINE for i in range(jit.TABLE[thread_pool.STARTED])]
    return [jit.TABLE[i] for i in states]


def wait_until_asleep() -> None:
    end = time.monotonic() + 20
    while any(state != thread_pool.ASLEEP for state in workers()):
        assert time.monotonic() < end, "workers do not go to sleep"
        time.sleep(0.001)


def job_number() -> int:
    """Of the last job that was given to workers; others run serially."""
    return int(jit.TABLE[thread_pool.TICKET]) >> 32
