"""HEAD beside BASE, cell by cell.

Both commits are built and imported in processes of their own, each with its own cache of machine
code; they take turns, B H H B, on one cell at a time, one thread each. A cell is slower where the
whole 95 % interval of the median ratio is above its limit, and so is the ratio of the best times,
both once more in fresh processes: a process has its own luck with addresses. What is in
accepted.txt has a wider limit.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from build import HERE, Build, GateError

LIMITS = {"call": 1.15, "kernel": 1.1, "layer": 1.1, "train": 1.1, "process": 1.25}
SAMPLE = 4e-3  # seconds
COLD_ROUNDS = 3  # of what takes seconds each
_FIRST = (
    "import numpy as np, fastgrad; a = np.ones((9, 9)); assert fastgrad.matmul(a, a)[0, 0] == 9"
)
# whole processes, timed from outside: the program, whether on an empty cache of machine code
PROGRAMS = {
    "process.import": ("import fastgrad", False),
    "process.first_call cached": (_FIRST, False),
    "process.first_call cold": (_FIRST, True),
}


class Found(NamedTuple):
    """HEAD's time / BASE's: the median over rounds, its 95 % interval by order statistics (of few
    rounds the least and the largest), and the ratio of the best times of both."""

    ratio: float
    low: float
    high: float
    best: float

    def is_above(self, limit: float) -> bool:
        """Both must be: what else the machine does widens the one, and spares the other."""
        return self.low > limit and self.best > limit

    def __str__(self) -> str:
        return f"{self.ratio:.3f} ({self.low:.3f} to {self.high:.3f}), best {self.best:.3f}"


def main(description: str | None) -> int:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base")
    parser.add_argument("head")
    parser.add_argument("--cells", default="", help="those whose name contains this")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            base, head = (
                Build(revision, Path(folder) / side)
                for side, revision in (("base", options.base), ("head", options.head))
            )
            slower = gate(base, head, options.cells, options.rounds)
    except GateError as error:
        print(f"gate: cannot tell: {error}")
        return 2
    for name, found in slower:
        print(f"gate: slower: {name}: {found}")
    if not slower:
        print("gate: no cell is slower")
    return 1 if slower else 0


def gate(base: Build, head: Build, part: str, rounds: int) -> list[Any]:
    with head.worker() as ask:
        cells = ask(names=True)["names"]
    names = [name for name in cells if part in name]
    programs = [name for name in PROGRAMS if part in name]
    accepted = read_accepted(HERE / "accepted.txt", [*cells, *PROGRAMS])
    first = measure(base, head, names, programs, rounds)
    if not first:
        kinds = sorted({name.partition(".")[0] for name in (*cells, *PROGRAMS)})
        raise GateError(
            f"no cell ran: {part!r} selects none that both commits have; names begin with "
            + ", ".join(kinds)
        )
    suspects = [name for name, found in first.items() if found.is_above(limit(name, accepted))]
    for name, found in first.items():
        mark = "  ?" if name in suspects else ""
        print(f"{name:42} {found}{mark}", flush=True)
    if not suspects:
        return []
    again = measure(
        base, head, [n for n in names if n in suspects],
        [n for n in programs if n in suspects], rounds + 4,
    )  # fmt: skip
    return [(n, found) for n, found in again.items() if found.is_above(limit(n, accepted))]


def measure(
    base: Build, head: Build, names: list[str], programs: list[str], rounds: int
) -> dict[str, Found]:
    """name -> HEAD's time / BASE's: median and its interval; without what one of them lacks."""
    found = {}
    with base.worker() as ask_base, head.worker() as ask_head:
        for name in names:
            answers = [ask(prepare=name, sample=SAMPLE) for ask in (ask_base, ask_head)]
            for build, answer in zip((base, head), answers, strict=True):
                if "error" in answer:
                    raise GateError(f"{name} errored at {build.revision}: {answer['error']}")
            if any("absent" in answer for answer in answers):
                print(f"{name:42}    n/a  (not in both commits)")
                continue
            pairs = []
            for _ in range(rounds):
                turns = (ask_base, ask_head, ask_head, ask_base)
                times = [ask(time=name)["seconds"] for ask in turns]
                pairs += [(times[0], times[1]), (times[3], times[2])]
            found[name] = summary(pairs)
    for name in programs:
        program, cold = PROGRAMS[name]
        pairs = []
        for i in range(COLD_ROUNDS if cold else rounds):
            order = (base, head) if i % 2 else (head, base)
            times = {build: build.run(program, cold) for build in order}
            pairs.append((times[base], times[head]))
        found[name] = summary(pairs)
    return found


def summary(pairs: list[tuple[float, float]]) -> Found:
    """Of (BASE's, HEAD's) times in turns: see Found."""
    ratios, n = sorted(h / b for b, h in pairs), len(pairs)
    below, outside = 0, 0.0
    while below < n / 2 and (outside := outside + 2 * math.comb(n, below) / 2**n) <= 0.05:
        below += 1
    below = max(below, 1)
    best = min(h for _, h in pairs) / min(b for b, _ in pairs)
    return Found(median(ratios), ratios[below - 1], ratios[n - below], best)


def limit(name: str, accepted: dict[str, float]) -> float:
    return LIMITS[name.partition(".")[0]] * accepted.get(name, 1.0)


def read_accepted(path: Path, names: list[str]) -> dict[str, float]:
    accepted = {}
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 3 or parts[0] not in names:
            raise GateError(f"{path.name}: {line!r} is not: cell | factor | commit and reason")
        accepted[parts[0]] = float(parts[1])
    return accepted
