"""Executors of all kinds, nested ones too: each scenario of executors.py is a process."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from support import programs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")

QUICK = ("thread_pool", "threads_in_threads", "processes_forked", "threads_in_processes")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in programs.scenarios("executors.py")
    ],
)
def test_executor(name: str) -> None:
    if name.startswith("joblib") and importlib.util.find_spec("joblib") is None:
        pytest.skip("joblib is not installed")
    code, output, error = programs.run("executors.py", name, patience=200)
    assert code == 0, f"exit code {code}\n{error}"
    assert (output, error) == ("", "")


def test_lists_are_of_scenarios() -> None:
    assert {*QUICK} <= {*programs.scenarios("executors.py")}
