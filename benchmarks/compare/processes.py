"""Libraries side by side, each in its own process, one computing at a time.

Two pools that spin in one process, or at one time, take each other's cores. A group of cells is
prepared everywhere; then the libraries take turns, each doing its round over the whole group, 0.2 s
or more, while the others wait for their pipe with their pools asleep.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cells import Cell
from operands import WrongResult

from fastgrad._bench import Comparison, summarize

ROUND = 0.2  # seconds that a library computes before the next one does
GROUP_BYTES = 1 << 29  # of operands in one process at a time, beyond the last cell


class Worker:
    def __init__(self, library: str, threads: int, program: str = "worker.py") -> None:
        self.library = library
        path = str(Path(__file__).with_name(program))
        self.process = subprocess.Popen(
            [sys.executable, path, *library.split(), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the process of {self.library} ended, asked for {request}")
        answer = json.loads(line)
        if "wrong" in answer:
            raise WrongResult(answer["wrong"])
        return answer.get("seconds")

    def close(self) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


def compare_processes(
    cells: Iterable[Cell], others: list[str], threads: int, rounds: int, sample: float
) -> Iterator[tuple[Cell, str, Comparison]]:
    """(cell, library, comparison) for each of ``others``, group after group.

    sample: seconds, two of which a cell fills in a round, as one side of A B B A does.
    """
    workers: list[Worker] = []
    try:
        workers += [Worker(name, threads) for name in ("fastgrad", *others)]
        group: list[Cell] = []
        times: list[float] = []
        for cell in cells:
            each = [w.ask(prepare=list(cell), sample=sample) for w in workers]
            group.append(cell)
            times.append(max(2 * sample, min(each)))
            if sum(times) >= ROUND or sum(c.bytes for c in group) > GROUP_BYTES:
                yield from _measure(group, times, workers, rounds, sample)
                group, times = [], []
        if group:
            yield from _measure(group, times, workers, rounds, sample)
    finally:
        for worker in workers:
            worker.close()


def _measure(
    group: list[Cell], times: list[float], workers: list[Worker], rounds: int, sample: float
) -> Iterator[tuple[Cell, str, Comparison]]:
    """The rounds of a group; one that is too short fills larger samples."""
    fill = [2 * sample * max(1.0, ROUND / sum(times))] * len(group)
    taken: dict[str, list[list[float]]] = {w.library: [] for w in workers}
    for i in range(rounds):
        for worker in workers[:: -1 if i % 2 else 1]:
            taken[worker.library].append(worker.ask(round=fill))
    for worker in workers:
        worker.ask(free=True)
    ours = taken["fastgrad"]
    for library in list(taken)[1:]:
        for j, cell in enumerate(group):
            pairs = [(a[j], b[j]) for a, b in zip(ours, taken[library], strict=True)]
            yield cell, library, summarize(pairs)
