"""Kernels that only tests run as tasks of a job. Their import registers them: one process each.

A task is called with (address of its job's plan, number of the task). Those that wait for another
one call what the pool looks up with its first worker: not before that.
"""

from __future__ import annotations

import ctypes
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgrad._kernels.codegen import atomics, structs
from fastgrad._kernels.codegen.calls import call
from fastgrad._kernels.codegen.memory import table
from fastgrad._kernels.codegen.structs import address, on_stack, view
from fastgrad._kernels.runtime import demand, pool_kernels, pool_words, registry
from fastgrad._kernels.runtime.callbacks import KERNEL_TYPE
from fastgrad._kernels.runtime.pool_kernels import fork_join, now
from fastgrad._kernels.runtime.registry import Floats, Kernel, Task
from fastgrad._kernels.runtime.table import DTYPES, LINE, TABLE

Words = np.ndarray[Any, np.dtype[np.int64]]
PATIENCE = 60_000_000_000  # ns that a task waits for another one
# The cache knows kernels by name and by the sources of the package, which this file is not one of.
_VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def task(plan: Any, uses: tuple[Kernel, ...] = ()) -> Callable[[Any], Kernel]:
    def register(build: Callable[[Floats], Callable[..., Any]]) -> Kernel:
        name = f"test_{build.__name__}_{_VERSION}"
        return registry.register(name, build, Task, DTYPES[:1], uses, plan)

    return register


class Counts(NamedTuple):
    counts: int  # address of one word a task
    pauses: int


class Sums(NamedTuple):
    sums: int  # address of two words


class Meeting(NamedTuple):
    inside: int  # address of a counter
    wanted: int  # how many tasks are to be inside at a time


class Waiting(NamedTuple):
    done: int  # address of a counter
    who: int  # the task that waits, ...
    wanted: int  # until so many others are done


class Statuses(NamedTuple):
    statuses: int  # address of one word a task


class Controls(NamedTuple):
    meeting: Meeting
    words: int  # address of one word a task


class Nesting(NamedTuple):
    counts: int  # address of inner counts for each task
    inner: int  # tasks of an inner job
    pauses: int


@task(Counts)
def count(t: Floats) -> Any:
    """One more to counts[task]."""

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Counts)
        atomics.add(plan.counts + 8 * p.task, 1)
        for _pause in range(plan.pauses):
            atomics.pause()
        return 0

    return body


@task(Sums)
def total(t: Floats) -> Any:
    """One more to the first sum, the task's number to the second."""

    def body(p):  # type: ignore[no-untyped-def]
        sums = view(p.plan, Sums).sums
        atomics.add(sums, 1)
        atomics.add(sums + 8, p.task)
        return 0

    return body


@task(Meeting)
def meet(t: Floats) -> Any:
    """1: so many tasks never were inside at a time.

    Nobody leaves before all have come, so that each is another thread's.
    """
    patience, offer = PATIENCE, pool_words.YIELD

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Meeting)
        end = now() + patience
        atomics.add(plan.inside, 1)
        while atomics.load(plan.inside) < plan.wanted:
            atomics.call_void(atomics.load(table() + 8 * offer))
            if now() > end:
                return 1
        return 0

    return body


@task(Counts)
def where(t: Floats) -> Any:
    """counts[task] = an address on the stack of the thread that does it."""

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Counts)
        here = on_stack(Task(plan=p.plan, task=p.task))
        atomics.store(plan.counts + 8 * p.task, address(here))
        for _pause in range(plan.pauses):
            atomics.pause()
        return 0

    return body


@task(Waiting)
def wait(t: Floats) -> Any:
    """One task waits for all others. 1: they never were done."""
    patience, offer = PATIENCE, pool_words.YIELD

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Waiting)
        if p.task != plan.who:
            atomics.add(plan.done, 1)
            return 0
        end = now() + patience
        while atomics.load(plan.done) != plan.wanted:
            atomics.call_void(atomics.load(table() + 8 * offer))
            if now() > end:
                return 1
        return 0

    return body


@task(Statuses)
def status(t: Floats) -> Any:
    """The tasks return them."""

    def body(p):  # type: ignore[no-untyped-def]
        return atomics.load(view(p.plan, Statuses).statuses + 8 * p.task)

    return body


@task(Controls, uses=(meet,))
def control(t: Floats) -> Any:
    """words[task] = the control word of the thread that does it; and all meet."""
    met = t[meet]

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Controls)
        atomics.store(plan.words + 8 * p.task, atomics.control_word())
        return call(met, Task(plan=address(plan.meeting), task=p.task))

    return body


@task(Nesting, uses=(count,))
def nest(t: Floats) -> Any:
    """Each task is a job of counting."""
    counting = t[count]

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Nesting)
        counts = plan.counts + 8 * p.task * plan.inner
        job = on_stack(Counts(counts=counts, pauses=plan.pauses))
        return fork_join(counting, job, plan.inner, 1_000_000)

    return body


AWAKE = demand.LONG_NS  # an estimate that wakes sleeping workers
ASLEEP = 0  # one that does not
_HOLDING = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)  # the GIL


def run(
    kernel: Kernel, words: tuple[Any, ...], tasks: int, estimate: int = AWAKE, nogil: bool = True
) -> int:
    """Run a job and return its status; arrays among its plan's words are passed by address."""
    plan = np.array([w.ctypes.data if isinstance(w, np.ndarray) else w for w in words], np.int64)
    assert len(plan) == len(structs.names(kernel.plan))
    job = np.array([kernel.slot(DTYPES[0]), plan.ctypes.data, tasks, estimate], np.int64)
    assert len(job) == len(structs.names(pool_kernels.FORK_JOIN.struct))
    found = TABLE[pool_kernels.FORK_JOIN.slot(DTYPES[0])]
    pool = (KERNEL_TYPE if nogil else _HOLDING)(found)
    return int(pool(job.ctypes.data))


def zeros(n: int = 1) -> Words:
    return np.zeros(n, np.int64)


def all_meet(threads: int) -> bool:
    """Whether so many threads do tasks of one job at a time."""
    return run(meet, (zeros(), threads), threads) == 0


def doers(tasks: int, estimate: int = AWAKE) -> Words:
    """Run a job of ~10 us a task; where on its stack each task's thread was."""
    places = zeros(tasks)
    assert run(where, (places, 300), tasks, estimate) == 0
    return places


def threads_of(places: Words) -> int:
    """How many threads did tasks: on one stack, all are at nearly one place."""
    return 1 + int((np.diff(np.sort(places)) > 1 << 16).sum())


def workers() -> list[int]:
    """The state of each worker that was started."""
    states = [pool_words.WORKERS + i * LINE for i in range(TABLE[pool_words.STARTED])]
    return [TABLE[i] for i in states]


def wait_until_asleep() -> None:
    end = time.monotonic() + 20
    while any(state != pool_words.ASLEEP for state in workers()):
        assert time.monotonic() < end, "workers do not go to sleep"
        time.sleep(0.001)


def job_number() -> int:
    """Of the last job that was given to workers; others run serially."""
    return int(TABLE[pool_words.TICKET]) >> 32
