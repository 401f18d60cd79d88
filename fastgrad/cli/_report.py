"""What train prints in the end: a trained job in, lines ``(name, text)`` out."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

import numpy as np

from .._bench import compare
from .._kernels.codegen import target
from .._mlp.checkpoint import digest
from . import _numpy_step, _other_threads
from ._arguments import joined
from ._job import HIDDEN, Job

ROUNDS, SAMPLE = 3, 0.03  # seconds; above 0.5 ms numpy against itself is within 1 %


def early_stop(job: Job) -> Iterator[tuple[str, str]]:
    """Which epoch's parameters the model has, if --patience was given."""
    early = job.model._run.early
    if early is None:
        return
    if early.best is None:
        yield "best", "no epoch: the validation loss never was a number"
        return
    text = f"epoch {early.best_epoch}, validation loss {early.best_loss:.4f}: its parameters stay"
    if job.patience is not None and early.waited >= job.patience:
        text += f"; stopped after epoch {job.model.epochs}"
    yield "best", text


def summary(job: Job, seed: int) -> Iterator[tuple[str, str]]:
    right = int(np.count_nonzero(job.model.predict(job.held_x) == job.held_y))
    held = len(job.held_y)
    yield (
        "accuracy",
        (
            f"{100 * right / held:.2f} % of the held-out fifth: {right} of {held} "
            f"(trained on {len(job.y)}, tested on {held}, seed {seed})"
        ),
    )
    yield "step", _compare_with_numpy(job)
    where = "every machine" if target.current().isa.fma else "machines without FMA, as this one"
    yield (
        "weights",
        f"{digest(job.model)} (BITS_VERSION {target.BITS_VERSION}: the same on {where})",
    )


def what_next(args: argparse.Namespace, job: Job) -> str:
    """A command that goes on from here."""
    command = "python -m fastgrad"
    if args.save is not None:
        return f"{command} check"
    sizes = job.model.sizes
    wider = (sizes[0], *(2 * n for n in sizes[1:-1]), sizes[-1]) if len(sizes) > 2 else (
        sizes[0], HIDDEN, sizes[-1])  # fmt: skip
    data = f"--data {shlex.quote(args.data)} " if args.data is not None else ""
    label = f"--label {shlex.quote(args.label)} " if args.label is not None else ""
    return f"{command} train {data}{label}--layers {joined(wider)} --save model.npz"


def _compare_with_numpy(job: Job) -> str:
    x, y = job.x[: job.batch_size], job.y[: job.batch_size]
    model = _other_threads.untrained(job.model)
    ours, theirs, fault = _numpy_step.prepare(model, x, y)
    if fault:
        return f"not timed: {fault}"
    c = compare(ours, theirs, ROUNDS, SAMPLE)
    optimizer = type(model.optimizer).__name__
    return (
        f"{1e6 * c.ours:.0f} us beside {1e6 * c.theirs:.0f} us in plain numpy {np.__version__} "
        f"({joined(model.sizes)}, batch {len(x)}, {model.dtype.name}, {optimizer}; medians of "
        f"{ROUNDS} rounds in turns; numpy on its default threads; more: fastgrad bench)"
    )
