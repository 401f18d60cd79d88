"""Two functions timed in turn, A B B A, so that a machine that slows down slows both."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

ROUNDS = 15  # of A B B A: 30 samples each
SAMPLE = 2e-3  # seconds, at least: below 0.5 ms numpy against itself leaves 0.99-1.005


def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    """min of our samples / min of theirs. Nothing is timed before both have run."""
    functions = ours, theirs
    calls = [_calls(f) for f in functions]
    best = [float("inf")] * 2
    enabled = gc.isenabled()
    gc.disable()
    try:
        for which in (0, 1, 1, 0) * ROUNDS:
            best[which] = min(best[which], _seconds(functions[which], calls[which]))
    finally:
        if enabled:
            gc.enable()
    return best[0] / best[1]


def _seconds(function: Callable[[], object], calls: int) -> float:
    """A call's share of a sample."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def _calls(function: Callable[[], object]) -> int:
    """How many calls fill a sample."""
    function()
    calls = 1
    while (taken := _seconds(function, calls) * calls) < SAMPLE:
        calls = max(calls + 1, int(calls * min(10.0, 1.1 * SAMPLE / taken)))
    return calls
