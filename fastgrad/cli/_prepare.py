"""What there is to train: arguments in; the data, cut, and a model, new or resumed, out."""

from __future__ import annotations

import argparse
import copy
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mlp import MLP
from .._mlp.config import LossName
from .._mlp.team import Team
from .._ops.optimizers import SGD, Adam, AdamW, Optimizer, untold
from .._ops.schedules import Schedule, cosine_schedule, step_schedule
from ..datasets import DataError, stratified_split, validation_split
from ..tables.target import CLASSIFICATION, Target
from . import _data, _resume
from ._arguments import joined
from ._data import Data, Part
from ._errors import UsageError
from ._job import HIDDEN, Job
from ._untrained import begin

Rows = NDArray[np.int64]
SOFTMAX: LossName = "softmax_cross_entropy"
BINARY: LossName = "binary_cross_entropy_with_logits"
MSE: LossName = "mse"

# Digits, seeds 0-4: Adam(0.003), 60 epochs of batches of 32 give a median of 98.1 % held out, and
# no seed under 97.2 %; SGD(0.1, momentum 0.9) is 0.8 points lower.
LEARNING_RATES = {"adam": 0.003, "adamw": 0.003, "sgd": 0.1}
MOMENTUM = 0.9
_KINDS: dict[str, tuple[type[Optimizer], dict[str, float]]] = {
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "sgd": (SGD, {"momentum": MOMENTUM}),
}
SCHEDULES: dict[str, Callable[[float, int], Schedule]] = {
    "constant": lambda rate, epochs: lambda epoch: rate,
    "cosine": cosine_schedule,
    "step": lambda rate, epochs: step_schedule(rate, -(-epochs // 3)),
}


def prepare(args: argparse.Namespace, ranks: int = 1) -> Job:
    """Read, check and split the data, and make the model."""
    dtype = np.dtype(args.dtype)
    data = _data.read(args, dtype)
    loss = _loss(args, data.target)
    train, held = _held_out(args, data)
    apart = None
    if isinstance(args.validation, Fraction):
        train, apart = _apart(train, data.strata, args)
    data.fit(train)
    outputs = 1 if loss == BINARY else data.target.outputs
    sizes = _sizes(args.layers, data.inputs, outputs)
    _check_memory(sizes, dtype)
    validation = None if apart is None else data.part(apart)
    if isinstance(args.validation, str):
        validation = _validation_file(args.validation, data)
    rate = LEARNING_RATES[args.optimizer] if args.lr is None else args.lr
    kind, more = _KINDS[args.optimizer]
    optimizer = untold(kind, {"lr": rate, "weight_decay": args.weight_decay, **more})
    activation = None if args.activation == "none" else args.activation
    model = MLP(
        sizes, activation, loss, optimizer, dtype, args.seed, max_grad_norm=args.max_grad_norm
    )
    begin(model, data.table)
    x, y, weights = data.part(train)
    held_x, held_y, held_weights = data.part(held)
    for name, part in (("to train on", weights), ("that are held out", held_weights)):
        _check_count(f"{args.data}: --weights {args.weights}", name, part)
    return Job(
        model, x, _as_learned(y, loss, dtype), held_x, _as_learned(held_y, loss, dtype),
        _to_validate(args, validation, loss, dtype),
        args.epochs, min(args.batch_size, len(train)), args.patience,
        SCHEDULES[args.schedule](rate, args.epochs), start=None, target=data.target,
        first_lines=tuple(data.first_lines()), lines=(*data.lines(), *_data.rare(data, held)),
        weights=weights, held_weights=held_weights,
        block_rows=args.block_rows, ranks=ranks,
    )  # fmt: skip


def resumed(args: argparse.Namespace, job: Job, team: Team) -> Job:
    """The job with the model of the file of --resume, which rank 0 reads, if there is one."""

    def load() -> MLP | None:
        return _resume.load(args.save, job) if os.path.exists(args.save) else None

    model = team.first(load) if args.resume else None
    return job if model is None else replace(job, model=model, start=copy.copy(model))


def _loss(args: argparse.Namespace, target: Target) -> LossName:
    """The loss that was asked for, or the one that the task has; UsageError where they disagree."""
    allowed: tuple[LossName, ...] = (MSE,)
    if target.task == CLASSIFICATION:
        allowed = (SOFTMAX, BINARY) if len(target.classes) == 2 else (SOFTMAX,)
    if args.loss is None:
        return allowed[0]
    for name in allowed:
        if name == args.loss:
            return name
    words = f"a {target.task}"
    if target.task == CLASSIFICATION:
        words += f" of {len(target.classes)} classes"
    raise UsageError(f"--loss {args.loss}: for {words} choose {' or '.join(allowed)}")


def _as_learned(y: NDArray[Any], loss: LossName, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Class numbers (N,); else numbers (N, 1) as fit makes them, and as it notes them."""
    return y if loss == SOFTMAX else y.astype(dtype)[:, None]


def _to_validate(
    args: argparse.Namespace, part: Part | None, loss: LossName, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], ...] | None:
    if part is None:
        return None
    x, y, weights = part
    _check_count(f"--validation {args.validation}", "to validate with", weights)
    return x, _as_learned(y, loss, dtype), *(() if weights is None else (weights,))


def _check_count(what: str, which: str, weights: NDArray[Any] | None) -> None:
    if weights is not None and not weights.any():
        raise UsageError(f"{what}: is 0 in all {len(weights)} rows {which}")


def _sizes(given: tuple[int, ...] | None, inputs: int, outputs: int) -> tuple[int, ...]:
    """``given``: the hidden layers; or all, where it begins with inputs and ends with outputs."""
    if given is None:
        given = (HIDDEN,)
    if len(given) > 1 and (given[0], given[-1]) == (inputs, outputs):
        return given
    return (inputs, *given, outputs)


def _held_out(args: argparse.Namespace, data: Data) -> tuple[Rows, Rows]:
    try:
        return stratified_split(data.strata, args.seed)
    except ValueError as error:
        if data.target.task == CLASSIFICATION:
            raise UsageError(str(error)) from None
        n = len(data.strata)
        raise UsageError(f"{n} rows are too few to hold out one in 5") from None


def _apart(train: Rows, strata: Rows, args: argparse.Namespace) -> tuple[Rows, Rows]:
    try:
        rest, apart = validation_split(strata[train], args.validation, args.seed)
    except ValueError as error:
        _, _, words = str(error).partition(": ")
        raise UsageError(f"--validation {float(args.validation):g}: {words}") from None
    return train[rest], train[apart]


def _validation_file(path: str, data: Data) -> Part:
    try:
        return data.validation(path)
    except DataError as error:
        raise UsageError(f"--validation {error}") from None


def _check_memory(sizes: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Parameters, gradients, two arrays of Adam, scratch, and the copies for the comparison."""
    parameters = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    needed = 12 * parameters * dtype.itemsize
    if hasattr(os, "sysconf"):
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > there:
            raise UsageError(
                f"--layers {joined(sizes)}: {parameters} parameters take about {needed >> 20} MiB; "
                f"this machine has {there >> 20} MiB"
            )
