"""The small fair timer: two functions in one process in turns, A B B A, and their times' ratio.

The machine's drift slows both alike; samples of 0.5 ms or more leave a function against itself
within 0.99 and 1.005. Seconds everywhere; a ratio is their time / ours, above 1: ours is faster.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

ROUNDS = 9  # the fewest that give the median an interval that leaves out the extremes
SAMPLE = 1e-3

Function = Callable[[], Any]


class Comparison(NamedTuple):
    """Medians over rounds: the ratio, its 95 % interval, and the seconds a call of each."""

    ratio: float
    low: float
    high: float
    ours: float
    theirs: float


def compare(
    ours: Function, theirs: Function, rounds: int = ROUNDS, sample: float = SAMPLE
) -> Comparison:
    """Time both in turns; the caller has checked that they compute the same."""
    functions = ours, theirs
    calls = [calls_to_fill(f, sample) for f in functions]
    pairs = []
    with quiet():
        for _ in range(rounds):
            spent = [0.0, 0.0]
            for which in (0, 1, 1, 0):
                spent[which] += seconds(functions[which], calls[which]) / (2 * calls[which])
            pairs.append((spent[0], spent[1]))
    return summarize(pairs)


def summarize(pairs: Sequence[tuple[float, float]]) -> Comparison:
    """pairs: (our seconds a call, theirs) of each round."""
    ratios = sorted(theirs / ours for ours, theirs in pairs)
    low, high = interval(ratios)
    ours, theirs = (median(p[i] for p in pairs) for i in (0, 1))
    return Comparison(median(ratios), low, high, ours, theirs)


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median by order statistics: of nine values the 2nd and the 8th.

    Whatever their distribution, each value is above the median with probability 1/2. Fewer than
    six have no such interval: then the least and the largest.
    """
    n = len(ordered)
    below, outside = 0, 0.0
    while below < n / 2:
        outside += 2 * math.comb(n, below) / 2**n  # the median is not between the next two
        if outside > 0.05:
            break
        below += 1
    below = max(below, 1)
    return ordered[below - 1], ordered[n - below]


def seconds(function: Function, calls: int = 1) -> float:
    """For all the calls."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


def calls_to_fill(function: Function, sample: float) -> int:
    """How many calls take ``sample`` seconds; the first one, which may compile, is not counted."""
    function()
    return fill(lambda calls: seconds(function, calls), sample)


def fill(run: Callable[[int], float], sample: float) -> int:
    """How many calls take ``sample`` seconds, ``run(calls)`` being the seconds of so many."""
    calls = 1
    while (taken := run(calls)) < sample:
        calls = max(calls + 1, int(calls * min(10.0, 1.1 * sample / max(taken, 1e-9))))
    return calls


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection inside."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def duration(seconds: float) -> str:
    """Three figures and a unit: 1.23 us, 45.6 ms, 7.89 s."""
    unit, scale = next((u, s) for u, s in _UNITS if seconds >= 0.9995 * s or u == "ns")
    return f"{seconds / scale:.3g} {unit}"


_UNITS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))
