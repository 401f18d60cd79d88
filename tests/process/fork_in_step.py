"""A fork while another thread is in a step of a model: ``python fork_in_step.py KIND``.

KIND is "read" for batches that a step reads where they lie, "copied" for others. The child says
what it found by its exit code.
"""

from __future__ import annotations

import copy
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any

import numpy as np

from fastgrad import MLP
from fastgrad._kernels.codegen import structs
from fastgrad._kernels.layer.args import Net

MESSAGE = (
    "MLP.train_step: this process was forked while another thread was in a step of this model, "
    "whose parameters may be half changed; load or make it anew in this process, or fork between "
    "steps"
)
FOUND, FAILED, BETWEEN_STEPS = range(3)
BUSY = structs.offset(Net, "busy")
FORKS = 200  # tries to hit a step


def is_in_step(model: MLP) -> bool:
    step = model._step
    return step._lock.locked() or bool(step._table[BUSY])


def refuses(model: MLP, x: Any, y: Any) -> None:
    before = model._parameters.flat.copy()
    for batch in ((x, y), (x.astype(np.float64), y), (x[:3].astype(np.int8), y[:3])):
        try:
            model.train_step(*batch)
        except RuntimeError as error:
            assert str(error) == MESSAGE, error
        else:
            raise AssertionError("a step of a model that may be half changed")
    parts: dict[str, Any] = {
        "loss_and_grads": lambda: model.loss_and_grads(x, y),
        "forward": lambda: model.forward(x, keep=True),
        "backward": lambda: model.backward(np.ones((len(x), 10))),
        "update": model.update,
    }
    for name, part in parts.items():
        try:
            part()
        except RuntimeError as error:
            assert str(error) == MESSAGE.replace("train_step", name), error
        else:
            raise AssertionError(f"{name} of a model that may be half changed")
    assert np.array_equal(model._parameters.flat, before)


def check_in_child(model: MLP, idle: MLP, x: Any, y: Any) -> int:
    if not is_in_step(model):
        model.train_step(x, y)  # nothing is wrong with it
        return BETWEEN_STEPS
    refuses(model, x, y)
    fresh, loaded = MLP(idle.sizes), MLP.load("saved.npz")
    for other in (fresh, loaded, idle):  # the last one is the parent's, at rest
        other.train_step(x, y)
        assert np.array_equal(other._parameters.flat, fresh._parameters.flat)
    copy.copy(model).train_step(x, y)  # whoever wants what there is can have it
    refuses(model, x, y)
    return FOUND


def fork(model: MLP, idle: MLP, x: Any, y: Any) -> int:
    """The child's exit code."""
    child = os.fork()
    if child == 0:
        code = FAILED
        signal.alarm(60)
        try:
            code = check_in_child(model, idle, x, y)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(kind: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((800, 300)).astype(np.float32), np.arange(800) % 10
    given = x if kind == "read" else x.astype(np.float64)
    model, idle = MLP((300, 500, 10)), MLP((300, 500, 10))
    idle.save("saved.npz")
    model.train_step(given, y)
    done: list[float] = []
    over = threading.Event()

    def train() -> None:
        while not over.is_set():
            done.append(model.train_step(given, y))

    thread = threading.Thread(target=train)
    thread.start()
    code = BETWEEN_STEPS
    for _ in range(FORKS):
        while thread.is_alive() and not is_in_step(model):
            time.sleep(0)
        code = fork(model, idle, x, y)
        if code != BETWEEN_STEPS:
            break
    seen = len(done)
    while thread.is_alive() and len(done) < seen + 2:  # the parent's steps go on
        time.sleep(0.001)
    over.set()
    thread.join()
    assert code == FOUND, f"exit code {code} of the child"
    assert model.steps == len(done) + 1 and len(done) >= seen + 2


if __name__ == "__main__":
    main(sys.argv[1])
