"""Programs about interrupts, most at random moments: ``python interrupts.py NAME...``."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import functools
import itertools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
from scenarios import large_product, replaced, run, scenario
from steps import SECONDS, SEED, assert_its_steps_were_whole, model_and_batches, until_the_end

import fastgrad
from fastgrad._kernels.codegen import atomics
from support import slots

Words = np.ndarray[Any, np.dtype[np.int64]]


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

    from fastgrad._kernels.runtime import pool_words, scratch
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
            assert TABLE[pool_words.BUSY] == 0
            assert not any(TABLE[SCRATCH + 2 * i] for i in range(scratch.ARENAS))
            if i % 5 == 0:
                assert not work.wrong(), work.name
    assert interrupts.hits > 10, interrupts.hits
    assert jobs.all_meet(3) and fastgrad.get_num_threads() == 3
    print(f"{interrupts.hits} interrupts of calls", file=sys.stderr)


# The points of a step in two joins: a kernel that is about to run there, for the first time. The
# tasks of the second join begin when the first is over.
POINTS = {
    "in the first join": "step_rows",
    "between the joins": "step_parameters",
    "in the second join": "update",
    "where gradients are scaled": "clip_layers",
}


@functools.cache
def _interrupting(name: str) -> tuple[int, Any, Words]:
    """A kernel's slot; a function for it, that sends Ctrl-C when the word is 0, and goes on."""
    from fastgrad._kernels.runtime import registry
    from fastgrad._kernels.runtime.callbacks import KERNEL_TYPE
    from fastgrad._kernels.runtime.table import TABLE

    (index,) = (k.slot("float32") for k in registry.kernels() if k.name == name)
    registry.compile_slot(index)
    go_on, kill, process = KERNEL_TYPE(TABLE[index]), ctypes.CDLL(None).kill, os.getpid()
    kill.argtypes, kill.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    sent, ctrl_c = np.zeros(1, np.int64), int(signal.SIGINT)
    word = sent.ctypes.data

    @numba.cfunc(numba.types.int64(numba.types.int64))  # type: ignore[untyped-decorator]
    def interrupt(address):  # type: ignore[no-untyped-def]
        if atomics.exchange(word, 1) == 0:
            kill(process, ctrl_c)
        return go_on(address)

    return index, interrupt, sent


@contextlib.contextmanager
def interrupt_before(name: str) -> Iterator[None]:
    """Ctrl-C when a kernel is called next, whichever thread does; no Python is in between."""
    index, interrupt, sent = _interrupting(name)
    sent[0] = 0
    with slots.replaced(index, by=interrupt.address):
        yield
    assert sent[0] == 1, f"{name} was not called"


@scenario
def interrupt_a_step_in_two_joins() -> None:
    """At each of its points: the step is done or not begun, and the next one works."""
    import jobs

    from fastgrad._kernels.runtime import pool_words, scratch
    from fastgrad._kernels.runtime.table import SCRATCH, TABLE
    from support.step_ways import send

    new, batches = model_and_batches()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    fastgrad.set_num_threads(2)
    for limit in (None, 0.1):
        make = functools.partial(new, max_grad_norm=limit)
        model = make()
        model.train_step(*batches[0])
        send(model, joined=True)
        for (point, kernel), batch in itertools.product(POINTS.items(), batches):
            if limit is None and kernel == "clip_layers":
                continue
            steps, interrupted = model.steps, False
            with interrupt_before(kernel):
                try:
                    model.train_step(*batch)
                    time.sleep(1)  # on which it is noticed, if it was not before
                except KeyboardInterrupt:
                    interrupted = True
            done = model.steps - steps
            # what is to be compiled in it finds the interrupt: then nothing has changed yet
            assert interrupted and (done == 1 or (done == 0 and batch is batches[0])), point
            assert TABLE[pool_words.BUSY] == 0, point
            assert not any(TABLE[SCRATCH + 2 * i] for i in range(scratch.ARENAS)), point
            model.train_step(*batch)
            assert model.steps == steps + done + 1, point
            assert_its_steps_were_whole(model, make, batches[0])
    assert jobs.all_meet(2)


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
