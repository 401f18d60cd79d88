"""Programs about jobs of the pool: what is done, who takes part, who waits.

test_pool.py starts them, as those of pool_ends.py and pool_faults.py.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import numpy as np
from scenarios import large_product, main, scenario, side_by_side

import fastgrad

MAX_TASKS = 1000
SHORT = 20_000  # ns of a job


# Jobs -------------------------------------------------------------------------------------------


@scenario
def every_task_once() -> None:
    import jobs

    for threads in (1, 2, 3, 8):
        fastgrad.set_num_threads(threads)
        for tasks in range(1, MAX_TASKS + 1):
            counts = jobs.zeros(MAX_TASKS + 1)
            assert jobs.run(jobs.count, (counts, 0), tasks) == 0
            assert (counts[:tasks] == 1).all() and not counts[tasks:].any(), (threads, tasks)
    assert len(jobs.workers()) == 7


@scenario
def no_task() -> None:
    import jobs

    fastgrad.set_num_threads(3)
    counts = jobs.zeros()
    assert jobs.run(jobs.count, (counts, 0), 0) == 0 and not counts.any()


@scenario
def more_tasks_than_claims() -> None:
    """A range counts 2^16 claims: beyond, a claim is of several tasks."""
    import jobs

    fastgrad.set_num_threads(2)
    for tasks in ((1 << 16) - 1, 1 << 16, (1 << 20) + 5):
        sums = jobs.zeros(2)
        assert jobs.run(jobs.total, (sums,), tasks) == 0
        assert sums.tolist() == [tasks, tasks * (tasks - 1) // 2]


@scenario
def many_jobs() -> None:
    """Of two kinds by turns: a late worker would do a task of the job before, or of the next."""
    import jobs

    fastgrad.set_num_threads(8)
    one, other = jobs.zeros(16), jobs.zeros(16)
    for _ in range(3000):
        assert jobs.run(jobs.count, (one, 0), 16) == 0
        assert jobs.run(jobs.count, (other, 5), 3, jobs.ASLEEP) == 0
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
            if jobs.run(jobs.count, (counts[i], 100), 20):
                failed.append(i)

    side_by_side([lambda i=i: caller(i) for i in range(4)])
    assert not failed
    assert all((c == 500).all() for c in counts)


@scenario
def nested() -> None:
    """A task that forks does the inner tasks itself, one after the other, and finishes."""
    import jobs

    for threads in (1, 3):
        fastgrad.set_num_threads(threads)
        for nogil in (True, False):
            counts = jobs.zeros(12 * 7)
            assert jobs.run(jobs.nest, (counts, 7, 20), 12, nogil=nogil) == 0
            assert (counts == 1).all()


@scenario
def ranges_are_stolen() -> None:
    """A thread that is held up by its first task: others do the rest of its range."""
    import jobs

    for threads in (2, 3, 8):
        fastgrad.set_num_threads(threads)
        for thread in range(threads):
            for _ in range(20):
                who = 40 * thread // threads
                assert jobs.run(jobs.wait, (jobs.zeros(), who, 39), 40) == 0


@scenario
def statuses_are_ored() -> None:
    import jobs

    for threads in (1, 3):
        fastgrad.set_num_threads(threads)
        statuses = np.array([0, 4, 0, 1, 0, 32, 1, 0], np.int64)
        assert jobs.run(jobs.status, (statuses,), 8) == 37
        assert jobs.run(jobs.status, (statuses,), 3) == 4
        assert jobs.run(jobs.status, (statuses[2:],), 1) == 0, "of the job before"


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
        assert jobs.run(jobs.meet, (jobs.zeros(), 2), 3) == 0
        fastgrad.set_num_threads(2)
        places.append(jobs.doers(20))
    assert jobs.threads_of(np.concatenate(places)) == 2


@scenario
def sleepers_wake_for_long_jobs() -> None:
    """And not for one short job, which the caller does."""
    import jobs

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    for _ in range(20):
        jobs.wait_until_asleep()
        assert jobs.threads_of(jobs.doers(4, SHORT)) == 1
        assert all(jobs.workers()), "a short job woke a worker"
        assert jobs.run(jobs.meet, (jobs.zeros(), 3), 3, jobs.AWAKE) == 0


@scenario
def sleepers_wake_for_short_jobs_that_come_often() -> None:
    """When what they would have saved has paid for waking them."""
    import jobs

    from fastgrad._kernels.runtime import demand

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    jobs.wait_until_asleep()
    saved = SHORT - SHORT // 3
    jobs_alone = 0
    while all(jobs.workers()) and jobs_alone < 5000:  # a pause, on a busy machine, begins it anew
        jobs.doers(4, SHORT)
        jobs_alone += 1
    assert demand.WAKE_NS // saved <= jobs_alone < 5000


@scenario
def sleepers_do_not_wake_for_short_jobs_that_are_rare() -> None:
    import jobs

    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    jobs.wait_until_asleep()
    for _ in range(40):
        time.sleep(0.002)
        assert jobs.threads_of(jobs.doers(4, SHORT)) == 1
        assert all(jobs.workers())


@scenario
def idle_workers_spin_for_some_of_the_gaps_between_jobs() -> None:
    import jobs

    from fastgrad._kernels.runtime import demand, pool_words
    from fastgrad._kernels.runtime.table import TABLE

    def follows() -> bool:
        """The spin; and whether jobs come often."""
        gap, spin = int(TABLE[pool_words.GAP]), int(TABLE[pool_words.SPIN])
        bounded = max(demand.SHORT_SPIN_NS, min(demand.GAPS * gap, demand.LONG_SPIN_NS))
        often = gap <= demand.OFTEN_NS
        assert spin == (bounded if often else demand.SHORT_SPIN_NS)
        return often

    fastgrad.set_num_threads(3)
    for pause in (0.0, 1e-4, 2e-3):
        for _ in range(30):
            jobs.doers(4, SHORT)
            often = follows()
            time.sleep(pause)
    assert not often, "after pauses of 2 ms"
    TABLE[pool_words.GAP] = 0  # as of jobs that came at once: one long gap does not count for much
    jobs.doers(4, SHORT)
    assert follows()


@scenario
def rare_jobs_cost_no_core() -> None:
    """Workers of a process that has a small job every 10 ms take 2 % of a core, at most."""
    import jobs

    if not hasattr(time, "pthread_getcpuclockid"):
        return
    fastgrad.set_num_threads(3)
    assert jobs.all_meet(3)
    workers = [t.ident or 0 for t in threading.enumerate() if t.name.startswith("fastgrad")]
    clocks = [time.pthread_getcpuclockid(ident) for ident in workers]
    jobs.wait_until_asleep()
    before, start = sum(map(time.clock_gettime, clocks)), time.monotonic()
    for _ in range(50):
        time.sleep(0.01)
        jobs.doers(4, SHORT)
    used = sum(map(time.clock_gettime, clocks)) - before
    assert used <= 0.02 * (time.monotonic() - start), f"{1e3 * used:.1f} ms"


@scenario
def woken_workers_may_run_everywhere() -> None:
    """A worker is kept off its caller's CPU only until it is awake."""
    import jobs

    if not hasattr(os, "sched_getaffinity"):
        return
    fastgrad.set_num_threads(8)
    assert jobs.all_meet(8)
    threads = [t.native_id for t in threading.enumerate() if t.name.startswith("fastgrad")]
    allowed = os.sched_getaffinity(0)
    for _ in range(30):
        jobs.wait_until_asleep()
        assert jobs.all_meet(8)
        assert all(os.sched_getaffinity(t) == allowed for t in threads)
    for cpu in sorted(allowed)[:2]:  # those that a caller narrows stay narrow
        for t in threads:
            os.sched_setaffinity(t, {cpu})
        jobs.wait_until_asleep()
        assert jobs.all_meet(8)
        assert all(os.sched_getaffinity(t) == {cpu} for t in threads)
        for t in threads:
            os.sched_setaffinity(t, allowed)


