"""Which way a model's steps go: its table's words, written as a trial of all ways would."""

from __future__ import annotations

from fastgrad import MLP
from fastgrad._kernels.codegen import structs
from fastgrad._kernels.gemm import thresholds
from fastgrad._kernels.layer.args import Net

WORDS = structs.names(Net)


def word(model: MLP, name: str, value: int | None = None) -> int:
    words = model._step._table
    if value is not None:
        words[WORDS.index(name)] = value
    return int(words[WORDS.index(name)])


def send(model: MLP, joined: bool) -> None:
    """Steps go in two joins from now on, or on one thread."""
    word(model, "passes", word(model, "passes") or 1)  # those at the beginning are tried anew
    word(model, "tried", thresholds.TRIALS + thresholds.JOINED_TRIALS)
    word(model, "alone_ns", 1 << 48)
    word(model, "joined_ns", 0 if joined else 1 << 49)
