"""Programs of tests/process, each a process of its own: started, waited for, and read."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import fastgrad

FOLDER = Path(__file__).parent / "process"
PACKAGE = Path(fastgrad.__file__).parents[1]


class Hangs(Exception):
    """With what the process had said when it was killed."""


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
    inherited = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    # Python 3.12 deprecates what some are about: a fork with threads
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    process = subprocess.Popen(
        [sys.executable, *warnings, str(FOLDER / program), *words],
        env=inherited | {"PYTHONPATH": str(PACKAGE)} | env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, error = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, error = process.communicate()
        raise Hangs(f"{program} {' '.join(words)}: after {patience} s\n{output}{error}") from None
    return process.returncode, output, error
