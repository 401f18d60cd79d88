"""Where and with what results came about: the head of a results file."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import peak
from libraries import versions

import fastgrad
from fastgrad._bench import compare
from fastgrad._kernels.codegen.target import describe


def describe_run(libraries: list[str], options: dict[str, Any]) -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "source": source(),
        "machine": {
            "cpu": cpu(),
            "logical_cpus": os.cpu_count(),
            "threads": fastgrad.get_num_threads(),
            "system": f"{platform.system()} {platform.machine()}",
            "load_at_start": round(os.getloadavg()[0], 2),
        },
        "versions": {
            "python": platform.python_version(),
            "fastgrad": f"{fastgrad.__version__} ({describe()})",
            **versions(["numba", *libraries]),
        },
        "options": options,
    }


def short(libraries: list[str]) -> dict[str, Any]:
    """What a file of measured/ says of it."""
    run = describe_run(libraries, {})
    return {"cpu": cpu(), **{key: run[key] for key in ("date", "commit", "versions")}}


def cpu() -> str:
    """As the system names it. A guest's name may say little: then family, model and stepping."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model|stepping)\s*: (.*)$", text, re.M))
    numbers = ", ".join(f"{k} {v}" for k, v in found.items() if k != "model name")
    return found.get("model name", platform.machine()) + (f" ({numbers})" if numbers else "")


class Company:
    """How much of the machine's CPU time others took, up to ``shares``; Linux alone tells."""

    def __init__(self) -> None:
        self.before = self._seconds()

    def shares(self) -> dict[str, float]:
        """Of all CPU time: that of other processes, and what the host of a guest withheld."""
        if self.before is None:
            return {}
        busy, stolen, own, wall = (b - a for a, b in zip(self.before, self._seconds(), strict=True))
        total = wall * (os.cpu_count() or 1)
        return {
            "other_processes": round(max(busy - own, 0.0) / total, 4),
            "stolen": round(stolen / total, 4),
        }

    def _seconds(self) -> Any:
        """Busy, stolen, by this process and its ended children, and the clock's."""
        try:
            with open("/proc/stat") as file:
                ticks = [int(word) for word in file.readline().split()[1:9]]
        except OSError:
            return None
        busy = sum(ticks[i] for i in (0, 1, 2, 5, 6))  # user, nice, system, interrupts
        tick = os.sysconf("SC_CLK_TCK")
        own = os.times()
        return busy / tick, ticks[7] / tick, sum(own[:4]), own[4]


def commit() -> str:
    """Of the checkout, with a + if files of it have been changed; "" outside one."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:  # no git
        return ""


def source() -> str:
    """Hash of the package's Python files: the same over commits that leave it alone."""
    digest = hashlib.sha256()
    for path in sorted(Path(fastgrad.__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def peaks(threads: list[int]) -> dict[str, dict[str, float]]:
    """Threads -> dtype -> floating-point operations a second on registers."""
    return {str(n): {d: peak.fma_rate(d, n) for d in ("float32", "float64")} for n in threads}


def control() -> dict[str, float]:
    """numpy beside itself, on one thread: what this machine's noise does to a ratio of 1."""
    import with_numpy
    from cells import Cell
    from operands import make
    from threadpoolctl import threadpool_limits

    cell = Cell("control", "256", 256, 256, 256, "nn", "float32", 1)
    with threadpool_limits(1):
        call, _ = with_numpy.bind(cell, make(cell))
        return compare(call, call)._asdict()
