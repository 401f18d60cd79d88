"""Ranks of MPI: a program of test_ranks.py. mpiexec -n N python ranks.py SCENARIO [WORD...], in a
folder of its own; rank 0 prints what was found, as JSON. "alone" for SCENARIO: bits without MPI.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastgrad
from fastgrad import MLP, SGD, Adam, AdamW
from fastgrad._mlp import fit as training
from fastgrad._mlp.checkpoint import digest
from fastgrad._mlp.step import Step

ROWS = 60


def data(rows: int = ROWS, dtype: str = "float32") -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, rows)
    return (rng.standard_normal((rows, 4)) + np.eye(3, 4)[y]).astype(dtype), y


def net(dtype: str = "float32", **more: Any) -> MLP:
    return MLP((4, 16, 3), **{"optimizer": Adam(0.02), "dtype": dtype} | more)


def values(model: MLP) -> str:
    """A digest of parameters, optimizer state and history, but for the seconds."""
    history = {name: v for name, v in model.history.items() if name != "seconds"}
    arrays = hashlib.sha256(b"".join(a.tobytes() for a in model.optimizer_state()))
    return f"{digest(model)} {arrays.hexdigest()[:8]} {history}"


def bits(comm: Any) -> dict[str, str]:
    """A fit of each kind; the blocks of a batch are more than the ranks, fewer, or one."""
    x, y = data()
    targets = np.random.default_rng(2).random((ROWS, 3))
    weights = np.arange(ROWS) % 5 / 4
    cases: dict[str, tuple[Any, Any]] = {
        "plain": ({}, {}),
        "float64": ({"dtype": "float64"}, {"block_rows": 3}),
        "one row": ({"max_grad_norm": 0.1}, {"block_rows": 1}),
        "one block": ({}, {"block_rows": 100}),
        "weights": ({"optimizer": SGD(0.1, 0.9)}, {"weights": weights}),
        "in order": ({"optimizer": AdamW(0.01, weight_decay=0.1)}, {"shuffle": False}),
        "schedule": ({"activation": "gelu"}, {"schedule": lambda epoch: 0.1 / (epoch + 1)}),
        "patience": ({"optimizer": SGD(1.0)}, {"validation": 0.25, "patience": 2}),
        "mse": ({"loss": "mse"}, {"y": targets}),
        "binary": ({"loss": "binary_cross_entropy_with_logits"}, {"y": targets}),
    }
    found = {}
    for name, (settings, options) in cases.items():
        model = net(**settings)
        options = {"y": y, "block_rows": 4, "batch_size": 16, "progress": False} | options
        model.fit(x.astype(model.dtype), epochs=3, comm=comm, **options)
        found[name] = values(model)
    return found


def differences(comm: Any) -> dict[str, list[str]]:
    """What the last rank passes otherwise -> what each rank is told; and then all goes on."""
    x, y = data()
    is_last = comm.rank == comm.size - 1
    changed, bad = x.copy(), x.copy()
    changed[7, 1] += 1
    bad[7, 1] = np.nan
    cases: dict[str, tuple[Any, Any]] = {
        "batch_size": ({}, {"batch_size": 8}),
        "block_rows": ({}, {"block_rows": 3}),
        "epochs": ({}, {"epochs": 3}),
        "schedule": ({}, {"schedule": lambda epoch: 0.5}),
        "patience": ({}, {"patience": 2}),
        "no block_rows": ({}, {"block_rows": None}),
        "seed": ({"seed": 1}, {}),
        "optimizer": ({"optimizer": SGD(0.1)}, {}),
        "dtype": ({"dtype": "float64"}, {}),
        "rows": ({}, {"x": x[:-1], "y": y[:-1]}),
        "data": ({}, {"x": changed}),
        "NaN": ({}, {"x": bad}),
        "labels": ({}, {"y": y + 1}),
        "weights": ({}, {"weights": np.ones(ROWS)}),
        "progress": ({}, {"progress": "no"}),
    }
    found = {}
    for name, (settings, options) in cases.items():
        model = net(**(settings if is_last else {}))
        standard = {"x": x, "y": y, "epochs": 2, "batch_size": 16, "progress": False}
        standard |= {"block_rows": 4}
        said = "nothing"
        try:
            model.fit(**standard | (options if is_last else {}), comm=comm)
        except (TypeError, ValueError) as error:
            said = str(error)
        found[name] = comm.allgather(said)
    found["version"] = _other_version(comm, x, y, is_last)
    model = net()
    model.fit(x, y, 2, 16, progress=False, block_rows=4, comm=comm)
    found["then"] = comm.allgather(values(model))
    return found


def _other_version(comm: Any, x: Any, y: Any, is_last: bool) -> list[str]:
    from fastgrad._mlp import task

    task.__version__ = "9.9" if is_last else fastgrad.__version__
    try:
        net().fit(x, y, 2, 16, progress=False, block_rows=4, comm=comm)
        said = "nothing"
    except ValueError as error:
        said = str(error)
    task.__version__ = fastgrad.__version__
    return comm.allgather(said)


def errors(comm: Any) -> dict[str, Any]:
    """Errors of one rank in the middle: of a step, a checkpoint, the callback; and True of it."""
    x, y = data()
    gradients = Step.gradients
    found: dict[str, Any] = {}

    def attempt(name: str, **options: Any) -> None:
        model, said = net(), "nothing"
        try:
            model.fit(x, y, 4, 16, progress=False, block_rows=4, comm=comm, **options)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        found[name] = comm.allgather([said, model.epochs])

    calls = []

    def failing(*args: Any) -> float:
        calls.append(1)
        if len(calls) == 7 and comm.rank == comm.size - 1:
            raise ArithmeticError("as a test wants it")
        return gradients(*args)

    Step.gradients = failing  # type: ignore[method-assign]
    attempt("step")
    Step.gradients = gradients  # type: ignore[method-assign]

    def callback(history: Any) -> bool:
        if comm.rank:
            raise AssertionError("the callback is rank 0's")
        if len(history["loss"]) == 2:
            raise LookupError("of the callback")
        return False

    attempt("callback", callback=callback)
    model = net()

    def meddling(history: Any) -> None:
        model.weights[0][0, 0] += 1

    try:
        model.fit(
            x, y, 2, 16, progress=False, block_rows=4, comm=comm, callback=meddling
        )  # fmt: skip
        found["changed"] = ["nothing"]
    except ValueError as error:
        found["changed"] = comm.allgather(str(error))
    attempt("end", callback=lambda history: len(history["loss"]) == 3)
    attempt("no folder", checkpoint="nowhere/m.npz")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if comm.rank == 0:
        attempt_limit = lambda history: resource.setrlimit(  # noqa: E731
            resource.RLIMIT_FSIZE, (1000, limits[1])
        )
    else:
        attempt_limit = lambda history: None  # noqa: E731
    attempt("disk", checkpoint="m.npz", callback=attempt_limit)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    found["saved"] = comm.bcast(MLP.load("m.npz").epochs if comm.rank == 0 else None)
    return found


def others(comm: Any) -> dict[str, Any]:
    """The pool and forks go on as they did; threads of a rank; not on another thread."""
    import threading

    x, y = data()
    net().fit(x, y, 1, 16, progress=False, block_rows=4, comm=comm)
    a = np.random.default_rng(0).standard_normal((300, 300))
    whole = fastgrad.matmul(a, a).tobytes()
    with fastgrad.num_threads(2):
        same = fastgrad.matmul(a, a).tobytes() == whole
        pid = os.fork()
        if pid == 0:
            os._exit(0 if fastgrad.matmul(a, a).tobytes() == whole else 1)
        code = os.waitpid(pid, 0)[1]
    said: list[str] = []

    def elsewhere() -> None:
        try:
            net().fit(x, y, 1, 16, progress=False, block_rows=4, comm=comm)
        except RuntimeError as error:
            said.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    from fastgrad.mpi import Team

    for name in ("FASTGRAD_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.pop(name, None)
    with Team("test", comm) as team, team.threads():
        threads = fastgrad.get_num_threads()
    return {"pool": comm.allgather([same, code]), "said": said, "threads": comm.allgather(threads)}


def dies(comm: Any, how: str, rank: int, step: int) -> dict[str, Any]:
    """``rank`` ends in its step number ``step``, if that comes: "kill", or an error that no other
    rank hears of. The run has a checkpoint after every epoch, from which it goes on."""
    gradients, calls = Step.gradients, []

    def dying(*args: Any) -> float:
        calls.append(1)
        if len(calls) == step and comm.rank == rank:
            Path("died").write_text(str(time.time()))
            if how == "kill":
                os.kill(os.getpid(), 9)
            training.parts = None  # type: ignore[assignment]  # of the next epoch
        return gradients(*args)

    Step.gradients = dying  # type: ignore[method-assign]
    model = MLP.load("m.npz") if os.path.exists("m.npz") else net()
    x, y = data()
    model.fit(
        x, y, 6 - model.epochs, 16, progress=False, block_rows=4, comm=comm, checkpoint="m.npz"
    )
    return {"values": values(model)}


SCENARIOS: dict[str, Callable[..., Any]] = {
    "bits": bits,
    "differences": differences,
    "errors": errors,
    "others": others,
}


def run(name: str, words: list[str]) -> None:
    if name == "alone":
        print(json.dumps(bits(None)))
        return
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    if name in SCENARIOS:
        found = SCENARIOS[name](comm)
    else:
        found = dies(comm, name, int(words[0]), int(words[1]))
    if comm.rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
