"""What the benchmarks share: how long asv samples, and what a commit may lack.

The names and params of benchmarks are how asv finds yesterday's results, and are kept: names.txt
has them all, and is tested. Who changes what a benchmark computes changes its ``version``.
"""

from __future__ import annotations

import contextlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

from asv_runner.benchmarks.mark import SkipNotImplemented


class Timed:
    """For ``time_*``: a process a cell, 0.1 s to settle, then 5 to 20 samples of 10 ms.

    No ``setup``: with one, asv_runner times one call at a time, clock included. Data come from
    factories that remember; they raise SkipNotImplemented (n/a) for what a commit does not have.
    """

    rounds = 1
    warmup_time = 0.1
    sample_time = 0.01
    repeat = (5, 20, 0.3)
    timeout = 120


def need(names: tuple[str, ...]) -> None:
    """n/a where this commit does not have one of them, such as "fastgrad._njit"."""
    for name in names:
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            raise SkipNotImplemented(f"this commit has no {name}") from None


def warm(function: Callable[..., Any], *args: Any) -> None:
    """Compile, or load, when a benchmark's module is imported: before any clock runs.

    asv sets a benchmark's number of calls by its first ones, and one that compiles makes it one.
    An error is raised again where the benchmark itself comes to it. Not where asv only lists.
    """
    if sys.argv[1:2] not in (["discover"], ["check"]):
        with contextlib.suppress(Exception):
            function(*args)
