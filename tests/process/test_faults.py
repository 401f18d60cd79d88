"""What goes wrong beside or inside calls: shared models, interrupts, forks, workers that get no
CPU, limits, interpreters. Each scenario of faults.py and interrupts.py is a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support import programs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of Linux")

COLD = ("fork_while_another_thread_compiles",)  # nothing that is cached may save it from compiling
LEAVING = ("leave_with_threads_at_work",)
LONG = ("workers_stopped_for_a_second", "fork_while_others_work", "interrupt_any_call")


# Those that leave a process as they found it: one for all of them.
TOGETHER = {
    "faults.py": (
        "threads_that_share_a_model",
        "threads_with_a_model_each",
        "a_second_interpreter",
        "workers_of_no_priority",
    ),
    "interrupts.py": ("interrupt_steps", "interrupt_fit", "interrupt_a_step_in_two_joins"),
}
PROGRAM = {name: program for program in TOGETHER for name in programs.scenarios(program)}
ALONE = [name for name, program in PROGRAM.items() if name not in TOGETHER[program]]


def silent(error: str) -> bool:
    """Nothing but what scenarios say of themselves; Python tells what it ignores."""
    return "Traceback" not in error and "gnored" not in error


@pytest.mark.parametrize("program", TOGETHER)
def test_together(program: str) -> None:
    names = TOGETHER[program]
    code, output, error = programs.run(program, *names, patience=250, SECONDS="0.6")
    assert code == 0 and silent(error), f"exit code {code}\n{error}"
    assert output.splitlines() == [f"{name}: done" for name in names]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in ALONE],
)
def test_alone(name: str, tmp_path: Path) -> None:
    cold = programs.cold(tmp_path) if name in COLD else {}
    code, output, error = programs.run(PROGRAM[name], name, patience=200, SECONDS="0.6", **cold)
    assert code == 0 and silent(error), f"exit code {code}\n{error}"
    assert output == ("leaving\n" if name in LEAVING else "")


def test_lists_are_of_scenarios() -> None:
    assert {*COLD, *LEAVING, *LONG, *sum(TOGETHER.values(), ())} <= {*PROGRAM}
