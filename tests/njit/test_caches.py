"""Users' functions from numba's cache: in another process, and after fastgrad has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastgrad
from support import user_module
from support.oracles import assert_same_bits, contract_forward
from support.programs import environment

PACKAGE = Path(fastgrad.__file__).parent


def run(folder: Path, what: str, packages: Path, **more: str) -> list[str]:
    """Lines that user_module, copied there, prints in a process of its own."""
    command = [sys.executable, "-W", "error", str(folder / "user_module.py"), what]
    done = subprocess.run(
        command,
        env=environment(packages, **more),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a user's module whose functions are in the cache."""
    place = tmp_path_factory.mktemp("user")
    shutil.copy(user_module.__file__, place)
    hits, *_ = run(place, "first", PACKAGE.parent)
    assert hits == "0"
    return place


@pytest.fixture(scope="module")
def again(folder: Path) -> list[str]:
    """What a second process prints."""
    return run(folder, "again", PACKAGE.parent)


def test_in_another_process(again: list[str]) -> None:
    hits, bits, error = again
    assert hits == "2"
    x, weight, bias, g = user_module.data()
    y, *grads = (np.frombuffer(bytes.fromhex(text), np.float32) for text in bits.split())
    assert_same_bits(y.reshape(6, 9), contract_forward(x, weight, bias, "relu")[0])
    expected = fastgrad.linear_backward(g, x, weight)
    assert_same_bits(grads[0].reshape(11, 9), expected.weight)
    assert_same_bits(grads[1], expected.bias)
    assert error.startswith("linear_forward: x has 11 columns but weight has 10 rows")


def test_another_abi(folder: Path) -> None:
    """A clear error, and no call into what is laid out in another way."""
    (error,) = run(folder, "abi", PACKAGE.parent)
    assert "another version of fastgrad; clear the numba cache" in error


def test_imported_by_numba(folder: Path, again: list[str]) -> None:
    """A module that has not imported fastgrad before its function comes from the cache."""
    assert run(folder, "without", PACKAGE.parent, WITHOUT_FASTGRAD="1") == again


def upgraded(folder: Path, value: str) -> None:
    """relu gives ``value`` in place of 0.0; the time of the file is that of before."""
    tile = folder / "fastgrad" / "_kernels" / "gemm" / "microkernel.py"
    status, text = tile.stat(), tile.read_text(encoding="utf-8")
    old = "ops.select(x <= threshold, 0.0, x)"
    assert text.count(old) == 1
    tile.write_text(text.replace(old, old.replace("0.0", value)), encoding="utf-8")
    os.utime(tile, ns=(status.st_atime_ns, status.st_mtime_ns))


def assert_upgraded(folder: Path, packages: Path, value: float, **more: str) -> None:
    x, weight, bias, _ = user_module.data()
    z = contract_forward(x, weight, bias, None)[0]
    expected = np.where(z <= 0, np.float32(value), z)
    for what in ("upgraded", "again"):
        hits, bits, _ = run(folder, what, packages, **more)
        assert hits == "2"
        y = np.frombuffer(bytes.fromhex(bits.split()[0]), np.float32)
        assert_same_bits(y.reshape(6, 9), expected, what)


def copied(to: Path) -> None:
    shutil.copytree(PACKAGE, to / "fastgrad", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.slow
def test_an_upgrade(folder: Path, tmp_path: Path) -> None:
    """A changed copy of fastgrad: its bits from the user's cached functions, and afterwards.

    The copy's kernels are compiled while a fastmath=True function is the first to call: that must
    not show in their machine code, which the last process takes from the cache.
    """
    copied(tmp_path)
    upgraded(tmp_path, "0.25")
    assert_upgraded(folder, tmp_path, 0.25)


@pytest.mark.slow
def test_an_upgrade_in_place(tmp_path: Path) -> None:
    """The changed file has the path, the length and the time of the one before."""
    place = tmp_path / "user"
    place.mkdir()
    shutil.copy(user_module.__file__, place)
    copied(tmp_path)
    more = {"PYTHONDONTWRITEBYTECODE": "1"}  # Python itself goes by length and time
    for hits in "02":
        assert run(place, "before", tmp_path, **more)[0] == hits
    upgraded(tmp_path, "0.5")
    assert_upgraded(place, tmp_path, 0.5, **more)
