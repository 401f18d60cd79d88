"""SIGKILL at any moment: the file of ``train --save F --resume`` is a whole model or not there, and
the run that is resumed ends with the bits of one that nobody disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastgrad

PROGRAM = Path(__file__).parent / "killed.py"
PACKAGE = Path(fastgrad.__file__).parents[1]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def killed(folder: Path, kills: int, seed: int) -> dict:
    env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(kills), str(seed)],
        cwd=folder, capture_output=True, text=True,
        env=env | {"PYTHONPATH": str(PACKAGE), "FASTGRAD_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(found: dict) -> None:
    assert found["codes"] == [0, 0]
    assert found["ended"] == [found["epochs"]] * 2 and found["different"] == []
    assert found["files"] == ["d.npz", "part.npz", "whole.npz"]  # what was left is gone
    epochs = [each["epochs"] or 0 for each in found["kills"]]
    assert epochs == sorted(epochs)  # no epoch is lost again


def test_killed_and_resumed(tmp_path: Path) -> None:
    found = killed(tmp_path, 8, 1)
    check(found)
    epochs = [each["epochs"] for each in found["kills"]]
    assert sum(each["killed"] for each in found["kills"]) >= 6, found
    assert len(set(epochs) - {None, found["epochs"]}) >= 3, found


@pytest.mark.slow
def test_killed_and_resumed_200_times(tmp_path: Path) -> None:
    found = killed(tmp_path, 200, 2)
    check(found)
    assert sum(each["killed"] for each in found["kills"]) >= 150, found
    assert any(each["left"] for each in found["kills"]), "no kill has hit a file being written"
