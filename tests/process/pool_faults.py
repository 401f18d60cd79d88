"""Programs about a pool in trouble: no GIL, no threads, no primitives, a second import, Ctrl-C."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scenarios
from scenarios import large_product, main, no_new_threads, replaced, scenario

import fastgrad

# Callers that hold the GIL ----------------------------------------------------------------------


@contextlib.contextmanager
def workers_compile_slowly() -> Iterator[None]:
    """One that has a task would wait for the GIL, and a caller that holds it for the worker.

    Half a second makes sure that they meet; none of it is slept if none compiles. What workers call
    to be given a task (on a second import) they may compile: nobody waits for them yet.
    """
    from fastgrad._kernels.runtime import pool_kernels, registry
    from fastgrad._kernels.runtime.table import DTYPES

    compile_slot, seen = registry.compile_slot, []
    take = pool_kernels.take_tasks.slot(DTYPES[0])

    def slowly(index: int) -> int:
        name = threading.current_thread().name
        if name.startswith("fastgrad-") and index != take:
            seen.append(f"{name} compiles slot {index}")
            time.sleep(0.5)
        return compile_slot(index)

    with replaced(registry, "compile_slot", slowly):
        yield
    assert not seen, seen


@scenario
def holding_the_gil_on_a_cold_cache() -> None:
    from gil import CASES

    fastgrad.set_num_threads(2)
    with workers_compile_slowly():
        for case in CASES:
            case()


# What is missing --------------------------------------------------------------------------------


@scenario
def no_thread_to_be_had() -> None:
    import jobs

    fastgrad.set_num_threads(3)
    with no_new_threads():
        for nogil in (True, False):
            counts = jobs.zeros(9)
            assert jobs.run(jobs.count, (counts, 0), 9, nogil=nogil) == 0 and (counts == 1).all()
        large_product()
    assert threading.active_count() == 1 and not jobs.workers() and jobs.job_number() == 0
    fastgrad.set_num_threads(3)  # asks again
    assert jobs.all_meet(3)


@scenario
def one_thread_of_three_to_be_had() -> None:
    import jobs

    from fastgrad._kernels.runtime.compiler import THREAD_NAME

    start = threading.Thread.start
    started: list[str] = []

    def refuse(thread: threading.Thread) -> None:
        if thread.name != THREAD_NAME:
            if started:
                raise RuntimeError("can't start new thread")
            started.append(thread.name)
        start(thread)

    fastgrad.set_num_threads(4)
    with replaced(threading.Thread, "start", refuse):
        assert jobs.all_meet(2)
        assert jobs.threads_of(jobs.doers(50)) <= 2
    assert len(started) == len(jobs.workers()) == 1


@scenario
def no_primitives() -> None:
    import jobs

    from fastgrad._kernels.runtime import thread_pool

    for error in (AttributeError, OSError, TypeError):

        def fail(error: type[Exception] = error) -> None:
            raise error("this platform has none")

        fastgrad.set_num_threads(3)
        with replaced(thread_pool, "_find_primitives", fail):
            counts = jobs.zeros(9)
            assert jobs.run(jobs.count, (counts, 0), 9) == 0 and (counts == 1).all()
            large_product()
    assert threading.active_count() == 1 and jobs.job_number() == 0


# A second import --------------------------------------------------------------------------------


def import_again() -> None:
    """fastgrad and jobs, as if they never had been; the names here and in scenarios.py follow."""
    global fastgrad
    for name in [*sys.modules]:
        if name.split(".")[0] in ("fastgrad", "jobs"):
            del sys.modules[name]
    import fastgrad as again

    assert again is not fastgrad
    fastgrad = scenarios.fastgrad = again  # large_product calls that of scenarios.py


@scenario
def import_twice() -> None:
    import jobs

    fastgrad.set_num_threads(3)
    large_product()
    assert jobs.all_meet(3)
    for _ in range(2):
        import_again()
        assert fastgrad.get_num_threads() == 3, "the pool is the process's"
        assert threading.active_count() == 3
        large_product()
        import jobs

        assert jobs.all_meet(3)
        assert threading.active_count() == 3, "more workers were started"
    fastgrad.set_num_threads(4)
    assert jobs.all_meet(4) and threading.active_count() == 4
    print("leaving", flush=True)


@scenario
def import_twice_and_hold_the_gil() -> None:
    """Kernels of the second import, too, are compiled before a worker needs them."""
    fastgrad.set_num_threads(2)
    for _ in range(2):
        from gil import CASES

        with workers_compile_slowly():
            for case in CASES:
                case()
        del sys.modules["gil"]
        import_again()


# Interrupts -------------------------------------------------------------------------------------


@scenario
def interrupt_a_long_call() -> None:
    """Ctrl-C in the main thread while a product runs on all threads."""
    import jobs

    from fastgrad._kernels.runtime import pool_words, scratch
    from fastgrad._kernels.runtime.table import SCRATCH, TABLE

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    inside, interrupted = jobs.zeros(), False

    def interrupt() -> None:
        while inside[0] < 3:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        inside[0] += 1

    other = threading.Thread(target=interrupt)
    other.start()
    try:
        jobs.run(jobs.meet, (inside, 4), 3)
        for _ in range(1000):  # some bytecode on which it is noticed
            time.sleep(0.01)
    except KeyboardInterrupt:
        interrupted = True
    other.join()
    assert interrupted
    assert TABLE[pool_words.BUSY] == 0
    assert not any(TABLE[SCRATCH + 2 * i] for i in range(scratch.ARENAS))
    large_product()
    assert jobs.all_meet(3)


@scenario
def interrupt_while_compiling() -> None:
    """On a cold cache: the exception comes out of the call, and the next call compiles anew."""
    from fastgrad._kernels.runtime import compiler

    fastgrad.set_num_threads(3)
    compile_it = compiler._compile
    interrupted = 0

    def interrupt_first(name: str, *rest: Any) -> Any:
        if name == "runs.float32":
            compiler._compile = compile_it
            _thread.interrupt_main()
            for _ in range(1000):  # some bytecode on which it is noticed
                time.sleep(0.001)
        return compile_it(name, *rest)

    compiler._compile = interrupt_first
    a, b = np.ones((2, 3000), np.float32), np.ones((3000, 400), np.float32)
    for _ in range(2):
        try:
            c = fastgrad.matmul(a, b)
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted == 1
    assert (c == 3000).all()
    large_product()


if __name__ == "__main__":
    main()
