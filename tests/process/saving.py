"""``fastgrad train --save F --resume`` where F cannot be written, and by two processes at once: a
program of test_kill.py. python saving.py, in an empty folder; prints what was found, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from killed import arguments, compare, ended, make_data

from fastgrad import MLP, Adam, _files
from fastgrad._mlp.checkpoint import digest
from fastgrad.cli import _report, main

EPOCHS = 40
FULL = OSError(28, "No space left on device")


def fork(work: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            for stream, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            code = work()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


def train(path: str, before: Callable[[], None] = lambda: None) -> int:
    def work() -> int:
        before()
        return main(arguments(path, EPOCHS))

    return fork(work)


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def failing(name: str, call: int) -> Callable[[], None]:
    """os.NAME raises FULL in its ``call``-th call, counted from 1, and afterwards."""

    def before() -> None:
        real, calls = getattr(os, name), list[int]()

        def fail(*args: object) -> object:
            calls.append(1)
            if len(calls) >= call:
                raise FULL
            return real(*args)

        setattr(os, name, fail)

    return before


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def no_new_file() -> None:
    def fail(*args: object) -> None:
        raise FULL

    _files.open = fail  # type: ignore[attr-defined]


# A save syncs the file, renames it, and syncs the folder.
FAULTS: dict[str, Callable[[], None]] = {
    "fsync": failing("fsync", 5),
    "rename": failing("replace", 3),
    "the folder's fsync": failing("fsync", 4),
    "write": small_files,
    "open": no_new_file,
}


def state(path: str) -> dict:
    return {
        "epochs": MLP.load(path).epochs,
        "left": [name for name in os.listdir() if name.endswith(".tmp")],
        "err": Path("err").read_text().splitlines()[-1],
    }


def faults() -> dict:
    """Each fault in turn, every time from where the last one ended; then none."""
    found = {
        name: {"code": code_of(train("part.npz", before)), **state("part.npz")}
        for name, before in FAULTS.items()
    }
    code = code_of(train("part.npz"))
    return {"faults": found, "code": code, "different": compare("whole.npz", "part.npz")}


def same_run_twice() -> dict:
    """By mistake: both save, both end, and the file is that of one run, whole at any time."""
    pids = {train("twice.npz") for _ in range(2)}
    codes, seen = [], set()
    while pids:
        if os.path.exists("twice.npz"):
            seen.add(MLP.load("twice.npz").epochs)
        for pid in list(pids):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                pids.remove(pid)
                codes.append(os.waitstatus_to_exitcode(status))
    different = compare("whole.npz", "twice.npz")
    return {"codes": codes, "different": different, "seen": len(seen)}


def two_models() -> dict:
    """Each saves its own after every epoch: the file is always one of them, as it was then."""
    with np.load("d.npz") as file:
        x, y = file["x"], file["y"]

    def model(seed: int) -> MLP:
        return MLP((4, 16, 3), optimizer=Adam(), seed=seed)

    known = {}
    for seed in (1, 2):
        one = model(seed)
        for epoch in range(1, EPOCHS + 1):
            one.fit(x, y, 1, 8, progress=False)
            known[digest(one)] = seed, epoch

    wait, go = os.pipe()

    def work(seed: int) -> int:
        os.read(wait, 1)
        model(seed).fit(x, y, EPOCHS, 8, progress=False, checkpoint="both.npz")
        return 0

    pids = [fork(lambda seed=seed: work(seed)) for seed in (1, 2)]
    os.write(go, b"12")
    seen, alive = set(), set(pids)
    while alive:
        if os.path.exists("both.npz"):
            seen.add(known.get(digest(MLP.load("both.npz"))))
        alive -= {pid for pid in alive if ended(pid)}
    last = known.get(digest(MLP.load("both.npz")))
    return {"unknown": None in seen, "seeds": sorted({s for s, _ in seen - {None}}), "last": last}


def run() -> dict:
    make_data()
    _report.SAMPLE = 0.001  # that race is not what is tested
    code = code_of(train("whole.npz"))
    found = {"code": code, **faults(), "twice": same_run_twice(), "both": two_models()}
    return found | {"files": sorted(os.listdir())}


if __name__ == "__main__":
    print(json.dumps(run()))
