"""Programs about what goes wrong beside or inside calls: ``python faults.py NAME...``.

Each asserts; test_faults.py starts them, tests/stress.py repeats them with other seeds. What a
scenario prints is for the report of the latter.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # scenarios, works, jobs

import numpy as np
from scenarios import (
    SCENARIOS,
    in_child,
    large_product,
    replaced,
    scenario,
    side_by_side,
    together,
)

import fastgrad
from fastgrad import MLP, Adam

OTHERS = frozenset(SCENARIOS)  # of scenarios.py
SECONDS = float(os.environ.get("SECONDS", 1))  # that those which repeat something take
SEED = int(os.environ.get("SEED", 0))
BUSY = "MLP.train_step: another thread is in a step of this model"


def until_the_end() -> Iterator[int]:
    """0, 1, ... until SECONDS have passed."""
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        yield number
        number += 1


# One model, several threads ----------------------------------------------------------------------


def model_and_batches() -> tuple[Callable[[], MLP], list[tuple[Any, Any]]]:
    """Batches that are the same numbers: the first as a step reads it, the others are copied."""
    rng = np.random.default_rng(SEED)
    x = rng.integers(-3, 4, (100, 60)).astype(np.float32)
    y = np.arange(100) % 7
    batches = [(x, y), (x.astype(np.float64), y), (x.astype(np.int8), y.astype(np.int8))]
    return lambda: MLP((60, 90, 7), optimizer=Adam(0.001)), batches


def assert_its_steps_were_whole(model: MLP, new: Callable[[], MLP], batch: Any) -> list[float]:
    """As many steps alone give the same bits; their losses."""
    alone = new()
    losses = [alone.train_step(*batch) for _ in range(model.steps)]
    for a, b in zip(model.weights + model.biases, alone.weights + alone.biases, strict=True):
        assert a.tobytes() == b.tobytes(), "two steps at a time, or half of one"
    return losses


@scenario
def threads_that_share_a_model() -> None:
    """A step is done, whole, or refused with a RuntimeError; nobody waits for long."""
    new, batches = model_and_batches()
    fastgrad.set_num_threads(2)
    sys.setswitchinterval(1e-6)
    for kinds in ((0, 0), (1, 1), (0, 1), (0, 1, 2, 1)):
        model, end, refused = new(), time.monotonic() + SECONDS / 4, collections.Counter[str]()
        losses: list[float] = []

        def steps(
            kind: int, model: Any = model, end: Any = end, refused: Any = refused, to: Any = losses
        ) -> None:
            while time.monotonic() < end:
                try:
                    to.append(model.train_step(*batches[kind]))
                except Exception as error:
                    refused[str(error)] += 1

        side_by_side([lambda kind=kind: steps(kind) for kind in kinds])
        assert set(refused) <= {BUSY}, refused
        assert len(losses) == model.steps > 0, (len(losses), model.steps)
        assert_its_steps_were_whole(model, new, batches[0])
        model.train_step(*batches[1])
        assert model._compiled.quick(*batches[0]) is True, "it is left on the slow way"


@scenario
def threads_with_a_model_each() -> None:
    new, batches = model_and_batches()
    fastgrad.set_num_threads(3)
    models = [new() for _ in range(8)]

    def steps(number: int) -> None:
        for i in range(40):
            models[number].train_step(*batches[i % 3])

    side_by_side([lambda i=i: steps(i) for i in range(8)])
    for model in models:
        assert model.steps == 40
        assert_its_steps_were_whole(model, new, batches[0])


# Interrupts --------------------------------------------------------------------------------------


class Interrupts:
    """``with Interrupts() as i: i.run(f, s)``: f, interrupted at a random moment of s seconds."""

    def __enter__(self) -> Interrupts:
        self.chance, self.hits = random.Random(SEED), 0
        self.before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        return self

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)

    def run(self, function: Callable[[], Any], longest: float) -> None:
        try:
            signal.setitimer(signal.ITIMER_REAL, longest * self.chance.random() + 1e-6)
            function()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            self.hits += 1


@scenario
def interrupt_steps() -> None:
    """Each is done or not begun, and the next one finds nothing held."""
    new, batches = model_and_batches()
    fastgrad.set_num_threads(2)
    model = new()
    model.train_step(*batches[1])
    with Interrupts() as interrupts:
        for i in until_the_end():
            batch = batches[i % 3]
            interrupts.run(lambda batch=batch: [model.train_step(*batch) for _ in range(9)], 3e-3)
            done = model.steps
            model.train_step(*batches[i // 3 % 3])
            assert model.steps == done + 1
    assert interrupts.hits > 10, interrupts.hits
    assert_its_steps_were_whole(model, new, batches[0])
    print(f"{interrupts.hits} interrupts, {model.steps} steps", file=sys.stderr)


@scenario
def interrupt_fit() -> None:
    new, batches = model_and_batches()
    model = new()
    validation = (batches[0][0][:20], batches[0][1][:20])
    model.fit(*batches[1], 1, 100, validation, progress=False, shuffle=False)
    with Interrupts() as interrupts:
        for i in until_the_end():
            x, y = batches[i % 3]

            def fit(x: Any = x, y: Any = y) -> None:
                model.fit(x, y, 50, 100, validation, progress=False, shuffle=False)

            interrupts.run(fit, 20e-3)
            epochs = model.epochs
            model.fit(x, y, 1, 100, progress=False, shuffle=False)
            assert model.epochs == epochs + 1
    assert interrupts.hits > 5, interrupts.hits
    assert_its_steps_were_whole(model, new, batches[0])
    print(f"{interrupts.hits} interrupts of fit", file=sys.stderr)


@scenario
def interrupt_any_call() -> None:
    """The same calls are right afterwards, no arena is held, and all threads take part."""
    import jobs
    import works

    from fastgrad._kernels import jit, pool, scratch

    # All is compiled: llvmlite dies of an interrupt in its callbacks. And none in users' functions:
    # numba's code around them may answer with a SystemError.
    fastgrad.warmup()
    all_works = [work for work in works.make(SEED) if not work.name.startswith("njit")]
    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    with Interrupts() as interrupts:
        for i in until_the_end():
            work = all_works[i % len(all_works)]
            interrupts.run(work.run, 2e-3)
            assert jit.TABLE[pool.BUSY] == 0
            assert not any(jit.TABLE[jit.SCRATCH + 2 * i] for i in range(scratch.ARENAS))
            if i % 5 == 0:
                assert not work.wrong(), work.name
    assert interrupts.hits > 10, interrupts.hits
    assert jobs.all_meet(3) and fastgrad.get_num_threads() == 3
    print(f"{interrupts.hits} interrupts of calls", file=sys.stderr)


@scenario
def interrupt_while_threads_start() -> None:
    """The interrupt finds Python waiting for the new thread: which is there, and is counted."""
    import jobs

    start, interrupted = threading.Thread.start, 0

    def interrupt(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    fastgrad.set_num_threads(4)
    for _ in range(2):
        with replaced(threading.Thread, "start", interrupt):
            try:
                large_product()
            except KeyboardInterrupt:
                interrupted += 1
    assert interrupted == 2
    large_product()
    assert jobs.all_meet(4)
    assert threading.active_count() == 4 and len(jobs.workers()) == 3
    jobs.wait_until_asleep()
    assert jobs.all_meet(4), "two workers sleep at one place"


# Forks while others work -------------------------------------------------------------------------


@scenario
def fork_while_another_thread_compiles() -> None:
    """On a cold cache: the child compiles, too, and nobody holds what it needs for that."""
    from fastgrad._kernels import jit

    compile_it, compiling = jit._compile, threading.Event()

    def tell(function: Any) -> Any:
        compiling.set()
        return compile_it(function)

    def compile_first() -> None:
        fastgrad.mse(np.ones(3, np.float32), np.zeros(3, np.float32))

    def compile_second() -> None:
        param = np.ones(3, np.float32)
        fastgrad.sgd_step(param, np.ones(3, np.float32), 0.5)
        assert (param == 0.5).all()

    jit._compile = tell
    other = threading.Thread(target=compile_first)
    other.start()
    compiling.wait()
    time.sleep(0.05)
    in_child(compile_second)
    other.join()
    compile_second()


@scenario
def fork_while_others_work() -> None:
    import works

    some = works.make(SEED)[::6]
    fastgrad.set_num_threads(3)
    end, wrong, forks = time.monotonic() + SECONDS, list[str](), 0

    def caller(number: int) -> None:
        while time.monotonic() < end:
            wrong.extend(work.name for work in some[number::2] if work.wrong())

    def child() -> None:
        assert not [work.name for work in some[forks % 3 :: 3] if work.wrong()]

    threads = [threading.Thread(target=caller, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end or not forks:
        in_child(child)
        forks += 1
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    print(f"{forks} forks", file=sys.stderr)


# Workers that get no CPU -------------------------------------------------------------------------


@contextlib.contextmanager
def sleepy_threads() -> Iterator[Callable[[int], None]]:
    """A function that stops a worker for a second, at whatever instruction it is.

    The handler of SIGHUP, which is 1, is the C library's sleep, which takes seconds.
    """
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    sleep = ctypes.cast(libc.sleep, ctypes.c_void_p).value
    before = libc.signal(signal.SIGHUP, sleep)
    workers = [t for t in threading.enumerate() if t.name.startswith("fastgrad-")]

    def stop(number: int) -> None:
        signal.pthread_kill(workers[number].ident or 0, signal.SIGHUP)

    yield stop
    time.sleep(1.1)  # until the last one has woken
    libc.signal(signal.SIGHUP, before)


@scenario
def workers_stopped_for_a_second() -> None:
    """A caller waits for one that holds a task, and for no other."""
    import jobs

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    chance = random.Random(SEED)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, (300, 300)) for _ in range(2))
    c, longest = a @ b, 0.0
    with sleepy_threads() as stop:
        for _ in range(3):  # asleep: none of them has a task
            jobs.wait_until_asleep()
            stop(0)
            stop(1)
            time.sleep(0.01)
            start = time.monotonic()
            counts = jobs.zeros(50)
            assert jobs.run(jobs.COUNT, (counts, 0), 50) == 0 and (counts == 1).all()
            took = time.monotonic() - start
            assert took < 0.5, f"{took:.2f} s for a worker that had nothing to do"
            time.sleep(1.1)
        end = time.monotonic() + max(3, SECONDS)
        while time.monotonic() < end:  # anywhere, in a task as well
            next_stop = time.monotonic() + chance.random() * 0.05
            while time.monotonic() < next_stop:
                start = time.monotonic()
                product = fastgrad.matmul(a.astype(np.float32), b.astype(np.float32))
                longest = max(longest, time.monotonic() - start)
                assert (product == c).all()
            stop(chance.randrange(2))
    assert longest < 10, f"{longest:.1f} s"
    assert jobs.all_meet(3)
    print(f"longest {longest:.2f} s", file=sys.stderr)


@scenario
def workers_of_no_priority() -> None:
    """SCHED_IDLE, beside threads of other work that keep all CPUs busy."""
    import jobs

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    for thread in threading.enumerate():
        if thread.name.startswith("fastgrad-") and thread.native_id:
            os.sched_setscheduler(thread.native_id, os.SCHED_IDLE, os.sched_param(0))
    children = []
    for _ in range(os.cpu_count() or 1):
        child = os.fork()
        if child == 0:
            end = time.monotonic() + 60
            while time.monotonic() < end and os.getppid() != 1:
                pass
            os._exit(0)
        children.append(child)
    longest = 0.0
    try:
        for _ in until_the_end():
            start = time.monotonic()
            large_product()
            longest = max(longest, time.monotonic() - start)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert longest < 20, f"{longest:.1f} s"
    assert jobs.all_meet(3)
    print(f"longest {longest:.2f} s", file=sys.stderr)


# Limits, interpreters, the end -------------------------------------------------------------------


@scenario
def no_more_threads_for_this_user() -> None:
    """RLIMIT_NPROC, which root is above: the caller does all the work."""
    import resource

    import jobs  # now: later this user may not read it

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    fastgrad.set_num_threads(4)
    with replaced(threading.Thread, "start", refuse):
        large_product()  # what is read from files is read
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        threading.Thread(target=lambda: None).start()
    except RuntimeError:
        pass
    else:
        raise AssertionError("the limit allows a thread")
    fastgrad.set_num_threads(4)
    for _ in range(3):
        large_product()
        fastgrad.set_num_threads(3)
    assert threading.active_count() == 1 and not jobs.workers()


@scenario
def a_second_interpreter() -> None:
    """numpy is for one interpreter a process: its ImportError, and the first one works on."""
    try:
        import _interpreters as interpreters  # Python 3.13
    except ImportError:
        import _xxsubinterpreters as interpreters

    fastgrad.set_num_threads(3)
    large_product()
    program = """
