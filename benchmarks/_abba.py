"""Two functions timed in turn, A B B A, so that a machine that slows down slows both."""

from __future__ import annotations

from collections.abc import Callable

from ._timer import calls_to_fill, quiet, seconds

ROUNDS = 15  # of A B B A: 30 samples each
SAMPLE = 2e-3  # seconds, at least: below 0.5 ms numpy against itself leaves 0.99-1.005


def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    """min of our samples / min of theirs. Nothing is timed before both have run."""
    functions = ours, theirs
    calls = [calls_to_fill(f, SAMPLE) for f in functions]
    best = [float("inf")] * 2
    with quiet():
        for which in (0, 1, 1, 0) * ROUNDS:
            best[which] = min(best[which], seconds(functions[which], calls[which]) / calls[which])
    return float(f"{best[0] / best[1]:.4g}")  # numpy beside itself leaves half a percent
