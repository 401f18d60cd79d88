"""Processes that tests start: what they see, and those of tests/process run to their end.

A process imports the fastgrad that is tested, or a copy of it, and `support`: `environment` says so
by PYTHONPATH, which is read by no test itself.
"""

from __future__ import annotations

import ast
import atexit
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import fastgrad

TESTS = Path(__file__).parents[1]
FOLDER = TESTS / "process"
PACKAGES = Path(fastgrad.__file__).parents[1]  # the folder that fastgrad is in


class Hangs(Exception):
    """With what the process had said when it was killed."""


def environment(packages: Path = PACKAGES, **more: str) -> dict[str, str]:
    """That of this process, with the fastgrad of ``packages``."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(packages), str(TESTS))), **more}


def cold(cache: Path) -> dict[str, str]:
    """Variables of a process that finds no kernels: an empty cache, and a copy of the package, as
    those beside its sources are found whatever the cache is."""
    return {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": environment(_copy())["PYTHONPATH"]}


@functools.cache
def _copy() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fastgrad-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGES / "fastgrad", folder / "fastgrad", ignore=without)
    return folder


def without_threads(env: dict[str, str]) -> dict[str, str]:
    """``env`` with nothing in it that sets a number of threads."""
    return {k: v for k, v in env.items() if not k.endswith("_NUM_THREADS")}


def scenarios(program: str) -> list[str]:
    """The names of the functions of a program that are marked ``@scenario``."""
    tree = ast.parse((FOLDER / program).read_text(encoding="utf-8"))
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and [ast.unparse(d) for d in node.decorator_list] == ["scenario"]
    ]


def run(program: str, *words: str, patience: float, **env: str) -> tuple[int, str, str]:
    """Exit code, output, errors. A process that hangs is killed, its children with it."""
    # Python 3.12 deprecates what some are about: a fork with threads
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    process = subprocess.Popen(
        [sys.executable, *warnings, str(FOLDER / program), *words],
        env=without_threads(environment()) | env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, error = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, error = process.communicate()
        raise Hangs(f"{program} {' '.join(words)}: after {patience} s\n{output}{error}") from None
    return process.returncode, output, error
