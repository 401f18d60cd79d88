"""What the scripts of single figures share: a quiet clock, a check of results, who is measured."""

from __future__ import annotations

import os
import platform
import statistics
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

import fastgrad
from fastgrad._bench import fill, quiet
from fastgrad._bench import seconds as seconds
from fastgrad._kernels.codegen.target import describe

Array = Any


@contextmanager
def threads(n: int) -> Iterator[None]:
    """n threads for fastgrad and for numpy's BLAS; no garbage collection."""
    with quiet(), fastgrad.num_threads(n), threadpool_limits(n):
        yield


def timer(statement: str, **names: Any) -> Callable[[int], float]:
    """calls -> seconds for all of them: the statement in timeit's own loop, with no lambda."""
    return timeit.Timer(statement, globals=names).timeit


def calls_for(run: Callable[[int], float], seconds: float) -> int:
    """How many calls take about that long; the first ones, which may compile, are not counted."""
    run(3)
    return fill(run, seconds)


def normal(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    return rng.standard_normal(shape, np.float32).astype(dtype)


def poison(*arrays: Array) -> None:
    """What is not written afterwards cannot pass `check`."""
    for a in arrays:
        a.fill(np.nan)


def check(what: str, actual: Array, expected: Array, terms: int) -> None:
    """Right to rounding, each element a sum of ``terms`` products of numbers of size about 1."""
    bound = 8 * (terms + 2) * np.finfo(actual.dtype).eps
    error = np.abs(actual - expected).max(initial=0.0)
    assert error <= bound, f"{what}: off by {error:.2g}: nothing to time"  # False for NaN


def spread(samples: list[float]) -> tuple[float, float]:
    """(best, median)"""
    return min(samples), statistics.median(samples)


def machine(count: int) -> str:
    """A line: CPU, versions, numpy's BLAS and its core, threads."""
    blas = ", ".join(
        f"{i['internal_api']} {i['version']} {i.get('architecture', '')}".rstrip()
        for i in threadpool_info()
        if i["user_api"] == "blas" and "numpy" in i["filepath"]
    )
    return (
        f"{platform.machine()}, {os.cpu_count()} CPUs, {describe()}; fastgrad "
        f"{fastgrad.__version__}, numpy {np.__version__} ({blas or 'BLAS unknown'}), Python "
        f"{platform.python_version()}; {count} thread{'s' if count > 1 else ''}"
    )
