"""Ranks of MPI beside threads on this machine, and what that would be on 64 and 1,024 nodes.

python benchmarks/compare/ranks.py      # a minute; needs mpi4py and mpiexec; prints Markdown

Measured: an exchange of gradients (BlockSum, one block a rank) by size; training steps on 1, 2 and
4 ranks of one thread beside one process with 1 and 2 threads. Modelled, from the one-process steps
measured here and networks that are assumed: docs/distributed.md.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

SIZES = (1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22)  # float32 elements
NETS = (((64, 128, 10), 256), ((784, 200, 100, 10), 256), ((784, 1024, 1024, 10), 512))
ROUNDS = 7


class Network(NamedTuple):
    """Assumed, not measured: seconds a message costs its sender and receiver, seconds until the
    first byte is there, bytes a second each way."""

    name: str
    overhead: float
    latency: float
    bandwidth: float


NETWORKS = (
    Network("10 Gb/s, TCP", 5e-6, 25e-6, 1.1e9),
    Network("100 Gb/s, RDMA", 0.5e-6, 2e-6, 11e9),
)


def exchange_seconds(size: int, ranks: int, turns: int, net: Network, add: float) -> float:
    """Of ``size`` bytes of gradients, ``turns`` blocks a rank; add: seconds to add a byte.

    A turn: each sends ranks - 1 pieces of size / ranks, all at once, and adds what it gets. In the
    end the pieces go to all: by doubling or, from half a megabyte on, along a ring, as in MPICH;
    and so do the losses.
    """
    moved = size * (ranks - 1) / ranks / net.bandwidth
    turn = (ranks - 1) * net.overhead + net.latency + moved + size * add
    doubling = math.ceil(math.log2(ranks)) * net.latency
    gather = moved + (doubling if size < 1 << 19 else (ranks - 1) * net.latency)
    return turns * turn + gather + doubling


# measuring: in processes of mpiexec, or one without ---------------------------------------------


def median(samples: list[float]) -> float:
    return sorted(samples)[len(samples) // 2]


def exchange(comm: Any) -> dict[int, float]:
    """Seconds by number of elements."""
    import numpy as np

    from fastgrad.mpi import BlockSum, Team

    found = {}
    with Team("ranks.py", comm) as team:
        for size in SIZES:
            values = np.zeros(size, np.float32)
            total = BlockSum(team, values)
            calls = max(3, min(50, (1 << 20) // size))
            samples = []
            for _ in range(ROUNDS):
                team.comm.Barrier()
                start = time.perf_counter()
                for _ in range(calls):
                    total.turn(lambda: 0.0, 0, team.size)
                    total.finish(team.size)
                samples.append((time.perf_counter() - start) / calls)
            found[size] = median(samples)
    return found


def steps(comm: Any, rows_of: Any) -> list[float]:
    """Seconds a step, of each net."""
    import numpy as np

    from fastgrad import MLP, SGD

    found = []
    for sizes, batch in NETS:
        rng = np.random.default_rng(0)
        n = batch * max(2, 4096 // batch // (1 + sizes[1] // 256))
        x = rng.standard_normal((n, sizes[0])).astype(np.float32)
        y = rng.integers(0, sizes[-1], n)
        model, samples = MLP(sizes, optimizer=SGD(0.01)), []
        for i in range(ROUNDS):
            history = model.fit(
                x, y, 1, batch, progress=False, block_rows=rows_of(batch), comm=comm
            )
            samples += history["seconds"] if i else []
        found.append(median(samples) / (n / batch))
    return found


def add_seconds() -> float:
    """A byte of a sum of two arrays that do not fit in the cache."""
    import numpy as np

    a, b = np.ones(1 << 22, np.float32), np.ones(1 << 22, np.float32)
    samples = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        np.add(a, b, a)
        samples.append(time.perf_counter() - start)
    return median(samples) / a.nbytes


def worker(what: str) -> None:
    if what == "whole":
        print(json.dumps({"steps": steps(None, lambda batch: None), "add": add_seconds()}))
        return
    if what == "blocks":
        print(json.dumps({"steps": steps(None, lambda batch: batch // 4)}))
        return
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    found = {"exchange": exchange(comm), "steps": steps(comm, lambda batch: batch // comm.size)}
    if comm.rank == 0:
        print(json.dumps(found))


def run(ranks: int, what: str, threads: int = 1) -> Any:
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    mpiexec = shutil.which("mpiexec", path=places)
    if mpiexec is None:
        raise SystemExit("there is no mpiexec; pip install mpich")
    command = [sys.executable, __file__, what]
    if ranks:
        command = [mpiexec, "-n", str(ranks), *command]
    env = {**os.environ, "FASTGRAD_NUM_THREADS": str(threads)}
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env).stdout)


# tables -----------------------------------------------------------------------------------------


def show(measured: dict[str, Any]) -> None:
    print("| gradients | " + " | ".join(f"{n} ranks" for n in (2, 4)) + " |\n|---|---|---|")
    for size in SIZES:
        cells = []
        for n in (2, 4):
            seconds = measured[f"{n} ranks"]["exchange"][str(size)]
            moved = 2 * 4 * size * (n - 1) / n
            cells.append(f"{seconds * 1e6:,.0f} us, {moved / seconds / 1e9:.2f} GB/s")
        print(f"| {4 * size // 1024:,} KiB | " + " | ".join(cells) + " |")
    names = [name for name in measured if "steps" in measured[name]]
    print("\n| step, us | " + " | ".join(names) + " |\n|---" * 1 + "|---" * len(names) + "|")
    for i, (sizes, batch) in enumerate(NETS):
        cells = [f"{measured[name]['steps'][i] * 1e6:,.0f}" for name in names]
        print(f"| {'-'.join(map(str, sizes))}, batch {batch} | " + " | ".join(cells) + " |")


def model(measured: dict[str, Any]) -> None:
    """A rank a node like this machine, one block a rank. A node's step grows with its rows."""
    add = measured["1 thread"]["add"]
    print(
        "\n| net, gradients | network | ranks | exchange | batch from which it pays | at 80 % of "
        "the ranks' speed |\n|---|---|---|---|---|---|"
    )
    for i, (sizes, batch) in enumerate(NETS):
        row = measured["2 threads"]["steps"][i] / batch
        size = 4 * sum((a + 1) * b for a, b in itertools.pairwise(sizes))
        name = f"{'-'.join(map(str, sizes))}, {size / 1e6:.2f} MB"
        for net, ranks in itertools.product(NETWORKS, (64, 1024)):
            cost = exchange_seconds(size, ranks, 1, net, add)
            pays = max(ranks, cost / row * ranks / (ranks - 1))  # row·B/ranks + cost < row·B
            most = 4 * cost * ranks / row  # a fifth of the time is the exchange
            print(
                f"| {name} | {net.name} | {ranks:,} | {cost * 1e3:.2f} ms | {pays:,.0f} "
                f"| {most:,.0f} |"
            )


def main() -> None:
    measured = {
        "1 thread": run(0, "whole"),
        "2 threads": run(0, "whole", 2),
        "4 blocks, 1 thread": run(0, "blocks"),
        **{f"{n} rank{'s' * (n > 1)}": run(n, "ranks") for n in (1, 2, 4)},
    }
    show(measured)
    model(measured)


if __name__ == "__main__":
    worker(sys.argv[1]) if len(sys.argv) > 1 else main()
