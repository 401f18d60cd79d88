"""The fork-join pool: what a job is, who takes part, and what happens where things go wrong.

A scenario of pool_*.py is a process of its own: as is a pool.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import programs

PROGRAM = {
    name: program
    for program in ("pool_jobs.py", "pool_ends.py", "pool_faults.py", "pool_states.py")
    for name in programs.scenarios(program)
}
PATIENCE = 200  # seconds: a deadlock

# Those that say when they leave: Python's exit, and the pool's part of it, is what is tested.
LEAVING = (
    "exit_while_they_sleep",
    "exit_while_they_spin",
    "exit_after_a_thread_started_them",
    "exit_from_a_thread",
    "exit_inside_a_job",
    "call_after_the_pool_has_stopped",
    "import_twice",
)
# Those that compile: nothing that is cached may save them from it.
COLD = ("holding_the_gil_on_a_cold_cache", "interrupt_while_compiling")
# Those that leave a pool behind as any other would: one process for all of a program.
TOGETHER = {
    "pool_jobs.py": (
        "every_task_once",
        "no_task",
        "more_tasks_than_claims",
        "many_jobs",
        "four_callers",
        "nested",
        "ranges_are_stolen",
        "statuses_are_ored",
        "all_threads_take_part",
        "no_more_threads_than_set",
        "sleepers_wake_for_long_jobs",
        "sleepers_wake_for_short_jobs_that_come_often",
        "sleepers_do_not_wake_for_short_jobs_that_are_rare",
        "idle_workers_spin_for_some_of_the_gaps_between_jobs",
        "rare_jobs_cost_no_core",
        "woken_workers_may_run_everywhere",
        "busy_pool",
        "idle",
        "control_word",
        "holding_the_gil",
    ),
    "pool_states.py": tuple(programs.scenarios("pool_states.py")),
}
FORKS = ("fork_of_a_warm_pool", "fork_inside_a_job", "leave_a_child_by_exit")


def _start(cache: Path | None, *names: str) -> subprocess.Popen[str]:
    env = programs.without_threads(programs.environment())
    if cache is not None:
        env |= programs.cold(cache)
    # Python 3.12 deprecates what the scenarios of forking are about: a fork with threads
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    return subprocess.Popen(
        [sys.executable, *warnings, str(programs.FOLDER / PROGRAM[names[0]]), *names],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _finish(process: subprocess.Popen[str], patience: float) -> tuple[str, str]:
    try:
        return process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        _, error = process.communicate()
        pytest.fail(f"hangs after {patience} s\n{error}")


@pytest.mark.parametrize("program", TOGETHER)
def test_jobs(program: str) -> None:
    """Each is done, and nothing is left behind."""
    if program == "pool_states.py" and not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    names = TOGETHER[program]
    process = _start(None, *names)
    printed, error = _finish(process, PATIENCE)
    assert process.returncode == 0 and error == "", f"{printed}\n{error}"
    assert printed.splitlines() == [f"{name}: done" for name in names]


ALONE = [name for name in PROGRAM if name not in (*LEAVING, *sum(TOGETHER.values(), ()))]


@pytest.mark.parametrize("name", ALONE)
def test_scenario(name: str, tmp_path: Path) -> None:
    if name in FORKS and not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    process = _start(tmp_path if name in COLD else None, name)
    printed, error = _finish(process, PATIENCE)
    assert process.returncode == 0, f"exit code {process.returncode}\n{error}"
    assert (printed, error) == ("", "")


@pytest.mark.parametrize("name", LEAVING)
def test_exit(name: str) -> None:
    """0, silent, and at once: a worker that is not woken is waited for, a second each."""
    process = _start(None, name)
    assert process.stdout is not None
    printed = process.stdout.readline()
    start = time.monotonic()
    rest, error = _finish(process, 60)
    took = time.monotonic() - start
    assert process.returncode == 0, f"exit code {process.returncode}\n{error}"
    assert (printed, rest, error) == ("leaving\n", "", "")
    assert took < 4, f"{took:.1f} s"


def test_lists_are_of_scenarios() -> None:
    assert {*LEAVING, *COLD, *FORKS, *sum(TOGETHER.values(), ())} <= set(PROGRAM)
