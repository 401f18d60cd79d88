"""What the pool costs: a job hot, a job that wakes a worker, and a second of doing nothing.

    python benchmarks/compare/forkjoin.py [--write]

Every task of these jobs waits until all tasks of its job have begun, so none of them can be done by
a thread that does another one. The wake-up is measured beside a bare one: a thread that waits on an
operating system's lock (CPython's PyThread lock, as the pool's workers do) until it is released, on
another CPU. What more threads would bring is a model, from the cost of a hot job: --write puts it
and the figures into docs/threads.md.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

import fastgrad
from fastgrad._kernels.codegen import atomics
from fastgrad._kernels.codegen.structs import on_stack, view
from fastgrad._kernels.runtime import demand, pool_words, registry
from fastgrad._kernels.runtime.pool_kernels import fork_join
from fastgrad._kernels.runtime.registry import Floats, Task
from fastgrad._kernels.runtime.table import DTYPES, OK, TABLE

THREADS, ROUNDS = 2, 300
LONG = 10 * demand.WAKE_NS  # a worker that fell asleep is woken: a task would wait for it for ever
MODELLED, LINE = (2, 4, 8, 16), 0.25  # threads; us of a cache line that goes from core to core
GOALS = {"hot": 1.0, "asleep": 1.2, "idle": 1.0}


class Meeting(NamedTuple):
    counter: int  # address
    target: int  # tasks


def meet(t: Floats) -> Any:
    """A task: wait until ``target`` tasks have begun."""

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Meeting)
        atomics.add(plan.counter, 1)
        while atomics.load(plan.counter) < plan.target:
            atomics.pause()
        return OK

    return body


# The cache knows kernels by name and by the sources of the package, which this file is not one of.
NAME = f"benchmark_meet_{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"
MEET = Floats(DTYPES[0])[registry.register(NAME, meet, Task, DTYPES[:1], plan=Meeting)]


@numba.njit(nogil=True)
def jobs(counter, count, estimate):  # type: ignore[no-untyped-def]
    """``count`` jobs of THREADS tasks that meet."""
    for _ in range(count):
        job = on_stack(Meeting(counter=counter, target=atomics.load(counter) + THREADS))
        fork_join(MEET, job, THREADS, estimate)


@numba.njit(nogil=True)
def wait_and_answer(acquire, lock, flag, rounds):  # type: ignore[no-untyped-def]
    for i in range(rounds):
        atomics.call_lock(acquire, lock)
        atomics.store(flag, i + 1)


@numba.njit(nogil=True)
def wake_and_wait(release, lock, flag, answer):  # type: ignore[no-untyped-def]
    atomics.call_lock(release, lock)
    while atomics.load(flag) < answer:
        atomics.pause()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    fastgrad.set_num_threads(THREADS)
    words = np.zeros(64, np.int64)
    counter, flag = words.ctypes.data, words[32:].ctypes.data
    jobs(counter, 1000, LONG)  # compiles; the worker starts, and is awake
    hot = [_microseconds(jobs, counter, 2000, LONG) / 2000 for _ in range(15)]
    print(f"hot: {statistics.median(hot):.2f} us a job (best {min(hot):.2f}; goal {GOALS['hot']})")

    api, state = ctypes.pythonapi, TABLE
    lock = api.PyThread_allocate_lock()
    api.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)
    wait_and_answer(state[pool_words.ACQUIRE], lock, flag, 0)
    wake_and_wait(
        state[pool_words.RELEASE], lock, flag, -1
    )  # compiled, and one release too many ...
    api.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)  # ... taken back
    arguments = (state[pool_words.ACQUIRE], lock, flag, ROUNDS)
    waiter = threading.Thread(target=wait_and_answer, args=arguments, daemon=True)
    waiter.start()
    _keep_apart(waiter)
    bare, asleep = [], []
    for i in range(ROUNDS):
        time.sleep(0.002)
        bare.append(_microseconds(wake_and_wait, state[pool_words.RELEASE], lock, flag, i + 1))
        time.sleep(0.002)
        asleep.append(_microseconds(jobs, counter, 1, LONG))
    waiter.join()
    ours, theirs = statistics.median(asleep), statistics.median(bare)
    print(f"asleep: {ours:.0f} us a job, {theirs:.0f} us a bare wake-up: {ours / theirs:.2f} times "
          f"(goal {GOALS['asleep']})")  # fmt: skip

    time.sleep(0.01)
    start = time.process_time()
    time.sleep(1)
    idle = 1e3 * (time.process_time() - start)
    print(f"idle: {idle:.2f} ms of CPU in a second (goal {GOALS['idle']})")
    assert (words[0] - 2000) % THREADS == 0
    join = statistics.median(hot)
    lines = [
        f"A hot job costs {join:.2f} µs; one that wakes its worker {ours:.0f} µs, "
        f"{ours / theirs:.2f} times a bare wake-up ({theirs:.0f} µs); an idle pool "
        f"{idle:.2f} ms of CPU a second.",
        "", *modelled(join),
    ]  # fmt: skip
    print("\n".join(lines))
    if options.write:
        import threads_page

        threads_page.write("forkjoin", lines, [], "benchmarks/compare/forkjoin.py")


def modelled(join: float) -> list[str]:
    """Of a job of t us: t / n + what a job costs, which each thread beyond two adds LINE to, since
    all of them count the tasks they have done in one word."""
    lines = ["| one thread | " + " | ".join(f"{n} threads" for n in MODELLED) + " |"]
    lines.append("| --- |" + " --- |" * len(MODELLED))
    for us in (10, 25, 100, 500):
        times = (us / n + join + LINE * (n - THREADS) for n in MODELLED)
        lines.append(f"| {us} µs | " + " | ".join(f"{t:.1f} µs" for t in times) + " |")
    return lines


def _keep_apart(waiter: threading.Thread) -> None:
    """The waiter on one CPU, its waker on others: on the same one a wake-up is no help to a job."""
    if hasattr(os, "sched_setaffinity") and waiter.native_id is not None:
        first, *others = sorted(os.sched_getaffinity(0))
        if others:
            os.sched_setaffinity(waiter.native_id, {first})
            os.sched_setaffinity(0, others)


def _microseconds(function: Any, *args: Any) -> float:
    start = time.perf_counter()
    function(*args)
    return 1e6 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
