"""What train prints in the end: a trained job in, lines ``(name, text)`` out."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Iterator

import numpy as np

from .._bench import compare
from .._kernels.codegen import target
from .._mlp.checkpoint import digest
from ..tables.target import REGRESSION
from . import _numpy_step
from ._arguments import joined
from ._job import HIDDEN, Job
from ._untrained import untrained

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
    yield _error(job, seed) if job.target.task == REGRESSION else _accuracy(job, seed)
    yield "step", _compare_with_numpy(job)
    where = "every machine" if target.current().isa.fma else "machines without FMA, as this one"
    yield (
        "weights",
        f"{digest(job.model)} (BITS_VERSION {target.BITS_VERSION}: the same on {where})",
    )


def _accuracy(job: Job, seed: int) -> tuple[str, str]:
    hits = job.model.predict(job.held_x) == job.held_y.reshape(-1)
    right, held = int(np.count_nonzero(hits)), len(hits)
    by = "" if job.held_weights is None else ", by weight"
    return (
        "accuracy",
        (
            f"{100 * np.average(hits, weights=job.held_weights):.2f} % of the held-out fifth{by}: "
            f"{right} of {held} "
            f"(trained on {len(job.y)}, tested on {held}, seed {seed})"
        ),
    )


def _error(job: Job, seed: int) -> tuple[str, str]:
    """In the target's own unit, beside that of the mean of the training rows: the scale's R2."""
    target = job.target
    truth = target.decode(job.held_y)
    error = target.decode(job.model.predict(job.held_x)) - truth
    weights = job.held_weights
    square = float(np.average(error * error, weights=weights))
    plain = float(np.average((truth - target.center) ** 2, weights=weights))
    by = "" if weights is None else ", by weight"
    return (
        "error",
        (
            f"{math.sqrt(square):.4g} root mean square, "
            f"{float(np.average(np.abs(error), weights=weights)):.4g} mean absolute, of the "
            f"held-out fifth{by}; {math.sqrt(plain):.4g} for their mean in training, "
            f"R2 {1 - square / plain if plain else math.nan:.3f} "
            f"(trained on {len(job.y)}, tested on {len(truth)}, seed {seed})"
        ),
    )


def what_next(args: argparse.Namespace, job: Job) -> str:
    """A command that goes on from here."""
    command = "python -m fastgrad"
    if args.save is not None:
        if job.model.table is not None and args.data is not None:
            return f"{command} predict {shlex.quote(args.save)} --data {shlex.quote(args.data)}"
        return f"{command} check"
    sizes = job.model.sizes
    wider = (sizes[0], *(2 * n for n in sizes[1:-1]), sizes[-1]) if len(sizes) > 2 else (
        sizes[0], HIDDEN, sizes[-1])  # fmt: skip
    data = f"--data {shlex.quote(args.data)} " if args.data is not None else ""
    return f"{command} train {data}{_options(args)}--layers {joined(wider)} --save model.npz"


def _options(args: argparse.Namespace) -> str:
    """Those of the table, once more."""
    given = {
        "--target": args.target,
        "--weights": args.weights,
        "--task": args.task,
        "--columns": args.columns and _names(args.columns),
        "--drop": _names(args.drop) if args.drop else None,
        "--separator": args.separator,
        "--decimal": args.decimal,
        "--loss": args.loss,
    }
    words = [f"{name} {shlex.quote(value)} " for name, value in given.items() if value is not None]
    if args.header is not None:
        words.append("--header " if args.header else "--no-header ")
    if args.no_standardize:
        words.append("--no-standardize ")
    return "".join(words)


def _names(names: tuple[str, ...]) -> str:
    return ",".join(f'"{name}"' if "," in name else name for name in names)


def _compare_with_numpy(job: Job) -> str:
    x, y = job.x[: job.batch_size], job.y[: job.batch_size]
    model = untrained(job.model)
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
