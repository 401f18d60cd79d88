"""Programs about the ends of a pool: forks, and how a process leaves."""

from __future__ import annotations

import atexit
import os
import threading
import time

from scenarios import in_child, large_product, main, scenario, side_by_side

import fastgrad

# Forking ----------------------------------------------------------------------------------------


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

    from fastgrad._kernels.runtime import thread_pool

    def child() -> None:
        thread_pool._start(0)
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
            status.append(jobs.run(jobs.meet, (inside, 3), tasks))

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
    target = lambda: jobs.run(jobs.meet, (inside, 3), 2)  # noqa: E731
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
    from fastgrad._kernels.runtime import thread_pool

    thread_pool.stop()
    counts = jobs.zeros(9)
    number = jobs.job_number()
    assert jobs.run(jobs.count, (counts, 0), 9) == 0 and (counts == 1).all()
    large_product()
    assert jobs.job_number() == number and threading.active_count() == 1
    atexit.register(lambda: (large_product(), print("leaving", flush=True)))


if __name__ == "__main__":
    main()
