"""``fastgrad warmup``: compile every kernel now, into numba's cache."""

from __future__ import annotations

import argparse
import time

HELP = "compile all kernels ahead, so that later runs load them from the cache"


def configure(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(args: argparse.Namespace) -> int:
    import fastgrad

    from .._config import compiling

    print(compiling(), flush=True)
    start = time.perf_counter()
    fastgrad.warmup()
    print(f"all kernels compiled, or loaded from the cache, in {time.perf_counter() - start:.1f} s")
    return 0