@scenario
def busy_pool() -> None:
    """A second caller does all its tasks itself, while the first one's job runs."""
    import jobs

    fastgrad.set_num_threads(2)
    assert jobs.all_meet(2)
    inside = jobs.zeros()
    status: list[int] = []  # three have to meet where there are two threads: this call is the third
    first = threading.Thread(
        target=lambda: status.append(jobs.run(jobs.meet, (inside, 3), 2)), daemon=True
    )
    first.start()
    while inside[0] < 2:
        time.sleep(0.001)
    number, counts = jobs.job_number(), jobs.zeros(50)
    assert jobs.run(jobs.count, (counts, 0), 50) == 0 and (counts == 1).all()
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

    from fastgrad._kernels.codegen import atomics

    @numba.njit(types.intp())
    def get() -> Any:
        return atomics.control_word()

    @numba.njit(types.intp(types.intp))
    def put(word: Any) -> Any:
        return atomics.set_control_word(word)

    flush = {"x86_64": 0x8040, "aarch64": 1 << 24}[os.uname().machine]
    fastgrad.set_num_threads(3)
    usual = get() & ~0x3F  # without the flags that operations raise on x86
    for word in (usual | flush, usual, usual | flush):
        put(word)
        words = jobs.zeros(3)
        assert jobs.run(jobs.control, (jobs.zeros(), 3, words), 3) == 0
        assert (words & ~0x3F == word).all(), [hex(w) for w in words]
        assert get() & ~0x3F == word, "the caller's own was changed"


@scenario
def holding_the_gil() -> None:
    import jobs

    fastgrad.set_num_threads(3)
    for _ in range(50):
        counts = jobs.zeros(30)
        assert jobs.run(jobs.count, (counts, 10), 30, nogil=False) == 0
        assert (counts == 1).all()
        assert jobs.run(jobs.meet, (jobs.zeros(), 3), 3, nogil=False) == 0


if __name__ == "__main__":
    main()
