"""What train prints in the end: a trained job in, lines ``(name, text)`` out."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

import numpy as np

from .._checkpoint import digest
from .._run import run_of
from . import _other_threads
from ._arguments import joined
from ._job import HIDDEN, Job


def early_stop(job: Job) -> Iterator[tuple[str, str]]:
    """Which epoch's parameters the model has, if --patience was given."""
    early = run_of(job.model).early
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
    from .. import BITS_VERSION
    from .._kernels.codegen import target

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
    yield "weights", f"{digest(job.model)} (BITS_VERSION {BITS_VERSION}: the same on {where})"


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
    from ._numpy_step import ACTIVATIONS, NumpyNet, race

    x, y = job.x[: job.batch_size], job.y[: job.batch_size]
    if job.model.activation not in ACTIVATIONS:
        return f"not timed: there is no {job.model.activation} in plain numpy's step"
    ours = _other_threads.untrained(job.model)
    theirs = NumpyNet(ours)
    losses = ours.train_step(x, y), theirs.step(x, y)
    limit = 0.05 if ours.activation == "gelu" else 1e-3  # numpy's gelu is the tanh form
    if not np.allclose(losses[0], losses[1], rtol=limit, atol=1e-6, equal_nan=True):
        return f"not timed: the first loss is {losses[0]:.6g} but {losses[1]:.6g} in plain numpy"
    mine, numpy, rounds = race(lambda: ours.train_step(x, y), lambda: theirs.step(x, y))
    optimizer = type(ours.optimizer).__name__
    return (
        f"{1e6 * mine:.0f} us beside {1e6 * numpy:.0f} us in plain numpy {np.__version__} "
        f"({joined(ours.sizes)}, batch {len(x)}, {ours.dtype.name}, {optimizer}; "
        f"medians of {rounds} rounds in turns; numpy on its default threads)"
    )
