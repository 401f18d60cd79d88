"""Many threads, all public functions: ``python hammer.py SECONDS [THREADS [SEED]]``.

Beside them one thread changes num_threads, and one runs a parallel loop of a user's under numba's
workqueue layer, which allows one thread. Now and then all callers sleep, and so do workers. First
all works are done once by each thread; what goes on from there is to leave nothing behind. Prints
what was done, as JSON: calls by work, those that were wrong, errors, the longest any call took, and
what it left, bytes and threads.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import gc
import json
import os
import random
import sys
import threading
import time
import traceback
from typing import Any

os.environ["NUMBA_THREADING_LAYER"] = "workqueue"
import numba
import numpy as np
import works
from numba import njit, prange
from scenarios import give_up_after

import fastgrad

EVERY, PAUSE = 0.25, 0.02  # seconds: so often all callers sleep, for so long
PATIENCE = 200  # seconds beyond those asked for: compiling, beside others


@njit(parallel=True, cache=True)
def users_loop(a, b, c):  # type: ignore[no-untyped-def]
    for i in prange(len(a)):
        fastgrad.matmul(a[i], b, out=c[i])


class Hammer:
    """calls: by work; wrong, errors: what went wrong; longest: seconds of a call, and its work;
    left: bytes of memory and threads after each run."""

    def __init__(self, threads: int, seed: int) -> None:
        self.all = works.make(seed)
        self.threads, self.seed = threads, seed
        self.calls: collections.Counter[str] = collections.Counter()
        self.wrong: set[str] = set()
        self.errors: list[str] = []
        self.longest = 0.0, ""
        self.left: list[tuple[int, int]] = []
        self._lock = threading.Lock()
        self._prepare_loop()
        self._start_workers()

    def run(self, seconds: float) -> None:
        """Each caller does all works once, and goes on for the rest of the time."""
        functions: list[Any] = [lambda i=i: self._caller(i) for i in range(self.threads)]
        functions += [self._changer, self._parallel_loop]
        self.end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._guarded, args=(f,)) for f in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
        self.left.append((_resident(), _threads()))

    def _start_workers(self) -> None:
        """All that there can be: none is started later."""
        fastgrad.set_num_threads(fastgrad.threads.MAX_THREADS)
        a = np.ones((2000, 400), np.float32)
        fastgrad.matmul(a, a.T)

    def _guarded(self, function: Any) -> None:
        try:
            function()
        except BaseException:
            self.errors.append(traceback.format_exc())

    def _caller(self, number: int) -> None:
        chance = random.Random(1000 * self.seed + number)
        calls: collections.Counter[str] = collections.Counter()
        order = self.all[:]
        longest, wrong, whole = (0.0, ""), set(), True
        while whole or time.monotonic() < self.end:
            chance.shuffle(order)
            for work in order:
                start = time.monotonic()
                if start > self.end and not whole:
                    break
                if start % EVERY < PAUSE:
                    time.sleep(PAUSE)
                    start += PAUSE
                if work.wrong():
                    wrong.add(work.name)
                longest = max(longest, (time.monotonic() - start, work.name))
                calls[work.name] += 1
            whole = False
        with self._lock:
            self.calls += calls
            self.wrong |= wrong
            self.longest = max(self.longest, longest)

    def _changer(self) -> None:
        chance = random.Random(self.seed)
        while time.monotonic() < self.end:
            n = chance.choice((1, 2, 3, 5, 8, fastgrad.threads.MAX_THREADS))
            fastgrad.set_num_threads(n)
            with fastgrad.num_threads(chance.randrange(1, 5)):
                time.sleep(chance.random() * 0.01)
            self.calls["set_num_threads"] += 2

    def _prepare_loop(self) -> None:
        """Compiled and run once: what it gives is then known."""
        rng = np.random.default_rng(self.seed)
        self._a, self._b = (rng.standard_normal(s).astype("f4") for s in ((6, 40, 300), (300, 90)))
        self._c = fastgrad.matmul(self._a, self._b)
        users_loop(self._a, self._b, np.empty_like(self._c))
        assert numba.threading_layer() == "workqueue"

    def _parallel_loop(self) -> None:
        while time.monotonic() < self.end:
            c = np.full_like(self._c, np.nan)
            users_loop(self._a, self._b, c)
            if c.tobytes() != self._c.tobytes():
                self.wrong.add("a user's parallel loop")
            self.calls["a user's parallel loop"] += 1


def _resident() -> int:
    """Bytes of memory that is in use, where Linux tells: what the C library has free is given back,
    or each thread's own part would count."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _threads() -> int:
    """Of the process, Python's or not."""
    folder = "/proc/self/task"
    return len(os.listdir(folder)) if os.path.isdir(folder) else threading.active_count()


def main(seconds: float, threads: int = 16, seed: int = 0) -> dict[str, Any]:
    hammer = Hammer(threads, seed)
    hammer.run(0)
    hammer.run(seconds)
    done, (before, after) = hammer.calls, hammer.left
    return {
        "works": len(hammer.all), "calls": done.total(), "least": min(done.values()),
        "kinds": len(done), "loops": done["a user's parallel loop"],
        "changes": done["set_num_threads"], "wrong": sorted(hammer.wrong),
        "errors": hammer.errors, "longest": hammer.longest,
        "bytes": after[0] - before[0], "threads": [before[1], after[1]],
    }  # fmt: skip


if __name__ == "__main__":
    give_up_after(int(float(sys.argv[1])) + PATIENCE)
    print(json.dumps(main(float(sys.argv[1]), *map(int, sys.argv[2:]))))
