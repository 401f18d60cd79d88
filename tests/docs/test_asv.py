"""The asv suite: names and params are kept, nothing of it is absent here, one list of slowdowns."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
CONF = json.loads((ROOT / "asv.conf.json").read_text(encoding="utf-8"))
# asv and threadpoolctl are in the extra "bench", and not needed to read names.
ASK = """
import json, sys, types
from unittest.mock import MagicMock
for name in ("threadpoolctl", "asv_runner", "asv_runner.benchmarks", "asv_runner.benchmarks.mark"):
    sys.modules[name] = MagicMock()
import names
found = [entry for module in names.modules() for entry in names.benchmarks(module)]
lines, bare = [], []
for entry in found:
    try:
        lines.append(names.line(*entry))
    except ValueError as error:
        bare.append(str(error))
print(json.dumps({
    "names": [entry[0] for entry in found],
    "lines": sorted(lines), "bare": bare, "absent": names.absent(),
}))
"""


@pytest.fixture(scope="module")
def suite() -> Any:
    done = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, "PYTHONPATH": str(BENCHMARKS / "gating")},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_benchmark_has_a_version_of_its_own(suite: Any) -> None:
    assert not suite["bare"]


def test_names_are_unique(suite: Any) -> None:
    assert len(suite["names"]) == len(set(suite["names"])) > 20


def test_names_and_params_are_as_ever(suite: Any) -> None:
    kept = (BENCHMARKS / "names.txt").read_text(encoding="utf-8").splitlines()
    lost, new = sorted(set(kept) - set(suite["lines"])), sorted(set(suite["lines"]) - set(kept))
    assert kept == suite["lines"], (
        "names, params and versions of benchmarks are how asv finds earlier results.\n"
        f"no longer there: {lost}\nnew: {new}\n"
        "Where that is meant: python benchmarks/gating/names.py --write"
    )


def test_no_benchmark_is_absent_at_this_commit(suite: Any) -> None:
    """What lacks something shows n/a, which is right for an earlier commit alone."""
    assert not suite["absent"]


def _limits() -> dict[str, float]:
    text = (BENCHMARKS / "gating" / "judge.py").read_text(encoding="utf-8")
    (found,) = re.findall(r"^LIMITS = (\{.*?\})", text, re.MULTILINE | re.DOTALL)
    limits: dict[str, float] = json.loads(found)
    return limits


@pytest.mark.parametrize(
    ("file", "cells"),
    [("overhead", "call"), ("kernels", "kernel"), ("linear", "layer"), ("training", "train"),
     ("imports", "process"), ("first_call", "process")],
)  # fmt: skip
def test_the_page_calls_a_slowdown_what_the_gate_does(file: str, cells: str) -> None:
    matching = [
        limit
        for pattern, limit in CONF["regressions_thresholds"].items()
        if re.match(pattern, f"{file}.Class.time_name(1)@main")
    ]
    assert matching == [pytest.approx(_limits()[cells] - 1)]


def _not_in_both(accepted: str, conf: Any) -> set[str]:
    """Commits of accepted slowdowns that one of the two has and the other has not."""
    lines = [line for line in accepted.splitlines() if line.strip() and not line.startswith("#")]
    in_list = {line.split("|")[2].split()[0] for line in lines}
    return in_list ^ set(conf["regressions_first_commits"].values())


def test_the_page_accepts_what_the_gate_does() -> None:
    accepted = (BENCHMARKS / "gating" / "accepted.txt").read_text(encoding="utf-8")
    message = "accepted.txt and regressions_first_commits of asv.conf.json name the same commits"
    assert not _not_in_both(accepted, CONF), message


def test_a_slowdown_accepted_by_one_of_them_is_seen() -> None:
    line = "# a comment\n\nkernel.nn 256 float32 | 1.1 | 1234abcd more checks\n"
    both = {"regressions_first_commits": {"kernels": "1234abcd"}}
    neither: Any = {"regressions_first_commits": {}}
    assert not _not_in_both(line, both)
    assert _not_in_both(line, neither) == _not_in_both("", both) == {"1234abcd"}
