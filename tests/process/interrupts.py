"""Programs about interrupts at random moments: ``python interrupts.py NAME...``, see faults.py."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from scenarios import large_product, replaced, run, scenario
from steps import SECONDS, SEED, assert_its_steps_were_whole, model_and_batches, until_the_end

import fastgrad


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

    from fastgrad._kernels.runtime import pool_kernels, scratch
    from fastgrad._kernels.runtime.table import SCRATCH, TABLE

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
            assert TABLE[pool_kernels.BUSY] == 0
            assert not any(TABLE[SCRATCH + 2 * i] for i in range(scratch.ARENAS))
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


if __name__ == "__main__":
    # not give_up_after, whose timer is that of Interrupts
    faulthandler.dump_traceback_later(int(os.environ.get("PATIENCE", "150")) + SECONDS, exit=True)
    run(sys.argv[1:])
