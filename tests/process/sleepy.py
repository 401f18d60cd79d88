"""Workers that get no CPU for a second, wherever they are."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator


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
