"""Programs about the pool: ``python scenarios.py NAME...`` runs some, one after the other.

Each asserts; test_pool.py starts them, and says what they are about.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # jobs

import numpy as np

import fastgrad

MAX_TASKS = 1000
SCENARIOS: dict[str, Callable[[], None]] = {}


def scenario(function: Callable[[], None]) -> Callable[[], None]:
    SCENARIOS[function.__name__] = function
    return function


def give_up_after(seconds: int) -> None:
    """Then say where every thread is, and die."""
    if hasattr(signal, "alarm"):
        faulthandler.register(signal.SIGALRM, chain=True)
        signal.alarm(seconds)


def large_product() -> None:
    """One that is cut into tasks, checked with integers: these start no threads of numpy's BLAS."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, (150, 150)) for _ in range(2))
    assert (fastgrad.matmul(a.astype(np.float32), b.astype(np.float32)) == a @ b).all()


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


# Jobs -------------------------------------------------------------------------------------------


@scenario
def every_task_once() -> None:
    import jobs

    for threads in (1, 2, 3, 8):
        fastgrad.set_num_threads(threads)
        for tasks in range(1, MAX_TASKS + 1):
            counts = jobs.zeros(MAX_TASKS + 1)
            assert jobs.run(jobs.COUNT, (counts, 0), tasks) == 0
            assert (counts[:tasks] == 1).all() and not counts[tasks:].any(), (threads, tasks)
    assert len(jobs.workers()) == 7


@scenario
def no_task() -> None:
    import jobs

    fastgrad.set_num_threads(3)
    counts = jobs.zeros()
    assert jobs.run(jobs.COUNT, (counts, 0), 0) == 0 and not counts.any()


