"""The libraries that are compared: one file each, with_<name>.py, in which

set_threads(n)        is called once in a process, before the first bind;
bind(cell, operands)  gives (call, results): call() computes with the entry points of the library's
                      users and is what is timed, results() are the arrays that come out, as
                      numpy's. Outs are made beforehand and start as NaN, where there are outs.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from importlib.metadata import version
from types import ModuleType

OTHERS = ("numpy", "torch", "jax")


def load(name: str) -> ModuleType:
    return importlib.import_module(f"with_{name}")


def installed() -> list[str]:
    return [name for name in OTHERS if importlib.util.find_spec(name)]


def versions(names: list[str]) -> dict[str, str]:
    """Of the libraries; numpy's with the BLAS, its version and the core it found."""
    found = {name: version(name) for name in names}
    if "numpy" in found:
        import numpy  # noqa: F401  its BLAS must be loaded to be asked
        from threadpoolctl import threadpool_info

        blas = [i for i in threadpool_info() if i["user_api"] == "blas"]
        found["numpy"] += "".join(
            f" ({i['internal_api']} {i['version']}, {i.get('architecture', 'core not told')})"
            for i in blas[:1]
        )
    return found


def limit_affinity(threads: int) -> None:
    """For a library that sizes its pool, when it starts, by the CPUs that it may run on."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
