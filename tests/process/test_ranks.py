"""Promise 8 on ranks of MPI: the bits of one process; and what ends one rank ends all, soon, with a
message and a code, so that the run goes on from its checkpoint to the same bits."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.programs import environment, without_threads

PROGRAM = Path(__file__).parent / "ranks.py"
PLACES = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
MPIEXEC = shutil.which("mpiexec", path=PLACES)
PATIENCE = 300  # seconds that no run takes: a hang
SECONDS = 15  # from a rank's death on, in which all have ended; of "fail" 3 are its patience

pytestmark = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py, mpiexec"
)


def environ(**more: str) -> dict[str, str]:
    return without_threads(environment()) | {"FASTGRAD_NUM_THREADS": "1"} | more


def start(ranks: int, words: list[str], folder: Path, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *words]
    if ranks:
        command = [str(MPIEXEC), "-n", str(ranks), *command]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, env=environ(**env)
    )


def found(ranks: int, scenario: str, folder: Path) -> Any:
    done = start(ranks, [str(PROGRAM), scenario], folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return found(0, "alone", tmp_path_factory.mktemp("alone"))


SLOW = pytest.mark.slow


@pytest.mark.parametrize("ranks", [2, 3, *(pytest.param(n, marks=SLOW) for n in (1, 4, 8))])
def test_bits(ranks: int, alone: Any, tmp_path: Path) -> None:
    assert found(ranks, "bits", tmp_path) == alone


def test_ranks_that_differ(tmp_path: Path) -> None:
    """One error of one line on all, before the first step; and the ranks go on."""
    said = found(2, "differences", tmp_path)
    then = said.pop("then")
    assert len(set(then)) == 1
    assert all(len(set(each)) == 1 for each in said.values()), said
    words = {name: each[0] for name, each in said.items()}
    assert all(each.startswith("MLP.fit: ") and "\n" not in each for each in words.values()), words
    same = "pass the same on all ranks"
    assert words["batch_size"] == f"MLP.fit: batch_size is 16 on rank 0 but 8 on rank 1; {same}"
    assert words["seed"] == f"MLP.fit: seed is 0 on rank 0 but 1 on rank 1; {same}"
    assert words["version"].startswith("MLP.fit: the version of fastgrad is ")
    assert "x[7, 1] (row 7, column 1) is nan" in words["NaN"]
    assert words["NaN"].endswith("(on rank 1 of 2)")
    for name, part in {
        "block_rows": "block_rows is 4 on", "epochs": "epochs is 2 on", "schedule": "schedule is",
        "patience": "patience needs validation", "no block_rows": "pass block_rows=8",
        "optimizer": "optimizer is Adam", "dtype": "dtype is", "rows": "x is 'float32 (60, 4)'",
        "data": "x[0:60] is not the same on all ranks", "labels": "y", "weights": "weights is",
        "progress": "progress is str 'no', expected True or False (on rank 1 of 2)",
    }.items():  # fmt: skip
        assert part in words[name], (name, words[name])


def test_errors_of_one_rank(tmp_path: Path) -> None:
    said = found(2, "errors", tmp_path)
    for name, epochs, text in (
        ("step", 0, "ArithmeticError: as a test wants it (on rank 1 of 2)"),
        ("callback", 2, "LookupError: of the callback"),
        ("end", 3, "nothing"),
        ("disk", 2, "OSError: [Errno 27] File too large"),
    ):
        assert said[name] == [[text, epochs]] * 2, name
    assert len(set(said["changed"])) == 1
    assert "the digest of the parameters after epoch 1 is" in said["changed"][0]
    assert all("FileNotFoundError" in text for text, _ in said["no folder"])
    assert said["saved"] == 1  # whole: the one of the epoch before


def test_pool_forks_and_threads(tmp_path: Path) -> None:
    said = found(2, "others", tmp_path)
    assert said["pool"] == [[True, 0]] * 2
    assert said["said"] == ["MLP.fit: comm is given on a thread; call it on the main thread"]
    assert said["threads"][0] == said["threads"][1] >= 1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("undisturbed")
    return start(1, [str(PROGRAM), "never", "0", "0"], place).stdout


def end_and_resume(folder: Path, how: str, ranks: int, chance: random.Random, whole: str) -> int:
    """The code of the run that ends, whose rank dies in some step."""
    for name in ("m.npz", "died"):
        (folder / name).unlink(missing_ok=True)
    steps = 6 * 4 * 4 // ranks  # about
    words = [str(PROGRAM), how, str(chance.randrange(ranks)), str(chance.randrange(1, steps))]
    done = start(ranks, words, folder)
    if done.returncode:
        assert time.time() - float((folder / "died").read_text()) < SECONDS, words
        assert done.stderr or done.stdout  # a message
        assert not done.stdout.startswith("{")
    other = chance.choice([n for n in (1, 2, 3) if n != ranks])
    again = start(other, [str(PROGRAM), "never", "0", "0"], folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout == whole
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]
    return done.returncode


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_rank_dies(how: str, undisturbed: str, tmp_path: Path) -> None:
    assert end_and_resume(tmp_path, how, 2, random.Random(3), undisturbed) != 0


@pytest.mark.slow
def test_ranks_are_killed_50_times(undisturbed: str, tmp_path: Path) -> None:
    chance = random.Random(1)
    codes = [
        end_and_resume(tmp_path, "kill", chance.choice((2, 3)), chance, undisturbed)
        for _ in range(50)
    ]
    assert sum(code != 0 for code in codes) >= 35, codes


@pytest.mark.slow
def test_nodes(alone: Any, tmp_path: Path) -> None:
    """Ranks in folders of their own, with caches of their own, as on nodes that share nothing."""
    places = [tmp_path / f"node{i}" for i in range(2)]
    command: list[str] = []
    for place in places:
        place.mkdir()
        command += [":"] if command else []
        command += ["-n", "1", "-wdir", str(place), "-env", "NUMBA_CACHE_DIR", str(place / "cache")]
        command += [sys.executable, str(PROGRAM), "bits"]
    done = subprocess.run(
        [str(MPIEXEC), *command], capture_output=True, text=True, timeout=600, env=environ()
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == alone
    assert all((place / "cache").is_dir() for place in places)


def train(ranks: int, folder: Path, options: str) -> subprocess.CompletedProcess:
    words = ["-m", "fastgrad", "train", "--layers", "16", "--block-rows", "8", *options.split()]
    return start(ranks, [*words, "--mpi"] if ranks else words, folder)


def weights_of(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stderr
    return next(line for line in done.stdout.splitlines() if line.startswith("weights"))


def test_train(tmp_path: Path) -> None:
    """The command, resumed on another number of ranks: one process's weights, one file, one line
    of an error."""
    options = "--validation 0.1 --patience 9 --save m.npz --resume --epochs"
    first = train(2, tmp_path, f"{options} 2")
    assert "threads   the same with 2 threads and with 2 ranks" in first.stdout
    assert first.stdout.count("weights ") == 1 and "2 ranks, blocks of 8 rows" in first.stdout
    found = weights_of(train(3, tmp_path, f"{options} 4"))
    assert found == weights_of(train(0, tmp_path, "--validation 0.1 --patience 9 --epochs 4"))
    wrong = train(2, tmp_path, "--data nothing.npz")
    assert wrong.returncode == 2
    assert wrong.stderr == "fastgrad train: --data 'nothing.npz': No such file or directory\n"
