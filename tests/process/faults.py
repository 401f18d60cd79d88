"""Programs about what goes wrong beside or inside calls: ``python faults.py NAME...``.

Each asserts; test_faults.py starts them, support/stress.py repeats them with other seeds. What a
scenario prints is for the report of the latter.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from scenarios import (
    in_child,
    large_product,
    main,
    no_new_threads,
    scenario,
    side_by_side,
)
from sleepy import sleepy_threads
from steps import SECONDS, SEED, assert_its_steps_were_whole, model_and_batches, until_the_end

import fastgrad

BUSY = "MLP.train_step: another thread is in a step of this model"


# One model, several threads ----------------------------------------------------------------------


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
        assert model._step.quick(*batches[0], None) is not None, "it is left on the slow way"


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


# Forks while others work -------------------------------------------------------------------------


@scenario
def fork_while_another_thread_compiles() -> None:
    """On a cold cache: the child compiles, too, and nobody holds what it needs for that."""
    from fastgrad._kernels.runtime import compiler

    compile_it, compiling = compiler._compile, threading.Event()

    def tell(*args: Any) -> Any:
        compiling.set()
        return compile_it(*args)

    def compile_first() -> None:
        fastgrad.mse(np.ones(3, np.float32), np.zeros(3, np.float32))

    def compile_second() -> None:
        param = np.ones(3, np.float32)
        fastgrad.sgd_step(param, np.ones(3, np.float32), 0.5)
        assert (param == 0.5).all()

    compiler._compile = tell
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
            assert jobs.run(jobs.count, (counts, 0), 50) == 0 and (counts == 1).all()
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

    fastgrad.set_num_threads(4)
    with no_new_threads():
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


if __name__ == "__main__":
    main()