try:
    import fastgrad
except ImportError as error:
    assert "more than once" in str(error) or "interpreter" in str(error), str(error)
else:
    assert False, "it was imported"
"""
    for _ in range(3):
        one = interpreters.create()
        failed = interpreters.run_string(one, program)
        assert failed is None, failed
        interpreters.destroy(one)
        large_product()


@scenario
def leave_with_threads_at_work() -> None:
    """Daemon threads inside calls, and a pool of threads that nobody has shut down."""
    import works

    some = works.make(SEED)[::9]
    fastgrad.set_num_threads(3)
    executor = ThreadPoolExecutor(4)
    futures = [executor.submit(work.wrong) for work in some]

    def forever() -> None:
        while True:
            for work in some:
                work.run()

    for _ in range(4):
        threading.Thread(target=forever, daemon=True).start()
    time.sleep(0.3)
    assert not any(future.result() for future in futures)
    print("leaving", flush=True)


NAMES = [name for name in SCENARIOS if name not in OTHERS]

if __name__ == "__main__":
    # not give_up_after, whose timer is that of Interrupts
    faulthandler.dump_traceback_later(int(os.environ.get("PATIENCE", 150)) + SECONDS, exit=True)
    if len(sys.argv) > 2:
        sys.exit(together(sys.argv[1:]))
    SCENARIOS[sys.argv[1]]()
