"""Programs about the states of a worker: a fork in each, and seven threads on two cores.

A worker spins, sleeps, does a task, or was just woken: then it does not run yet and, where its
caller moved it, has a narrowed mask; sleepy.py keeps it there.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scenarios import in_child, main, no_new_threads, scenario, side_by_side
from sleepy import sleepy_threads

import fastgrad
from fastgrad import MLP, SGD, Adam

THREADS = 3
TRIES = 20  # to fork in a state that passes

# The same calls everywhere --------------------------------------------------------------------


def results() -> bytes:
    """Of a product and a stack that are cut into tasks, rows through a net, and its training."""
    from support.step_ways import send

    rng = np.random.default_rng(0)
    a, b, x = (rng.standard_normal(s, np.float32) for s in ((150, 150), (150, 150), (600, 64)))
    stack = rng.standard_normal((500, 16, 16), np.float32)
    model = MLP((64, 128, 10), optimizer=Adam(0.01))
    found: list[Any] = [fastgrad.matmul(a, b), fastgrad.matmul(stack, stack)]
    for _ in range(3):
        found.append(np.float64(model.train_step(x, np.arange(600) % 10)))
        send(model, joined=True)  # from the second step on
    found += [model.predict_proba(x), *model.weights, *model.biases]
    return b"".join(array.tobytes() for array in found)


def expected() -> bytes:
    with fastgrad.num_threads(1):
        return results()


def right_in_child(wanted: bytes) -> None:
    """No worker is here: all is right alone, and then on workers of the child's own."""
    import jobs

    assert not jobs.workers(), "they are the parent's"
    with no_new_threads():
        assert results() == wanted, "alone"
    assert threading.active_count() == 1
    fastgrad.set_num_threads(THREADS)  # asks again
    assert jobs.all_meet(THREADS) and len(jobs.workers()) == THREADS - 1
    assert results() == wanted, "on workers"
    assert jobs.all_meet(THREADS) and set(masks()) <= {allowed()}


def allowed() -> frozenset[int]:
    """CPUs of this thread, where the system tells."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ())


def masks() -> list[frozenset[int]]:
    """Those of workers: all that are allowed to this process, but in those that do not run yet."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    workers = [t for t in threading.enumerate() if t.name.startswith("fastgrad-")]
    return [frozenset(os.sched_getaffinity(t.native_id or 0)) for t in workers]


def states() -> list[tuple[int, int]]:
    """Of each worker its state, and whether it was moved. In a child: those of the fork."""
    from fastgrad._kernels.runtime.pool_words import MOVED, WORKERS
    from fastgrad._kernels.runtime.table import LINE, TABLE

    lines = [WORKERS + helper * LINE for helper in range(THREADS - 1)]
    return [(int(TABLE[line]), int(TABLE[line + MOVED])) for line in lines]


def fork_in(state: tuple[int, int], prepare: Callable[[], None], wanted: bytes) -> None:
    """A child of a parent all of whose workers are in a state: as the child finds its table."""
    import jobs

    seen = mmap.mmap(-1, 1)  # shared with the children

    def child() -> None:
        seen[0] = all(found == state for found in states())
        right_in_child(wanted)

    for _ in range(TRIES):
        prepare()
        in_child(child)
        if seen[0]:
            break
    assert seen[0], f"no fork found the workers in the state {state}"
    assert jobs.all_meet(THREADS) and results() == wanted, "the parent's pool works on"


@contextlib.contextmanager
def open_job(tasks: int) -> Iterator[Any]:
    """A job of another thread's, each of whose THREADS threads is in a task as long as this is
    open; the number of those that have begun."""
    import jobs

    inside, status = jobs.zeros(), list[int]()
    job = lambda: status.append(jobs.run(jobs.meet, (inside, THREADS + 1), tasks))  # noqa: E731
    other = threading.Thread(target=job)
    other.start()
    while inside[0] < THREADS:
        time.sleep(0.001)
    try:
        yield inside
    finally:
        inside[0] += 1
        other.join()
    assert status == [0]


# Forks ----------------------------------------------------------------------------------------

SPINNING = JUST_WOKEN = (0, 0)
ASLEEP, MOVED = (1, 0), (0, 1)


@scenario
def fork_while_they_spin() -> None:
    """For longer than a fork takes: those of a job read how long when it is over."""
    import jobs

    from fastgrad._kernels.runtime.pool_words import SPIN
    from fastgrad._kernels.runtime.table import TABLE

    wanted = expected()
    fastgrad.set_num_threads(THREADS)
    assert jobs.all_meet(THREADS)

    def spin() -> None:
        with open_job(THREADS):
            TABLE[SPIN] = 10_000_000_000  # ns; the next job writes it anew

    fork_in(SPINNING, spin, wanted)