@scenario
def more_tasks_than_claims() -> None:
    """The ticket counts 2^24 claims: beyond, a claim is of several tasks."""
    import jobs

    fastgrad.set_num_threads(2)
    for tasks in ((1 << 24) - 1, (1 << 24) + 5):
        sums = jobs.zeros(2)
        assert jobs.run(jobs.TOTAL, (sums,), tasks) == 0
        assert sums.tolist() == [tasks, tasks * (tasks - 1) // 2]


@scenario
def many_jobs() -> None:
    """Of two kinds by turns: a late worker would do a task of the job before, or of the next."""
    import jobs

    fastgrad.set_num_threads(8)
    one, other = jobs.zeros(16), jobs.zeros(16)
    for _ in range(3000):
        assert jobs.run(jobs.COUNT, (one, 0), 16) == 0
        assert jobs.run(jobs.COUNT, (other, 5), 3, jobs.ASLEEP) == 0
    assert (one == 3000).all()
    assert (other[:3] == 3000).all() and not other[3:].any()


@scenario
def four_callers() -> None:
    import jobs

    fastgrad.set_num_threads(3)
    counts = [jobs.zeros(20) for _ in range(4)]
    failed: list[int] = []

    def caller(i: int) -> None:
        for _ in range(500):
            if jobs.run(jobs.COUNT, (counts[i], 100), 20):
                failed.append(i)

    side_by_side([lambda i=i: caller(i) for i in range(4)])
    assert not failed
    assert all((c == 500).all() for c in counts)


def side_by_side(functions: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=f) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@scenario
def nested() -> None:
    """A task that forks does the inner tasks itself, one after the other, and finishes."""
    import jobs

    for threads in (1, 3):
        fastgrad.set_num_threads(threads)
        for nogil in (True, False):
            counts = jobs.zeros(12 * 7)
            assert jobs.run(jobs.NEST, (counts, 7, 20), 12, nogil=nogil) == 0
            assert (counts == 1).all()


@scenario
def tasks_wait_for_those_below() -> None:
    import jobs

    for threads in (2, 3, 8, 1):
        fastgrad.set_num_threads(threads)
        for _ in range(20):
            assert jobs.run(jobs.TURNS, (jobs.zeros(),), 30) == 0


@scenario
def statuses_are_ored() -> None:
    import jobs

    for threads in (1, 3):
        fastgrad.set_num_threads(threads)
        statuses = np.array([0, 4, 0, 1, 0, 32, 1, 0], np.int64)
        assert jobs.run(jobs.STATUS, (statuses,), 8) == 37
        assert jobs.run(jobs.STATUS, (statuses,), 3) == 4
        assert jobs.run(jobs.STATUS, (statuses[2:],), 1) == 0, "of the job before"


# Threads ----------------------------------------------------------------------------------------


@scenario
def all_threads_take_part() -> None:
    """Also more than there are cores."""
    import jobs

    for threads in (2, 3, 8):
        fastgrad.set_num_threads(threads)
        assert jobs.all_meet(threads), threads


@scenario
def no_more_threads_than_set() -> None:
    """Though there are more, and awake."""
    import jobs

    places = []
    for _ in range(300):
        fastgrad.set_num_threads(3)
        assert jobs.run(jobs.MEET, (jobs.zeros(), 2), 3) == 0
        fastgrad.set_num_threads(2)
        places.append(jobs.doers(20))
    assert jobs.threads_of(np.concatenate(places)) == 2


@scenario
def sleepers_wake_for_long_jobs() -> None:
    """And only for these: a short one leaves them asleep, and is done by the caller."""
    import jobs

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    for _ in range(20):
        jobs.wait_until_asleep()
        assert jobs.threads_of(jobs.doers(4, jobs.AWAKE - 1)) == 1
        assert all(jobs.workers()), "a short job woke a worker"
        assert jobs.run(jobs.MEET, (jobs.zeros(), 3), 3, jobs.AWAKE) == 0


@scenario
def busy_pool() -> None:
    """A second caller does all its tasks itself, while the first one's job runs."""
    import jobs

    fastgrad.set_num_threads(2)
    assert jobs.all_meet(2)
    inside = jobs.zeros()
    status: list[int] = []  # three have to meet where there are two threads: this call is the third
    first = threading.Thread(
        target=lambda: status.append(jobs.run(jobs.MEET, (inside, 3), 2)), daemon=True
    )
    first.start()
    while inside[0] < 2:
        time.sleep(0.001)
    number, counts = jobs.job_number(), jobs.zeros(50)
    assert jobs.run(jobs.COUNT, (counts, 0), 50) == 0 and (counts == 1).all()
    assert jobs.threads_of(jobs.doers(50)) == 1
    assert jobs.job_number() == number and not status, "the pool was not busy"
    large_product()
    inside[0] += 1
    first.join()
    assert status == [0]
    assert jobs.all_meet(2) and jobs.job_number() == number + 1


@scenario
def idle() -> None:
    """A pool with nothing to do takes 1 ms of CPU a second; 3 are allowed here."""
    import jobs

    fastgrad.set_num_threads(4)
    assert jobs.all_meet(4)
    jobs.wait_until_asleep()
    before = time.process_time()
    time.sleep(1)
    used = time.process_time() - before
    assert used <= 3e-3, f"{1e3 * used:.2f} ms"


@scenario
def nothing_is_started_early() -> None:
    assert threading.active_count() == 1, "by the import"
    fastgrad.set_num_threads(4)
    assert threading.active_count() == 1, "by setting their number"
    x = np.ones((8, 16), np.float32)
    fastgrad.matmul(x, x.T)
    assert threading.active_count() == 1, "by a small product"
    large_product()
    assert threading.active_count() == 4
    fastgrad.set_num_threads(2)
    large_product()
    assert threading.active_count() == 4, "threads are kept"


@scenario
def control_word() -> None:
    """Workers compute with the caller's rounding and flush-to-zero, job by job."""
    import jobs
    import numba
    from numba import types

    from fastgrad._kernels import atomic

    @numba.njit(types.intp())
    def get() -> Any:
        return atomic.control_word()

    @numba.njit(types.intp(types.intp))
    def put(word: Any) -> Any:
        return atomic.set_control_word(word)

    flush = {"x86_64": 0x8040, "aarch64": 1 << 24}[os.uname().machine]
    fastgrad.set_num_threads(3)
    usual = get() & ~0x3F  # without the flags that operations raise on x86
    for word in (usual | flush, usual, usual | flush):
        put(word)
        words = jobs.zeros(3)
        assert jobs.run(jobs.CONTROL, (jobs.zeros(), 3, words), 3) == 0
        assert (words & ~0x3F == word).all(), [hex(w) for w in words]
        assert get() & ~0x3F == word, "the caller's own was changed"


# Callers that hold the GIL ----------------------------------------------------------------------


@scenario
def holding_the_gil() -> None:
    import jobs

    fastgrad.set_num_threads(3)
    for _ in range(50):
        counts = jobs.zeros(30)
        assert jobs.run(jobs.COUNT, (counts, 10), 30, nogil=False) == 0
        assert (counts == 1).all()
        assert jobs.run(jobs.MEET, (jobs.zeros(), 3), 3, nogil=False) == 0


@contextlib.contextmanager
def workers_compile_slowly() -> Iterator[None]:
    """One that has a task would wait for the GIL, and a caller that holds it for the worker.

    Half a second makes sure that they meet; none of it is slept if none compiles. What workers call
    to be given a task (on a second import) they may compile: nobody waits for them yet.
    """
    from fastgrad._kernels import jit, pool

    compile_slot, seen = jit.compile_slot, []

    def slowly(index: int) -> int:
        name = threading.current_thread().name
        if name.startswith("fastgrad-") and index != pool.TAKE:
            seen.append(f"{name} compiles slot {index}")
            time.sleep(0.5)
        return compile_slot(index)

    with replaced(jit, "compile_slot", slowly):
        yield
    assert not seen, seen


@scenario
def holding_the_gil_on_a_cold_cache() -> None:
    from gil import CASES

    fastgrad.set_num_threads(2)
    with workers_compile_slowly():
        for case in CASES:
            case()


# Forking ----------------------------------------------------------------------------------------


def in_child(function: Callable[[], None]) -> None:
    """Run it in a forked child, which must finish within a minute and leave with 0."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            give_up_after(50)
            function()
            code = 0
        os._exit(code)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert status == 0, f"the child failed: {status}"
            return
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


@scenario
def fork_of_a_warm_pool() -> None:
    import jobs

    def child() -> None:
        assert not jobs.workers(), "they are the parent's"
        large_product()
        assert jobs.all_meet(3) and len(jobs.workers()) == 2
        in_child(grandchild)

    def grandchild() -> None:
        assert not jobs.workers()
        assert jobs.all_meet(3)

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    in_child(child)  # the workers spin
    jobs.wait_until_asleep()
    in_child(child)
    assert jobs.all_meet(3), "the parent's pool works on"


@scenario
def fork_inside_a_job() -> None:
    """Of another thread, whose job the child has the words of, and nobody who would finish it."""
    import jobs

    from fastgrad._kernels import pool

    def child() -> None:
        pool._start(0)
        time.sleep(0.1)
        assert inside[0] == 2, "a new worker did a task of the parent's job"
        large_product()
        assert jobs.all_meet(2) and len(jobs.workers()) == 1

    fastgrad.set_num_threads(2)
    assert jobs.all_meet(2)
    large_product()  # so that the child need not compile
    inside = jobs.zeros()
    for tasks in (2, 6):  # all of them claimed, or some left
        inside[0] = 0
        status: list[int] = []

        def job(tasks: int = tasks, status: list[int] = status) -> None:
            status.append(jobs.run(jobs.MEET, (inside, 3), tasks))

        other = threading.Thread(target=job)
        other.start()
        while inside[0] < 2:
            time.sleep(0.001)
        in_child(child)
        assert not status, "the job was over"
        inside[0] += 1
        other.join()
        assert status == [0]
    assert jobs.all_meet(2)


@scenario
def leave_a_child_by_exit() -> None:
    """Through Python's own exit, not os._exit: the handlers find a pool of the child's."""
    import jobs

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert jobs.all_meet(3)
    else:
        assert jobs.all_meet(3)


# Leaving ----------------------------------------------------------------------------------------


@scenario
def exit_while_they_sleep() -> None:
    import jobs

    fastgrad.set_num_threads(8)
    assert jobs.all_meet(8)
    jobs.wait_until_asleep()
    print("leaving", flush=True)


@scenario
def exit_while_they_spin() -> None:
    import jobs

    fastgrad.set_num_threads(8)
    assert jobs.all_meet(8)
    print("leaving", flush=True)


@scenario
def exit_after_a_thread_started_them() -> None:
    import jobs

    fastgrad.set_num_threads(3)
    met: list[bool] = []
    side_by_side([lambda: met.append(jobs.all_meet(3))])
    assert met == [True]
    print("leaving", flush=True)


@scenario
def exit_from_a_thread() -> None:
    """The main thread is done; another one still calls while it waits for it."""
    import jobs

    def last() -> None:
        time.sleep(0.2)
        assert jobs.all_meet(3)
        print("leaving", flush=True)

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    threading.Thread(target=last).start()


@scenario
def exit_inside_a_job() -> None:
    """A daemon thread's job is running, and will for long."""
    import jobs

    fastgrad.set_num_threads(2)
    assert jobs.all_meet(2)
    inside = jobs.zeros()
    target = lambda: jobs.run(jobs.MEET, (inside, 3), 2)  # noqa: E731
    threading.Thread(target=target, daemon=True).start()
    while inside[0] < 2:
        time.sleep(0.001)
    print("leaving", flush=True)


@scenario
def call_after_the_pool_has_stopped() -> None:
    """From a handler that runs after the pool's own: all alone, and right."""
    import jobs

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    from fastgrad._kernels import pool

    pool.stop()
    counts = jobs.zeros(9)
    number = jobs.job_number()
    assert jobs.run(jobs.COUNT, (counts, 0), 9) == 0 and (counts == 1).all()
    large_product()
    assert jobs.job_number() == number and threading.active_count() == 1
    atexit.register(lambda: (large_product(), print("leaving", flush=True)))


# What is missing --------------------------------------------------------------------------------


@scenario
def no_thread_to_be_had() -> None:
    import jobs

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    fastgrad.set_num_threads(3)
    with replaced(threading.Thread, "start", refuse):
        for nogil in (True, False):
            counts = jobs.zeros(9)
            assert jobs.run(jobs.COUNT, (counts, 0), 9, nogil=nogil) == 0 and (counts == 1).all()
        large_product()
    assert threading.active_count() == 1 and not jobs.workers() and jobs.job_number() == 0
    fastgrad.set_num_threads(3)  # asks again
    assert jobs.all_meet(3)


@scenario
def one_thread_of_three_to_be_had() -> None:
    import jobs

    from fastgrad._kernels import jit

    start = threading.Thread.start
    started: list[str] = []

    def refuse(thread: threading.Thread) -> None:
        if thread.name != jit.COMPILES:
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

    from fastgrad._kernels import pool

    for error in (AttributeError, OSError, TypeError):

        def fail(error: type[Exception] = error) -> None:
            raise error("this platform has none")

        fastgrad.set_num_threads(3)
        with replaced(pool, "_find_primitives", fail):
            counts = jobs.zeros(9)
            assert jobs.run(jobs.COUNT, (counts, 0), 9) == 0 and (counts == 1).all()
            large_product()
    assert threading.active_count() == 1 and jobs.job_number() == 0


# A second import --------------------------------------------------------------------------------


def import_again() -> None:
    """fastgrad and jobs, as if they never had been; the names of this file follow."""
    global fastgrad
    for name in [*sys.modules]:
        if name.split(".")[0] in ("fastgrad", "jobs"):
            del sys.modules[name]
    import fastgrad as again

    assert again is not fastgrad
    fastgrad = again


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

    from fastgrad._kernels import jit, pool, scratch

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
        jobs.run(jobs.MEET, (inside, 4), 3)
        for _ in range(1000):  # some bytecode on which it is noticed
            time.sleep(0.01)
    except KeyboardInterrupt:
        interrupted = True
    other.join()
    assert interrupted
    assert jit.TABLE[pool.BUSY] == 0
    assert not any(jit.TABLE[jit.SCRATCH + 2 * i] for i in range(scratch.ARENAS))
    large_product()
    assert jobs.all_meet(3)


@scenario
def interrupt_while_compiling() -> None:
    """On a cold cache: the exception comes out of the call, and the next call compiles anew."""
    from fastgrad._kernels import jit

    fastgrad.set_num_threads(3)
    compile_it = jit._compile
    interrupted = 0

    def interrupt_first(function: Any) -> Any:
        if function.__name__ == "kernel_stream_task":
            jit._compile = compile_it
            _thread.interrupt_main()
            for _ in range(1000):  # some bytecode on which it is noticed
                time.sleep(0.001)
        return compile_it(function)

    jit._compile = interrupt_first
    a, b = np.ones((2, 3000), np.float32), np.ones((3000, 400), np.float32)
    for _ in range(2):
        try:
            c = fastgrad.matmul(a, b)
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted == 1
    assert (c == 3000).all()
    large_product()


def together(names: list[str]) -> int:
    """Run them all, and print how each went; how many failed."""
    failed = 0
    for name in names:
        try:
            SCENARIOS[name]()
        except Exception:
            failed += 1
            traceback.print_exc()
            print(f"{name}: failed", flush=True)
        else:
            print(f"{name}: done", flush=True)
    return failed


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    give_up_after(int(os.environ.get("PATIENCE", 150)))
    if len(sys.argv) > 2:
        sys.exit(together(sys.argv[1:]))
    SCENARIOS[sys.argv[1]]()
