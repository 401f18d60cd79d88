"""Files of strangers by the thousand: whole ones in, damaged ones out, each read and judged.

``python -m support.fuzz_readers --count 100000 --seed 1`` changes whole files at random, by bytes
and by what they mean (headers, sizes, names, settings). A reader answers with data or with
its own error of one line: anything else, a warning, a call of an interpreter, of pickle or of
another program, 5 seconds or 256 MB are a failure, and the file is printed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastgrad import MLP, SGD, Adam
from fastgrad._mlp.checkpoint import digest
from fastgrad.datasets import DataError, load_csv, load_npz, readers
from fastgrad.tables import source
from support.damaged_files import LIMIT, changed

SECONDS = 5
MEMORY = 1 << 28  # above what the process has at first
# numpy compiles headers, as literals; to run what was compiled is exec
NOT_ALLOWED = frozenset(
    "exec pickle.find_class os.system os.exec os.fork os.posix_spawn subprocess.Popen "
    "socket.connect os.remove os.rename os.mkdir ctypes.dlopen code.__new__ marshal.loads".split()
)


class Failed(AssertionError):
    """What a reader may not do."""


class Judge:
    """Reads files, one after the other, from one path."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.path = folder
        self.longest, self.outcomes = 0.0, Counter[str]()
        self._heard: list[str] = []
        self._listens = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: Any) -> None:
        if self._listens and event in NOT_ALLOWED:
            self._heard.append(event)

    def __call__(self, kind: str, data: bytes) -> bool:
        """Whether the file could be read."""
        self.path = self.folder / f"file.{kind}"
        self.path.write_bytes(data)
        start = time.perf_counter()
        self._heard.clear()
        try:
            with self._attention():
                READ[kind](str(self.path))
            is_read = True
        except ValueError as error:
            is_read = False
            expected = ValueError if kind == "model" else DataError
            text = str(error)
            if type(error) is not expected or not text.isprintable() or len(text) > 600:
                raise Failed(f"{type(error).__name__}: {text[:2000]!r}") from error
            if str(self.path) not in text:
                raise Failed(f"not of which file: {text}") from error
        except Exception as error:
            raise Failed(f"{type(error).__name__}: {str(error)[:2000]!r}") from error
        if self._heard:
            raise Failed(f"reading makes {self._heard[:3]}")
        self.longest = max(self.longest, time.perf_counter() - start)
        self.outcomes[f"{kind} {'read' if is_read else 'refused'}"] += 1
        return is_read

    @contextlib.contextmanager
    def _attention(self) -> Iterator[None]:
        self._listens = True
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._listens = False


def _read_model(path: str) -> None:
    model = MLP.load(path)
    assert model.optimizer_state() is not None and len(digest(model)) == 16


def _read_data(load: Callable[..., Any]) -> Callable[[str], None]:
    def read(path: str) -> None:
        x, y = load(path)
        assert x.ndim == 2 and x.dtype == np.float32 and np.isfinite(x).all() and x.size
        assert y.shape == x.shape[:1] and y.dtype == np.int64 and 0 <= y.min() and y.max() < 65536

    return read


READ: dict[str, Callable[[str], None]] = {
    "npz": _read_data(load_npz),
    "csv": _read_data(load_csv),
    "model": _read_model,
}


def whole_files(folder: Path) -> dict[str, list[bytes]]:
    """Small ones, of every kind there is."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 4)).astype(np.float32), rng.integers(0, 3, 6)
    path = folder / "whole.npz"
    files: dict[str, list[bytes]] = {"npz": [], "csv": [], "model": []}
    for save in (np.savez, np.savez_compressed):
        for given in ({"x": x, "y": y}, {"x": x.astype("u1").reshape(6, 2, 2), "y": y[:, None]}):
            save(path, **given)
            files["npz"].append(path.read_bytes())
    np.savez(path, x=np.asfortranarray(x, ">f8"), y=y.astype("?"), z=np.array([None]))
    files["npz"].append(path.read_bytes())
    files["csv"] = [
        b"a,b,label\n1,2.5,0\n-3,4e2,1\n",
        b'\xef\xbb\xbf"y","what, else",c\r\n1,"2",3\r\n0,"4.5\n",-6\r\n\r\n',
    ]
    for optimizer in (SGD(0.1, 0.9), Adam(0.01)):
        for patience in (None, 3):
            model = MLP((4, 5, 3), optimizer=optimizer, seed=1)
            model.fit(x, y, 2, 4, (x, y), False, patience=patience)
            model.save(path)
            files["model"].append(path.read_bytes())
    return files


def _too_long(*args: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} seconds")


def limit_memory() -> None:
    """An allocation that takes the process above what it has and MEMORY is a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def prepare(folder: Path) -> tuple[Judge, dict[str, list[bytes]]]:
    warnings.simplefilter("error")
    # a file may say, by damage as well, that it is of another formula
    warnings.filterwarnings("ignore", "fastgrad: a model of BITS_VERSION", UserWarning)
    files = whole_files(folder)
    readers.MAX_BYTES = source.MAX_BYTES = LIMIT
    signal.signal(signal.SIGALRM, _too_long)
    for kind, known in files.items():  # what is imported when first needed is imported here
        for data in known:
            path = folder / f"first.{kind}"
            path.write_bytes(data)
            READ[kind](str(path))
    return Judge(folder), files


def run(count: int, seed: int, folder: Path, is_limited: bool = True) -> Judge:
    judge, files = prepare(folder)
    if is_limited:
        limit_memory()
    for i in range(count):
        kind, data = changed(files, random.Random(f"{seed} {i}"))
        _judged(judge, kind, data, f"--seed {seed}, file {i}")
    return judge


def _judged(judge: Judge, kind: str, data: bytes, name: str) -> None:
    try:
        judge(kind, data)
    except Failed:
        print(f"{name}: {kind}, {len(data)} bytes, base64 {base64.b64encode(data)[:4000]!r}")
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        judge = run(args.count, args.seed, Path(folder))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{args.count} files: {dict(sorted(judge.outcomes.items()))}")
    print(
        f"longest {judge.longest:.3f} s; peak memory {after // 1024} MB, {before // 1024} at first"
    )


if __name__ == "__main__":
    main()
