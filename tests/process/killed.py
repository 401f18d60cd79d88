"""``fastgrad train --save F --resume`` killed again and again: a program of test_kill.py.

python killed.py KILLS SEED, in an empty folder. Prints what was found, as JSON. The runs are forks
of this process, which has imported and compiled everything, so that a run takes milliseconds to
begin; the first is a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from fastgrad import MLP, Adam
from fastgrad.cli import _report, main

LIMIT = 100  # seconds without a new file: something hangs


def make_data() -> None:
    y = np.arange(60) % 3
    x = np.random.default_rng(1).standard_normal((60, 4)) + np.eye(3, 4)[y]
    np.savez("d.npz", x=x, y=y)


def arguments(path: str, epochs: int) -> list[str]:
    # the validation loss of these goes down and up, and no patience is used up
    options = "train --data d.npz --layers 4,16,3 --batch-size 8 --lr 0.02 --schedule cosine"
    stopping = f"--validation 0.25 --patience {epochs} --epochs {epochs}"
    return [*options.split(), *stopping.split(), "--save", path, "--resume"]


def start(words: list[str], as_process: bool = False) -> int:
    if as_process:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastgrad", *words], stdout=2, stderr=subprocess.DEVNULL
        )
        process.returncode = 0  # this program waits for it
        return process.pid
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)
        code = 3
        try:
            code = main(words)
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def wait_until(pid: int, happened: Callable[[], bool]) -> bool:
    """Whether it happened before the process ended."""
    limit = time.monotonic() + LIMIT
    while not happened():
        if ended(pid):
            return False
        if time.monotonic() > limit:
            os.kill(pid, signal.SIGKILL)
            raise SystemExit("it hangs")
    return True


def version(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def versions(path: str, number: int) -> Callable[[], bool]:
    """Whether ``number`` new files have been seen at ``path``."""
    seen, last = 0, version(path)

    def enough() -> bool:
        nonlocal seen, last
        now = version(path)
        seen, last = seen + (now != last), now
        return seen >= number

    return enough


def kill_one(path: str, epochs: int, chance: random.Random, most: int, first: bool) -> dict:
    pid, began = start(arguments(path, epochs), as_process=first), time.monotonic()
    number = chance.randrange(most + 1)  # 0: before the first epoch is done
    alive = wait_until(pid, versions(path, number))
    if alive:
        time.sleep(chance.random() * 0.005)
        alive = not ended(pid)
    if alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    seconds = time.monotonic() - began
    left = len([name for name in os.listdir() if name.endswith(".tmp")])
    there = os.path.exists(path)
    done = MLP.load(path).epochs if there else None
    return {"killed": alive, "left": left, "epochs": done, "seconds": round(seconds, 2)}


def compare(a: str, b: str) -> list[str]:
    """The arrays that differ; the history's seconds are their own."""
    with np.load(a) as one, np.load(b) as other:
        names = set(one) | set(other)
        return [
            name
            for name in sorted(names - {"history_seconds"})
            if name not in one or name not in other or one[name].tobytes() != other[name].tobytes()
        ]


def run(kills: int, seed: int) -> dict:
    make_data()
    _report.SAMPLE = 0.001  # that race is not what is tested
    epochs, most = max(60, 3 * kills), 5
    chance = random.Random(seed)
    warm = MLP((4, 16, 3), optimizer=Adam())
    with np.load("d.npz") as data:
        warm.fit(data["x"], data["y"], 1, 8, (data["x"], data["y"]), progress=False)
    codes = [os.waitpid(start(arguments("whole.npz", epochs)), 0)[1]]
    found = [kill_one("part.npz", epochs, chance, most, i == 0) for i in range(kills)]
    codes.append(os.waitpid(start(arguments("part.npz", epochs)), 0)[1])
    return {
        "codes": codes,
        "kills": found,
        "epochs": epochs,
        "ended": [MLP.load(name).epochs for name in ("whole.npz", "part.npz")],
        "different": compare("whole.npz", "part.npz"),
        "files": sorted(os.listdir()),
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