@scenario
def fork_while_they_sleep() -> None:
    import jobs

    wanted = expected()
    fastgrad.set_num_threads(THREADS)
    assert jobs.all_meet(THREADS)
    fork_in(ASLEEP, jobs.wait_until_asleep, wanted)


@scenario
def fork_while_they_do_a_task() -> None:
    """Some tasks are done, each thread is in one, some wait in ranges."""
    import jobs

    wanted = expected()
    fastgrad.set_num_threads(THREADS)
    assert jobs.all_meet(THREADS)
    with open_job(9) as inside:
        in_child(lambda: right_in_child(wanted))
        assert inside[0] == THREADS, "the job was over"
    assert jobs.all_meet(THREADS) and results() == wanted


def fork_when_woken(state: tuple[int, int]) -> None:
    import jobs

    wanted = expected()
    fastgrad.set_num_threads(THREADS)
    assert jobs.all_meet(THREADS)
    counts = jobs.zeros(9)
    with sleepy_threads() as stop:

        def wake() -> None:
            jobs.wait_until_asleep()  # after another try, too, for the second that they are held
            for worker in range(THREADS - 1):
                stop(worker)
            time.sleep(0.02)
            assert jobs.run(jobs.count, (counts, 0), 9) == 0, "a job that wakes them"

        fork_in(state, wake, wanted)
        assert (counts == counts[0]).all()
    jobs.wait_until_asleep()
    assert jobs.all_meet(THREADS) and set(masks()) <= {allowed()}


@scenario
def fork_when_they_were_woken() -> None:
    from fastgrad._kernels.runtime.pool_words import GET_MASK
    from fastgrad._kernels.runtime.table import TABLE

    fastgrad.set_num_threads(THREADS)
    results()  # starts them, and finds this function, which is then not to be had:
    found, TABLE[GET_MASK] = TABLE[GET_MASK], 0
    fork_when_woken(JUST_WOKEN)
    TABLE[GET_MASK] = found


@scenario
def fork_when_they_were_moved() -> None:
    """With one CPU nobody is."""
    fork_when_woken(MOVED if len(allowed()) > 1 else JUST_WOKEN)


@scenario
def fork_into_fewer_cpus() -> None:
    """A child that narrows its mask, as a process of a job with few cores does: its workers stay
    there, though the parent's were moved when it forked, and its own are woken."""
    import jobs

    if not hasattr(os, "sched_setaffinity"):
        return
    wanted = expected()

    def child() -> None:
        os.sched_setaffinity(0, {min(allowed())})
        right_in_child(wanted)
        for _ in range(5):
            jobs.wait_until_asleep()
            assert jobs.all_meet(THREADS) and set(masks()) == {allowed()}

    fastgrad.set_num_threads(THREADS)
    assert jobs.all_meet(THREADS)
    for _ in range(3):
        jobs.wait_until_asleep()
        assert jobs.all_meet(THREADS)  # moved, and awake
        in_child(child)


# More threads than cores ----------------------------------------------------------------------


@contextlib.contextmanager
def two_cpus() -> Iterator[None]:
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    yield
    os.sched_setaffinity(0, before)


@scenario
def seven_threads_on_two_cores() -> None:
    """Awake, asleep, and beside a second caller: the bits of one thread, by seven."""
    import jobs

    wanted = expected()
    with two_cpus():
        fastgrad.set_num_threads(7)
        for turn in range(12):
            assert results() == wanted
            assert jobs.all_meet(7), "who has no task left has met nobody"
            for who in (0, 20, 39):  # one thread is held up: others do the rest of its range
                assert jobs.run(jobs.wait, (jobs.zeros(), who, 39), 40) == 0
            if turn % 3 == 0:
                jobs.wait_until_asleep()
        assert len(jobs.workers()) == 6 and threading.active_count() == 7
        found: list[bytes] = []
        side_by_side([lambda: found.extend(results() for _ in range(4))] * 3)
        assert len(found) == 12 and set(found) == {wanted}
        assert threading.active_count() == 7 and jobs.all_meet(7)


@scenario
def steps_of_seven_threads_on_two_cores() -> None:
    """In two joins, with pauses in which workers fall asleep: those of one thread."""
    from support.step_ways import send

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 30), np.float32), np.arange(200) % 2
    losses: dict[int, list[float]] = {}
    for threads in (1, 7):
        fastgrad.set_num_threads(threads)
        model = MLP((30, 100, 2), optimizer=SGD(0.1, 0.9), max_grad_norm=1.0)
        losses[threads] = [model.train_step(x, y)]
        send(model, joined=threads > 1)
        for i in range(300):
            losses[threads].append(model.train_step(x, y))
            if threads > 1 and i % 30 == 0:
                time.sleep(0.003)
        losses[threads].append(float(np.sum(model.weights[0], dtype=np.float64)))
    assert losses[1] == losses[7]


if __name__ == "__main__":
    main()
