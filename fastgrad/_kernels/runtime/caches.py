"""How much of L2 a core has: blocks of A are sized by it (gemm/blocked.py), whatever the CPU.

Asked of the system: Linux says it in /sys, macOS by sysctl. FASTGRAD_L2_BYTES, if set, is taken
instead; where nobody says, a size that nearly every CPU has.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from contextlib import suppress
from glob import glob
from pathlib import Path

from .table import L2_BYTES, TABLE

VARIABLE = "FASTGRAD_L2_BYTES"
GUESS = 512 << 10
LEAST_L2_BYTES, MOST_L2_BYTES = 128 << 10, 4 << 20  # beyond: a block of A would leave its arena


def l2_bytes() -> int:
    """In bytes; a cache that several cores share counts by the part of one."""
    found = _given() or _asked() or GUESS
    return min(max(found, LEAST_L2_BYTES), MOST_L2_BYTES)


def _given() -> int:
    """What the variable says; 0 if it is not set or, with a warning, no size."""
    text = os.environ.get(VARIABLE, "").strip()
    with suppress(ValueError):
        if int(text) > 0:
            return int(text)
    if text:
        warnings.warn(
            f"fastgrad: {VARIABLE} is {text!r}, expected a whole number of 1 or more; it is "
            f"ignored",
            RuntimeWarning,
            stacklevel=2,
        )
    return 0


def _asked() -> int:
    with suppress(OSError, ValueError, LookupError, AttributeError):
        if sys.platform == "linux":
            return _linux(Path("/sys/devices/system/cpu/cpu0"))
        if sys.platform == "darwin":
            return _macos()
    return 0


def _linux(cpu: Path) -> int:
    threads = _count((cpu / "topology/thread_siblings_list").read_text())
    for cache in map(Path, sorted(glob(str(cpu / "cache/index*")))):
        level, kind = ((cache / name).read_text().strip() for name in ("level", "type"))
        if level == "2" and kind in ("Unified", "Data"):
            size = (cache / "size").read_text().strip()
            unit = {"K": 1 << 10, "M": 1 << 20}[size[-1]]
            sharing = _count((cache / "shared_cpu_list").read_text())
            return int(size[:-1]) * unit // max(sharing // threads, 1)
    return 0


def _count(listed: str) -> int:
    """CPUs of a list such as 0-3,8."""
    ends = [[int(n) for n in part.split("-")] for part in listed.strip().split(",")]
    return sum(each[-1] - each[0] + 1 for each in ends)


def _macos() -> int:
    """The part of one performance core."""
    read = ctypes.CDLL(None).sysctlbyname
    values = []
    for name in (b"hw.perflevel0.l2cachesize", b"hw.perflevel0.cpusperl2"):
        value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
        if read(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
            return 0
        values.append(value.value)
    return values[0] // max(values[1], 1)


TABLE[L2_BYTES] = l2_bytes()
