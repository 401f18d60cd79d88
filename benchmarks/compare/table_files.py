"""Large tables: what `fastgrad train` and `predict` take to read one, beside pandas.read_csv.

    python benchmarks/compare/table_files.py [--megabytes 110] [--rounds 3] [--kind numbers ...]

Files of each kind are made up in a temporary folder. Every reading is a process of its own: wall
time, CPU time and the peak of memory above what it had after its imports. pandas.read_csv goes from
the path to a frame, and so does fastgrad.tables.read_table; train and predict go on to x and y,
standardised and encoded. Printed: seconds of pandas (CPU time), ours as multiples of its wall time,
and the peak as a multiple of the bytes of x; medians of the rounds, all sides in turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tables import markdown

SIDES = ("pandas", "read", "train", "predict")
Rows = Iterator[list[object]]
WORK = ("Private", "State-gov", "Self-emp-inc", "Local-gov", "Federal-gov")
SCHOOL = ("Bachelors", "HS-grad", "Masters", "11th", "Doctorate", "Some-college")


def numbers(rng: np.random.Generator, n: int) -> Rows:
    for row in rng.standard_normal((n, 20)).round(5).tolist():
        yield [*row, int(row[0] + row[1] > 0)]


def texts(rng: np.random.Generator, n: int) -> Rows:
    pick = [rng.integers(0, m, n).tolist() for m in (5, 6, 2, 2)]
    for i, row in enumerate(rng.standard_normal((n, 6)).round(3).tolist()):
        a, b, c, d = (values[i] for values in pick)
        yield [*row, WORK[a], SCHOOL[b], ("Male", "Female")[c], ("<=50K", ">50K")[d]]


def quoted(rng: np.random.Generator, n: int) -> Rows:
    for row in texts(rng, n):
        yield [*row[:-1], f"class {row[-1]}, said in words"]  # csv quotes it


def dates(rng: np.random.Generator, n: int) -> Rows:
    moments = np.datetime64("2011-01-01T00:00") + np.arange(n) % 100_000 * np.timedelta64(30, "m")
    count = rng.integers(0, 1000, n).tolist()
    rest = rng.standard_normal((n, 3)).round(4).tolist()
    for when, row, c in zip(np.datetime_as_string(moments).tolist(), rest, count, strict=True):
        yield [when[:10], *row, c % 4 + 1, when.replace("T", " "), c]


def gaps(rng: np.random.Generator, n: int) -> Rows:
    holes = rng.random((n, 12)) < 0.1
    for row, hole in zip(rng.standard_normal((n, 12)).round(4).tolist(), holes, strict=True):
        yield [*("" if h else v for v, h in zip(row, hole, strict=True)), int(row[0] > 0)]


def pixels(rng: np.random.Generator, n: int) -> Rows:
    shapes = rng.random((10, 784)) < 0.2
    for i in range(n):
        seen = shapes[i % 10] & (rng.random(784) < 0.9)
        yield [*(seen * rng.integers(1, 256, 784)).tolist(), i % 10]


KINDS: dict[str, Callable[[np.random.Generator, int], Rows]] = {
    f.__name__: f for f in (numbers, texts, quoted, dates, gaps, pixels)
}
TASK = {"dates": "regression"}


def write(kind: str, path: Path, megabytes: int) -> None:
    """About so many megabytes of rows, of which a first part tells how long they are."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer, first = csv.writer(file, lineterminator="\n"), True
        while (size := file.tell()) < megabytes * 1_000_000:
            rows = list(KINDS[kind](rng, 500 if kind == "pixels" else 20_000))
            if first:
                writer.writerow([*(f"c{i}" for i in range(len(rows[0]) - 1)), "target"])
                first = False
            writer.writerows(rows)
            assert file.tell() > size


def memory(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def measure(side: str, path: str, model: str, kind: str) -> dict[str, float]:
    """In a process of its own; ``model`` is written by train, and read by predict."""
    import pandas

    if side == "pandas":
        before, start, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
        frame = pandas.read_csv(path)
        size = float(frame.memory_usage().sum())
    elif side == "read":
        from fastgrad.tables import read_table

        before, start, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
        size = float(read_table(path).frame.memory_usage().sum())
    else:
        from fastgrad import MLP
        from fastgrad.cli import _data, _parser, predict
        from fastgrad.datasets import stratified_split

        if side == "train":
            task = TASK.get(kind, "classification")
            args = _parser().parse_args(["train", "--data", path, "--task", task])
            before, start, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
            data = _data.read(args, np.dtype("f4"))
            train, held = stratified_split(data.strata)
            data.fit(train)
            x, held_x = data.part(train)[0], data.part(held)[0]
            size = x.nbytes + held_x.nbytes
        else:
            args = _parser().parse_args(["predict", model, "--data", path])
            net = MLP.load(model)
            before, start, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
            size = predict._read(args, net).x.nbytes
    seconds, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, memory("VmHWM")
    if side == "train":
        net = MLP((data.inputs, data.target.outputs))
        vars(net)["_table"] = data.table
        net.save(model)
    return {"wall": seconds, "cpu": cpu, "peak": peak - before, "x": size}


def process(side: str, path: Path, model: Path, kind: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", side, str(path), str(model), kind]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(out)
    return found


def row(kind: str, path: Path, rounds: int) -> list[str]:
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            found[side].append(process(side, path, path.with_suffix(".npz"), kind))

    def median(side: str, name: str) -> float:
        return statistics.median(values[name] for values in found[side])

    wall, x = median("pandas", "wall"), median("train", "x")
    cells = [kind, f"{path.stat().st_size / 1e6:.0f}", f"{x / 1e6:.0f}"]
    cells.append(f"{wall:.2f} ({median('pandas', 'cpu'):.2f})")
    for side in SIDES[1:]:
        cells.append(f"{median(side, 'wall') / wall:.2f} ({median(side, 'cpu') / wall:.2f})")
    return cells + [f"{median(side, 'peak') / x:.2f}" for side in SIDES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=110)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--folder", type=Path, help="where files are kept, and looked for")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(measure(*args.one)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kind:
            path = (args.folder or Path(folder)) / f"{kind}.csv"
            if not path.exists():
                write(kind, path, args.megabytes)
            rows.append(row(kind, path, args.rounds))
            if args.folder is None:
                os.unlink(path)
    head = ["columns", "MB", "MB of x", "pandas, s (CPU)", "read / pandas (CPU)", "train (CPU)",
            "predict (CPU)", "peak of pandas / x", "of read", "of train", "of predict"]  # fmt: skip
    print(markdown(head, rows))


if __name__ == "__main__":
    main()
