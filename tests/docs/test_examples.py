"""The examples run, print what their comments say, and are short enough to be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.printed import promised, stripped
from support.programs import environment

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


SLOW = {"actor_critic"}  # numba compiles its prange for 10 seconds


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow if p.stem in SLOW else ()) for p in EXAMPLES],
    ids=lambda path: path.stem,
)
def test_example(path: Path, tmp_path: Path) -> None:
    code = path.read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 60
    (tmp_path / path.name).write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, path.name], cwd=tmp_path, env=environment(),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert promised(code) and stripped(done.stdout.splitlines()) == stripped(promised(code))
