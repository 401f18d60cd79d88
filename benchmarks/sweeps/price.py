"""The price of the contract of bits: the kernels beside the same kernels with it relaxed.

    python benchmarks/sweeps/price.py [--rounds 9] [--cells PART ...] [--write docs/contract.md]

Every variant is a process of its own, and they take turns of 50 ms, in alternating order:
    relaxed    a copy of the package in a temporary folder, patched as RELAXED says: products of few
               rows or columns along k sum the lanes of a vector; a row by a column has eight
               accumulators; a tile of fewer than eight chains has as many for each element as keep
               the FMA pipes full
    KC/2 KC*2  blocks of k half or twice as long: so deep are packed blocks, too
    numpy      for comparison: it relaxes all of it
Printed, for each cell: our time, and ours / each variant's (above 1: the contract costs that much),
medians over the rounds, for `relaxed` with its 95 % interval; "=" where its bits are the same in
spite of the patch. Paths and their thresholds are the contract's, but for one row, whose lanes are
summed from 2,048 elements on. --write replaces the block between the two lines with price:begin and
price:end. Results are checked before they are timed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "compare"))

VARIANTS = ("contract", "relaxed", "KC/2", "KC*2", "numpy")
SAMPLE = 0.05  # seconds, of a cell in a round
DRAWS = 8  # of operands, whose bits are compared

# file of _kernels/gemm -> (text that it has once, text in its place); further: those of relaxed/
RELAXED: dict[str, list[tuple[str, str]]] = {
    "thresholds.py": [("ROW_ELEMENTS = 1 << 13", "ROW_ELEMENTS = 1 << 11")],
    "dispatch.py": [("m * n == 1 and k > kc and", "m * n == 1 and k > 0 and")],
    "microkernel.py": [
        (  # `more` sets of accumulators wait while one takes its step
            "    start = [*groups, p.b.data, p.copy, p.ahead.data, *([zero] * (rows * vectors))]\n",
            """    each = rows * vectors
    more = -(-8 // each) - 1
    start = [*groups, p.b.data, p.copy, p.ahead.data, *([zero] * ((more + 1) * each))]
""",
        ),
        ("            state[-rows * vectors :],\n", "            state[-(more + 1) * each :],\n"),
        (
            "b.add(ahead, p.ahead.row), *fused]",
            "b.add(ahead, p.ahead.row), *chains[each:], *fused]",
        ),
        (
            "    chains = slice(-rows * vectors, None)\n    return [",
            """    chains = slice(-(more + 1) * each, None)
    ends = [""",
        ),
        (
            "        for x, y in zip(state[chains], final[chains], strict=True)\n    ]\n",
            """        for x, y in zip(state[chains], final[chains], strict=True)
    ]
    results = ends[:each]
    for i in range(1, more + 1):
        results = [x + y for x, y in zip(results, ends[i * each :])]
    return results
""",
        ),
    ],
}


def shapes() -> dict[str, list[tuple[str, int, int, int]]]:
    """What a cell is of -> (operation, m, n, k)."""
    along_k = [("nt", 1, 10, 784), ("nt", 1, 512, 512), ("nt", 1, 3072, 768)]
    along_k += [("nt", m, 512, 512) for m in (2, 4, 8, 16)]
    along_k += [("nn", 256, 1, 256), ("nn", 512, 1, 512), ("nn", 512, 2, 512), ("nt", 512, 2, 512),
                ("nn", 512, 4, 512), ("nn", 2048, 1, 128)]  # fmt: skip
    return {
        "few rows or columns along k": along_k,
        "a row by a column": [("nt", 1, 1, k) for k in (64, 512, 10_000, 1_000_000)],
        "few rows along n": [("nn", m, 512, 512) for m in (1, 4, 16)],
        "small": [("nn", n, n, n) for n in (4, 16, 64)]
        + [("nn", 1, 16, 512), ("nn", 4, 16, 512), ("nn", 8, 10, 128), ("tn", 10, 10, 300)],
        "large": [("nn", n, n, n) for n in (256, 512, 1024)] + [("nt", 512, 512, 512)],
        "long k": [("tn", 32, 10, 8192), ("tn", 100, 32, 50_000), ("nn", 64, 64, 16_384)],
        "layers": [("forward", 1, 10, 784), ("forward", 128, 512, 784), ("backward", 1, 128, 784),
                   ("backward", 32, 10, 128), ("backward", 32, 128, 64),
                   ("backward", 128, 512, 784)],
    }  # fmt: skip


def cells(parts: list[str] | None) -> list[Any]:
    from cells import DTYPES, Cell

    found = [
        Cell(family, f"{m}x{n}x{k}", m, n, k, op, dtype, 1)
        for family, some in shapes().items()
        for op, m, n, k in some
        for dtype in DTYPES
    ]
    return [c for c in found if not parts or any(part in str(c) for part in parts)]


def relax(folder: Path) -> None:
    """A patched copy of the package, in ``folder``."""
    import fastgrad

    copy = folder / "fastgrad"
    gemm = copy / "_kernels" / "gemm"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(fastgrad.__file__).parent, copy, ignore=ignored)
    for path in (HERE / "relaxed").glob("*.py"):
        shutil.copy(path, gemm)
    for name, patches in RELAXED.items():
        path = gemm / name
        text = path.read_text()
        for old, new in patches:
            if text.count(old) != 1:
                sys.exit(f"price.py: {name} has {old!r} {text.count(old)} times, not once")
            text = text.replace(old, new)
        path.write_text(text)


class Process:
    """A variant: answers requests, as compare/worker.py does, and {"bits": cell}."""

    def __init__(self, variant: str, folder: Path) -> None:
        cache = tempfile.mkdtemp(dir=folder)
        env = {**os.environ, "NUMBA_CACHE_DIR": cache}
        path = os.environ.get("PYTHONPATH")
        if variant == "relaxed":
            relax(folder)
            env["PYTHONPATH"] = str(folder) + (os.pathsep + path if path else "")
        self.process = subprocess.Popen(
            [sys.executable, __file__, f"--serve={variant}"], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"wrong": "a process has ended"}')
        if "wrong" in answer:
            sys.exit(f"price.py: {answer['wrong']}")
        return answer  # type: ignore[no-any-return]

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def serve(variant: str) -> None:
    """The process of a variant."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from fastgrad._kernels.codegen import target

    if variant.startswith("KC"):
        longer = variant == "KC*2"
        target.KC._values.update({d: kc * 2 if longer else kc // 2 for d, kc in target.KC.items()})
    import libraries
    import operands
    import worker
    from cells import Cell
    from threadpoolctl import threadpool_limits

    from fastgrad._bench import quiet

    threadpool_limits(1)
    name = "numpy" if variant == "numpy" else "fastgrad"
    library = libraries.load(name)
    library.set_threads(1)
    ready: list[Any] = []
    with quiet():
        for line in sys.stdin:
            request = json.loads(line)
            if "bits" in request:
                digest = hashlib.sha256()
                for seed in range(DRAWS):  # one sum may be the same by chance
                    cell = Cell(*request["bits"])._replace(family=str(seed))
                    call, results = library.bind(cell, operands.make(cell))
                    call()
                    digest.update(b"".join(r.tobytes() for r in results()))
                reply: dict[str, Any] = {"bits": digest.hexdigest()}
            else:
                reply = worker.answer(request, f"{variant}: {name}", library, ready)
            print(json.dumps(reply), file=answers, flush=True)


def measure(cell: Any, processes: dict[str, Process], rounds: int) -> dict[str, Any]:
    """variant -> seconds a call in each round; and whether `relaxed` has the same bits."""
    bits = [processes[v].ask(bits=cell)["bits"] for v in ("contract", "relaxed")]
    for process in processes.values():
        process.ask(prepare=cell, sample=1e-3)
    times: dict[str, Any] = {variant: [] for variant in processes}
    for turn in range(rounds):
        for variant in list(processes)[:: -1 if turn % 2 else 1]:
            times[variant] += processes[variant].ask(round=[SAMPLE])["seconds"]
    for process in processes.values():
        process.ask(free=True)
    return {**times, "same": bits[0] == bits[1]}


def row(cell: Any, found: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """A line of the table; the prices in it."""
    from statistics import median

    from fastgrad._bench import duration, summarize

    ours = found["contract"]
    prices, texts = {}, []
    for variant in VARIANTS[1:]:
        # "theirs / ours" of summarize, with the contract as theirs: the contract's time / variant's
        result = summarize(list(zip(found[variant], ours, strict=True)))
        prices[variant] = result.ratio
        text = f"{result.ratio:.2f}"
        if variant == "relaxed":
            text += " =" if found["same"] else f" ({result.low:.2f}–{result.high:.2f})"
        texts.append(text)
    size = f"{cell.m} × {cell.n} × {cell.k}"
    line = f"| {cell.family} | {cell.op} {size} | {cell.dtype} | {duration(median(ours))} |"
    return f"{line} {' | '.join(texts)} |", prices


def table(measured: list[tuple[Any, dict[str, Any]]]) -> list[str]:
    """Geometric means of the families, then every cell."""
    from fastgrad._bench import geometric_mean

    lines = ["| | m × n × k | dtype | contract | relaxed | KC/2 | KC·2 | numpy |", "|---" * 8 + "|"]
    rows = [row(cell, found) for cell, found in measured]
    families = list(dict.fromkeys(cell.family for cell, _ in measured))
    for family in (*families, None):
        some = [
            prices
            for (cell, _), (_, prices) in zip(measured, rows, strict=True)
            if family in (cell.family, None)
        ]
        means = " | ".join(f"{geometric_mean([p[v] for p in some]):.2f}" for v in VARIANTS[1:])
        name = "all cells" if family is None else family
        lines.append(f"| **{name}**, geometric mean of {len(some)} | | | | {means} |")
    return lines + [line for line, _ in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cells", nargs="+", help="only those whose name has one of these parts")
    parser.add_argument("--write", type=Path, help="a Markdown file with the two marks")
    options = parser.parse_args()
    import machine
    import pages

    measured = []
    with tempfile.TemporaryDirectory() as folder:
        processes = {v: Process(v, Path(folder)) for v in VARIANTS}
        for cell in cells(options.cells):
            measured.append((cell, measure(cell, processes, options.rounds)))
            print(row(*measured[-1])[0], flush=True)
        for process in processes.values():
            process.end()
    head = machine.describe_run(["numpy"], {})
    versions = ", ".join(f"{name} {v}" for name, v in head["versions"].items())
    where = f"{head['machine']['cpu']}; {versions}; one thread; {options.rounds} rounds; " + (
        f"load at the end {head['machine']['load_at_start']}; {head['date']}, commit "
        f"{head['commit']}"
    )
    text = "\n".join([*table(measured), "", where])
    print(f"\n{text}")
    if options.write and not pages.replace(options.write, "price", text):
        sys.exit(f"price.py: {options.write} lacks the lines price:begin and price:end")


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("--serve="):
        serve(sys.argv[1].partition("=")[2])
    else:
        main()
