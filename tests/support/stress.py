"""All programs of tests/process about concurrency, for so many seconds, with a seed each round.

    PYTHONPATH=tests python -m support.stress SECONDS [SEED]

Prints what was done as it goes on and the sums at the end. Exit code 1 if anything was wrong; it
goes on after that. A minute is little: an hour is what found things.
"""

from __future__ import annotations

import collections
import importlib.util
import json
import re
import sys
import tempfile
import time
from pathlib import Path

from support import programs

PATIENCE = 300.0  # seconds beyond those that a program is to take: what hangs longer is killed
HAMMER = 20.0  # seconds of hammering a round
SHARE = 3.0  # seconds of each scenario that repeats something
COUNTS = re.compile(r"^(\d+) ([a-z ]+?)(?:, (\d+) ([a-z ]+))?$", re.MULTILINE)


class Sums:
    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.longest = 0.0, ""
        self.failed: list[str] = []

    def program(self, name: str, *words: str, seconds: float = 0, **env: str) -> str:
        """Its output; what went wrong is noted."""
        start = time.monotonic()
        what = f"{name} {' '.join(words)}"
        try:
            code, output, error = programs.run(name, *words, patience=seconds + PATIENCE, **env)
        except programs.Hangs as hang:
            code, output, error = 1, "", str(hang)
        took = time.monotonic() - start
        if code or "Traceback" in error:
            self.failed.append(what)
            print(f"FAILED: {what}, {env}: exit code {code}\n{error}", flush=True)
        for number, unit, more, its in COUNTS.findall(error):
            self.counts[unit] += int(number)
            self.counts[its] += int(more or 0)
        self.counts["programs"] += 1
        print(f"{took:6.1f} s  {what}", flush=True)
        return output

    def hammer(self, seconds: float, seed: int) -> None:
        output = self.program("hammer.py", str(seconds), "16", str(seed), seconds=seconds)
        if output:
            done = json.loads(output)
            self.counts["calls from 16 threads"] += done["calls"]
            self.counts["changes of num_threads"] += done["changes"]
            self.counts["parallel loops of a user's"] += done["loops"]
            self.longest = max(self.longest, tuple(done["longest"]))
            if done["wrong"] or done["errors"]:
                self.failed.append(f"hammer.py, seed {seed}")
                print("FAILED:", done["wrong"], *done["errors"], flush=True)

    def round(self, seed: int) -> None:
        self.hammer(HAMMER, seed)
        common = {"SEED": str(seed), "SECONDS": str(SHARE), "PATIENCE": str(int(PATIENCE - 20))}
        for name in programs.scenarios("faults.py"):
            if name == "fork_while_another_thread_compiles":
                with tempfile.TemporaryDirectory() as cache:
                    self.program("faults.py", name, **common, **programs.cold(Path(cache)))
            else:
                self.program("faults.py", name, seconds=SHARE, **common)
        for name in programs.scenarios("interrupts.py"):
            self.program("interrupts.py", name, seconds=SHARE, **common)
        for name in programs.scenarios("executors.py"):
            if not name.startswith("joblib") or importlib.util.find_spec("joblib"):
                self.program("executors.py", name, **common)


def main(seconds: float, seed: int = 0) -> int:
    sums, end, rounds = Sums(), time.monotonic() + seconds, 0
    while time.monotonic() < end or not rounds:
        sums.round(seed + rounds)
        rounds += 1
    for what, count in sums.counts.items():
        if what:
            print(f"{count:10,}  {what}")
    print(f"longest call {sums.longest[0]:.2f} s ({sums.longest[1]}); {rounds} rounds")
    print("failed:", ", ".join(sums.failed) or "none")
    return 1 if sums.failed else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *map(int, sys.argv[2:3])))
