"""Where there is no memory: a MemoryError, and a library that goes on. See exhausted.py.

What holds then: operands, gaps between elements, and the parameters of a model are as they were,
and nothing stays taken. An ``out`` may be half written, as its kernel asks for scratch on the way.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from support.programs import environment

PROGRAM = Path(__file__).with_name("exhausted.py")
# In this order: the first wants a pool that has no workers yet, the last is to fail.
SCENARIOS = ("first_threads", "results", "training", "scratch_of_kernels", "every_block_of_python")
FAILING = "no_memory_is_not_noticed"

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="limits the memory that glibc gives out"
)


def _run(*names: str) -> tuple[list[str], str]:
    """Those that were done, and what was said of the one that was not."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *names],
        env=environment(PYTHONFAULTHANDLER="1"), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    return done.stdout.splitlines(), f"{done.stderr}exit code {done.returncode}"


@pytest.fixture(scope="module")
def together() -> tuple[list[str], str]:
    known = SCENARIOS if importlib.util.find_spec("_testcapi") else SCENARIOS[:-1]
    return _run(*known, FAILING)


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_memory(name: str, together: tuple[list[str], str]) -> None:
    if name == SCENARIOS[-1] and importlib.util.find_spec("_testcapi") is None:
        pytest.skip("this Python has no _testcapi")
    assert f"{name}: done" in together[0], together[1]


def test_without_memory_in_compiled_code() -> None:
    assert _run("compiled") == (["compiled: done"], "exit code 0")


def test_memory_that_is_found_is_seen(together: tuple[list[str], str]) -> None:
    assert f"{FAILING}: done" not in together[0] and "found memory" in together[1]
