"""A commit, built and installed in a folder of its own, and its processes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_FILTER: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


class GateError(Exception):
    """The gate cannot tell; its own sentence."""


class Build:
    """One commit, installed in a folder of its own."""

    def __init__(self, revision: str, folder: Path) -> None:
        self.revision, self.site, self.cache = revision, folder / "site", folder / "cache"
        packed = subprocess.run(
            ["git", "archive", revision], cwd=HERE.parents[1], capture_output=True
        )
        if packed.returncode:
            raise GateError(f"{revision} is no commit here: {packed.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder / "source", **_FILTER)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        built = subprocess.run(
            [*pip, str(self.site), str(folder / "source")], capture_output=True, text=True
        )
        if built.returncode:
            raise GateError(f"the build of {revision} failed: {built.stderr.strip()[-400:]}")

    def environment(self, cache: Path | None = None) -> dict[str, str]:
        ones = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "FASTGRAD")}
        places = {"PYTHONPATH": str(self.site), "NUMBA_CACHE_DIR": str(cache or self.cache)}
        return {**os.environ, **ones, **places}

    @contextmanager
    def worker(self) -> Iterator[Any]:
        """ask(**request) -> answer"""
        process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")], env=self.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.site,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None

        def ask(**request: Any) -> Any:
            print(json.dumps(request), file=process.stdin, flush=True)
            line = process.stdout.readline()
            if not line:
                raise GateError(f"the process of {self.revision} ended, asked for {request}")
            return json.loads(line)

        try:
            yield ask
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()

    def run(self, program: str, cold: bool) -> float:
        """Seconds of a process."""
        with tempfile.TemporaryDirectory() as empty:
            env = self.environment(Path(empty) if cold else None)
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", program], env=env, capture_output=True, cwd=self.site
            )
            taken = time.perf_counter() - start
        if done.returncode:
            last = done.stderr.decode().strip().splitlines()[-1:]
            raise GateError(f"{self.revision} errored in {program!r}: {' '.join(last)}")
        return taken
