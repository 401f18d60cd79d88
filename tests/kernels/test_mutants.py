"""The suite can fail: every mutant of mutants.py is killed by the test it names.

The mutant is a copy of the package, in a process with its own numba cache, running one test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fastgrad
from support.mutants import MUTANTS
from support.programs import TESTS

PACKAGE = Path(fastgrad.__file__).parent
CONTROL = "none"
PROCESSES = 2
INI = "[pytest]\naddopts = --import-mode=importlib\npythonpath = tests\n"
RUN = """
import sys, fastgrad, pytest
print("testing", fastgrad.__file__)
sys.exit(pytest.main(sys.argv[1:]))
"""

Result = subprocess.CompletedProcess[str]


def _run(name: str, folder: Path) -> Result:
    """Run the killers of a mutant on its copy of the package; of the original, all of them."""
    ignore = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    shutil.copytree(PACKAGE, folder / "fastgrad", ignore=ignore)
    shutil.copytree(TESTS, folder / "tests", ignore=ignore)
    (folder / "pytest.ini").write_text(INI)
    killers = {m.killer for m in MUTANTS.values()}
    if name != CONTROL:
        killers = {MUTANTS[name].killer}
        for file, old, new in MUTANTS[name].edits:
            path = folder / "fastgrad" / file
            source = path.read_text(encoding="utf-8")
            count = source.count(old)
            assert count == 1, f"{name}: {old!r} occurs {count} times in {file}, expected once"
            path.write_text(source.replace(old, new), encoding="utf-8")
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("PYTHONPATH", None)
    options = ["-p", "no:cacheprovider", "-x", "-q", *(f"tests/{k}" for k in sorted(killers))]
    return subprocess.run(
        [sys.executable, "-c", RUN, *options],
        cwd=folder, env=env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Result]]]:
    """All mutants that this session asks for, two at a time: nearly all of it is compiling."""
    parametrized: list[Any] = [i for i in request.session.items if hasattr(i, "callspec")]
    wanted = [i.callspec.params["mutant"] for i in parametrized if i.path == request.path]
    with ThreadPoolExecutor(PROCESSES) as pool:
        yield {m: pool.submit(_run, m, tmp_path_factory.mktemp("mutant")) for m in wanted}


def _output(result: Result) -> str:
    return f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"


# Of each part of the kernels one: what every commit runs. Each of the others takes as long, some
# ten seconds of compiling, and is slow.
QUICK = {
    CONTROL, "last k dropped", "odd last step dropped", "edge read twice", "bias skipped",
    "relu at NaN", "db misses the last block", "mul+add for fma", "H of the first block only",
    "few rows: old C forgotten", "split k: old C forgotten", "pool: last task skipped",
    "copy of the micro-panel before", "A's panels of another height",
}  # fmt: skip


@pytest.mark.mutants
@pytest.mark.parametrize(
    "mutant",
    [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in (CONTROL, *MUTANTS)],
)
def test_mutant(mutant: str, runs: dict[str, Future[Result]]) -> None:
    result = runs[mutant].result()
    used = result.stdout.partition("testing ")[2].partition("\n")[0]
    assert used and Path(used).parent != PACKAGE, f"the original was tested\n{_output(result)}"
    if mutant == CONTROL:
        assert result.returncode == 0, _output(result)
        assert f"{len({m.killer for m in MUTANTS.values()})} passed" in result.stdout
    else:
        assert result.returncode == 1, f"{mutant} survived\n{_output(result)}"
        assert "1 failed" in result.stdout, _output(result)
        assert "AssertionError" in result.stdout, f"not by an assertion\n{_output(result)}"


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 16 and {*MUTANTS, CONTROL} > QUICK
    assert all(edit for mutant in MUTANTS.values() for edit in mutant.edits)
