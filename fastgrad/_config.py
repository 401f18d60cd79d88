"""warmup() and show_config(): compile ahead; what this process computes with."""

from __future__ import annotations

import os
import platform

import llvmlite
import numba
import numpy as np

from ._kernels.bind import builtins, step_builtin
from ._kernels.codegen import target
from ._kernels.runtime import compiler, registry
from ._kernels.runtime.table import L2_BYTES, TABLE
from ._version import __version__
from .threads import get_num_threads


def warmup() -> None:
    """Compile every kernel, float32 and float64, or load it from numba's cache.

    Without it each is compiled when it is first needed. NUMBA_DISABLE_JIT is about users'
    functions: fastgrad's kernels compile all the same.
    """
    registry.compile_all()
    for name in builtins.NAMES:
        getattr(builtins, name)
    step_builtin.compile_ahead()


def compiling() -> str:
    """What the command line says before the first call."""
    return f"compiling for {target.describe()}"


def show_config() -> None:
    """Print versions, the CPU that numba compiles for, vector width, tiles, threads and cache."""
    for name, value in config().items():
        print(f"{name:<12} {value}")


def config() -> dict[str, str]:
    """What show_config prints: a line each."""
    now = target.current()
    isa = now.isa
    tiles = (f"{n} {isa.rows} x {isa.columns(s)}" for n, s in (("float32", 4), ("float64", 8)))
    return {
        "fastgrad": f"{__version__}, BITS_VERSION {target.BITS_VERSION}",
        "python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        "numpy": np.__version__,
        "numba": f"{numba.__version__}, llvmlite {llvmlite.__version__}",
        "cpu": f"{now.cpu} (what numba compiles for)",
        "vectors": f"{isa.name}, {8 * isa.vector_bytes} bits" + ("" if isa.fma else ", no FMA"),
        "tiles": ", ".join(tiles),
        "KC": ", ".join(f"{name} {k}" for name, k in target.KC.items()),
        "L2": f"{TABLE[L2_BYTES] >> 10} kB of a core, which blocks are made for",
        "threads": f"{get_num_threads()} (the machine has {os.cpu_count()} logical CPUs)",
        "cache": compiler.cache_path(),
    }
