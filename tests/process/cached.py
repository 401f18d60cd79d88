"""Calls by a process of its own, and where their kernels came from: a program of test_cache.py.

python cached.py CALL-DTYPE..., such as step-float32. Prints as JSON: whether each result has the
bits it must have, the number of kernels and how many of them were in the cache, warnings. With
--wait it says "ready" once fastgrad is imported, and goes on after a line of input.
--stop-after BYTES: no file can be longer. --no-root: root that may not write where others may not.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import sys
import warnings
from collections.abc import Callable
from typing import Any

OVERRIDE = 1  # CAP_DAC_OVERRIDE
PR_CAPBSET_DROP = 24


def step(np: Any, fastgrad: Any, dtype: str) -> bool:
    param, grad = np.arange(12, dtype=dtype), np.arange(12, 0, -1).astype(dtype)
    expected = param - grad / 4  # exact
    fastgrad.sgd_step(param, grad, 0.25)
    return bool((param == expected).all())


def product(np: Any, fastgrad: Any, dtype: str) -> bool:
    a, b = np.arange(-7, 8).reshape(3, 5), np.arange(-9, 11).reshape(5, 4)
    return bool((fastgrad.matmul(a.astype(dtype), b.astype(dtype)) == a @ b).all())  # exact


CALLS: dict[str, Callable[[Any, Any, str], bool]] = {"step": step, "product": product}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    import fastgrad
    from fastgrad._kernels.runtime import compiler

    if arguments.wait:
        print("ready", flush=True)
        sys.stdin.readline()
    loaded = list[int]()
    compile_it = compiler._compile

    def counted(*args: Any) -> Any:
        compiled = compile_it(*args)
        loaded.append(compiled.cache_hits)
        return compiled

    compiler._compile = counted
    with warnings.catch_warnings(record=True) as seen:
        if not sys.warnoptions:
            warnings.simplefilter("always")
        right = [
            CALLS[name](np, fastgrad, dtype)
            for name, _, dtype in (call.partition("-") for call in arguments.calls)
        ]
    return {
        "right": right,
        "kernels": len(loaded),
        "hits": sum(loaded),
        "warnings": [str(each.message) for each in seen],
        "path": compiler.cache_path(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("calls", nargs="+")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--stop-after", type=int)
    parser.add_argument("--no-root", action="store_true")
    given = parser.parse_args()
    if given.no_root and os.geteuid() == 0:  # the bounding set counts when a program is started
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, OVERRIDE, 0, 0, 0)
        words = [word for word in sys.argv if word != "--no-root"]
        os.execv(sys.executable, [sys.executable, *(f"-W{w}" for w in sys.warnoptions), *words])
    if given.stop_after is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (given.stop_after,) * 2)
    print(json.dumps(run(given)))
