"""SIGKILL at any moment, no room on the disk, two processes with one file: the file of ``train
--save F --resume`` is a whole model or not there, and the run that is resumed ends with the bits of
one that nobody disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastgrad import MLP
from support.programs import environment, without_threads

FOLDER = Path(__file__).parent

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def run(folder: Path, program: str, *words: object) -> dict:
    done = subprocess.run(
        [sys.executable, str(FOLDER / program), *map(str, words)],
        cwd=folder, capture_output=True, text=True,
        env=without_threads(environment()) | {"FASTGRAD_NUM_THREADS": "1"},
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
    found = run(tmp_path, "killed.py", 6, 1)
    check(found)
    epochs = [each["epochs"] for each in found["kills"]]
    assert sum(each["killed"] for each in found["kills"]) >= 4, found
    assert len(set(epochs) - {None, found["epochs"]}) >= 3, found


@pytest.mark.slow
def test_killed_and_resumed_200_times(tmp_path: Path) -> None:
    found = run(tmp_path, "killed.py", 200, 2)
    check(found)
    assert sum(each["killed"] for each in found["kills"]) >= 150, found
    assert any(each["left"] for each in found["kills"]), "no kill has hit a file being written"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What saving.py has found."""
    return run(tmp_path_factory.mktemp("saving"), "saving.py")


def test_what_cannot_be_saved(found: dict) -> None:
    """A clear error, the last whole file stays, and the run can be resumed from it."""
    faults = found["faults"]
    assert [each["epochs"] for each in faults.values()] == [2, 4, 6, 6, 6]
    assert all(each["code"] == 2 and each["left"] == [] for each in faults.values())
    full = "fastgrad train: --save part.npz: No space left on device"
    unwritable = "fastgrad train: --save part.npz: cannot be written: No space left on device"
    large = "fastgrad train: --save part.npz: File too large"
    assert [each["err"] for each in faults.values()] == [full, full, full, large, unwritable]
    assert found["code"] == 0 and found["different"] == []


def test_two_processes_save_to_one_path(found: dict) -> None:
    """The same run twice ends as one; of two models the file is one, as it was after an epoch."""
    twice, both = found["twice"], found["both"]
    assert twice["codes"] == [0, 0] and twice["different"] == [] and twice["seen"] > 2
    assert not both["unknown"] and both["seeds"] == [1, 2] and both["last"][1] == 40
    names = ["both.npz", "d.npz", "err", "out", "part.npz", "twice.npz", "whole.npz"]
    assert found["files"] == names


def test_a_full_disk(small_disk: Path) -> None:
    path, model = small_disk / "m.npz", MLP((40, 40, 40))
    model.save(path)
    before = path.read_bytes()
    (small_disk / "rest").write_bytes(bytes(20 << 10))
    model.weights[0][...] = 1
    with pytest.raises(OSError, match="No space left on device"):
        model.save(path)
    assert path.read_bytes() == before and len(os.listdir(small_disk)) == 2
    (small_disk / "rest").unlink()
    model.save(path)
    assert np.array_equal(MLP.load(path).weights[0], model.weights[0])
