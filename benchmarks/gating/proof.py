"""Does the gate see what it should, and nothing else? Half an hour; `.ci/nightly gate` runs it.

    python benchmarks/gating/proof.py [--same 10]

In a clone of the last commit: three planted slowdowns must be flagged and named, HEAD beside itself
must raise no alarm, and a gate that cannot tell must say so. Exit code 1 if any of it fails.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def twice(text: str) -> str:
    """Every product that is not accumulated is computed two times."""
    path = r"^( +)return (directly\(form\)|call\(by_\w+, form\))$"
    return re.sub(path, r"\1if accumulate == 0:\n\1    \2\n\1return \2", text, flags=re.M)


def one_us_more(text: str) -> str:
    wait = """    import time
    t = time.perf_counter()
    while time.perf_counter() - t < 1e-6: pass
"""
    call = "    c = builtins.matmul(a, b, out, accumulate)\n"
    return text.replace(call, wait + call)


def slow_compile(text: str) -> str:
    first = "        if index not in _compiled:\n"
    return text.replace(first, f'        __import__("time").sleep(0.3)\n{first}')


def wrong(text: str) -> str:
    call = "    c = builtins.matmul("
    return text.replace(call, f"    raise OSError('planted')\n{call}")


def unbuildable(text: str) -> str:
    return text.replace('build-backend = "hatchling.build"', 'build-backend = "planted.build"')


# what is planted, where; the exit code, and what the gate must print
PLANTED: tuple[tuple[str, str, Callable[[str], str], int, tuple[str, ...]], ...] = (
    ("k loop run twice", "fastgrad/_kernels/gemm/dispatch.py", twice, 1,
     ("slower: kernel.nn 768 float32", "slower: kernel.nn 1x784x512 float32")),
    ("1 us more a call", "fastgrad/_ops/matmul.py", one_us_more, 1,
     ("slower: call.matmul 4x4 float64",)),
    ("a slower first call", "fastgrad/_kernels/runtime/registry.py", slow_compile, 1,
     ("slower: process.first_call c",)),
    ("an error", "fastgrad/_ops/matmul.py", wrong, 2, ("errored at", "planted")),
    ("a build that fails", "pyproject.toml", unbuildable, 2, ("the build of", "failed")),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--same", type=int, default=10, help="runs of HEAD beside itself")
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        git("clone", "--quiet", str(ROOT), str(clone), at=ROOT)
        for what, name, edit, code, words in PLANTED:
            path = clone / name
            before = path.read_text()
            path.write_text(edit(before))
            assert path.read_text() != before, f"{what}: nothing was planted in {name}"
            git("-c", "user.name=proof", "-c", "user.email=proof@localhost",
                "commit", "--quiet", "--all", "-m", what, at=clone)  # fmt: skip
            bad += not expect(what, clone, ("HEAD~1", "HEAD"), code, words)
            git("reset", "--quiet", "--hard", "HEAD~1", at=clone)
        bad += not expect("no cell", clone, ("HEAD", "HEAD", "--cells", "?"), 2, ("no cell ran",))
        bad += not expect("no commit", clone, ("HEAD", "nowhere"), 2, ("nowhere is no commit",))
        for i in range(options.same):
            same = ("HEAD", "HEAD")
            bad += not expect(
                f"HEAD beside itself, {i + 1}", clone, same, 0, ("no cell is slower",)
            )
    print("the gate failed" if bad else "the gate holds")
    return min(bad, 1)


def git(*words: str, at: Path) -> None:
    subprocess.run(["git", *words], cwd=at, check=True)


def expect(
    what: str, clone: Path, words: tuple[str, ...], code: int, said: tuple[str, ...]
) -> bool:
    gate = [sys.executable, str(clone / "benchmarks" / "gate.py"), *words]
    done = subprocess.run(gate, capture_output=True, text=True, cwd=clone)
    holds = done.returncode == code and all(s in done.stdout for s in said)
    print(f"{'as it should' if holds else 'NOT AS IT SHOULD'}: {what}", flush=True)
    for line in done.stdout.splitlines():
        if line.startswith("gate:") or not holds:
            print("   ", line, flush=True)
    if not holds:
        print(done.stderr[-2000:], flush=True)
    return holds


if __name__ == "__main__":
    sys.exit(main())
