"""What the programs about calls that go wrong share: a time, a model, and the test of its steps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastgrad import MLP, Adam

SECONDS = float(os.environ.get("SECONDS", "1"))  # that those which repeat something take
SEED = int(os.environ.get("SEED", "0"))


def until_the_end() -> Iterator[int]:
    """0, 1, ... until SECONDS have passed."""
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        yield number
        number += 1


def model_and_batches() -> tuple[Callable[..., MLP], list[tuple[Any, Any]]]:
    """Batches that are the same numbers: the first as a step reads it, the others are copied."""
    rng = np.random.default_rng(SEED)
    x = rng.integers(-3, 4, (100, 60)).astype(np.float32)
    y = np.arange(100) % 7
    batches = [(x, y), (x.astype(np.float64), y), (x.astype(np.int8), y.astype(np.int8))]
    return lambda **settings: MLP((60, 90, 7), optimizer=Adam(0.001), **settings), batches


def assert_its_steps_were_whole(model: MLP, new: Callable[[], MLP], batch: Any) -> list[float]:
    """As many steps alone give the same bits; their losses."""
    alone = new()
    losses = [alone.train_step(*batch) for _ in range(model.steps)]
    for a, b in zip(model.weights + model.biases, alone.weights + alone.biases, strict=True):
        assert a.tobytes() == b.tobytes(), "two steps at a time, or half of one"
    return losses
