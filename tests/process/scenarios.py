"""The frame of the programs of scenarios: ``python pool_jobs.py NAME...`` runs some, in turn.

Each asserts. What several programs need stands here as well.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastgrad

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


@contextlib.contextmanager
def no_new_threads() -> Iterator[None]:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with replaced(threading.Thread, "start", refuse):
        yield


def side_by_side(functions: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=f) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_child(function: Callable[[], None]) -> None:
    """Run it in a forked child, which must finish within a minute and leave with 0."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            give_up_after(50)
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
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


def main() -> None:
    """Of a program that is given names of its scenarios."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    give_up_after(int(os.environ.get("PATIENCE", "150")))
    run(sys.argv[1:])


def run(names: list[str]) -> None:
    if len(names) > 1:
        sys.exit(together(names))
    SCENARIOS[names[0]]()
