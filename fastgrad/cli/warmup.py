"""``fastgrad warmup``: compile every kernel now, into numba's cache."""

from __future__ import annotations

import argparse
import time

from .._config import compiling, warmup
from .._kernels.runtime import registry
from . import _terminal

HELP = "compile all kernels ahead, so that later runs load them from the cache"


def configure(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(args: argparse.Namespace) -> int:
    print(compiling(), flush=True)
    start = time.perf_counter()
    with _terminal.compiling(registry.count()):
        warmup()
    print(f"all kernels compiled, or loaded from the cache, in {time.perf_counter() - start:.1f} s")
    return 0
