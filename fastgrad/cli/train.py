"""``fastgrad train``: an MLP on the handwritten digits, or on the user's own data.

In: arguments. Out: progress on stderr; on stdout what is compiled and how long it took, and in the
end five lines: accuracy, time a step beside numpy, digest of the weights, whether another number
of threads gives the same one, what to try next.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checkpoint import check_writable, digest
from .._mlp import ACTIVATIONS, MLP
from .._optim import SGD, Adam
from .._training import fit, is_finite
from ..datasets import DataError, load_data, load_digits, stratified_split
from . import _other_threads
from ._errors import UsageError

HELP = "train an MLP on the handwritten digits in the package, or on your own data"
# Digits, seeds 0-4: Adam(0.003), 60 epochs of batches of 32 give a median of 98.1 % held out, and
# no seed under 97.2 %; SGD(0.1, momentum 0.9) is 0.8 points lower.
LEARNING_RATES = {"adam": 0.003, "sgd": 0.1}
MOMENTUM = 0.9
HIDDEN = 128
_ACTIVATIONS = [name or "none" for name in ACTIVATIONS]


@dataclass(frozen=True)
class Job:
    """Data cut in two, and the model that is trained on the first part."""

    model: MLP
    x: NDArray[Any]
    y: NDArray[np.int64]
    held_x: NDArray[Any]
    held_y: NDArray[np.int64]
    epochs: int
    batch_size: int


def configure(parser: argparse.ArgumentParser) -> None:
    rates = " or ".join(f"{rate} for {name}" for name, rate in LEARNING_RATES.items())
    for option, kind, default, metavar, text in (
        ("--data", str, None, "FILE", ".npz with arrays x and y, or .csv with a header row; labels "
         "are class numbers 0, 1, 2, ... (default: the handwritten digits)"),
        ("--label", str, None, "COLUMN", "label column of a .csv (default: the one called label, y "
         "or target, or else the last)"),
        ("--layers", _layers, None, "N,N,...", "all sizes, inputs first, classes last (default: "
         f"the columns of the data, {HIDDEN}, its classes)"),
        ("--epochs", _positive, 60, "N", "passes over the data (default: 60)"),
        ("--batch-size", _positive, 32, "N", "rows a step (default: 32)"),
        ("--activation", str, "relu", "NAME", f"{', '.join(_ACTIVATIONS)} (default: relu)"),
        ("--optimizer", str, "adam", "NAME", f"adam, or sgd, momentum {MOMENTUM} (default: adam)"),
        ("--lr", _rate, None, "X", f"learning rate (default: {rates})"),
        ("--dtype", str, "float32", "NAME", "float32 or float64 (default: float32)"),
        ("--seed", _seed, 0, "N", "of the split, first weights and order of rows (default: 0)"),
        ("--save", str, None, "FILE", "write the trained model there, for fastgrad.MLP.load"),
    ):  # fmt: skip
        parser.add_argument(option, type=kind, default=default, metavar=metavar, help=text)


def run(args: argparse.Namespace) -> int:
    with _user_errors():
        _check_names(args)
        if args.save is not None:
            _check_save(args.save)
        job = _prepare(args)
    model = job.model
    print(f"{args.data or 'digits'}: {len(job.x)} rows to train on, {len(job.held_x)} held out, "
          f"a fifth of each class drawn with seed {args.seed}")  # fmt: skip
    _compile(job)
    watch = _other_threads.Watch()
    try:
        history = fit(model, job.x, job.y, job.epochs, job.batch_size, stop=_has_diverged)
    except KeyboardInterrupt:
        done = f"after {model.epochs} of {job.epochs} epochs; nothing was saved"
        raise KeyboardInterrupt(done) from None
    seconds, shared = watch.seconds(), watch.shared()
    if _has_diverged(history):
        raise UsageError(
            f"the loss is {history['loss'][-1]} after epoch {model.epochs}: training has diverged; "
            f"lower --lr (it was {model.optimizer.lr}) or scale the columns of the data"
        )
    if args.save is not None:
        try:
            model.save(args.save)
        except OSError as error:
            raise UsageError(f"--save {args.save}: {error.strerror or error}") from None
    try:
        for name, text in _summary(job, args.seed):
            _print(name, text)
        same, text = _other_threads.compare(job, seconds, shared)
    except KeyboardInterrupt:
        kept = f"the model is in {args.save}" if args.save is not None else "nothing was saved"
        raise KeyboardInterrupt(f"after training; {kept}") from None
    _print("threads", text)
    _print("next", _next(args, job))
    return 0 if same else 1


def _print(name: str, text: str) -> None:
    print(f"{name:<9} {text}", flush=True)


def _has_diverged(history: dict[str, list[float]]) -> bool:
    return not is_finite(history)


def _summary(job: Job, seed: int) -> Iterator[tuple[str, str]]:
    from .. import BITS_VERSION
    from .._kernels import target

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


def _check_names(args: argparse.Namespace) -> None:
    for option, value, known in (
        ("--activation", args.activation, _ACTIVATIONS),
        ("--optimizer", args.optimizer, list(LEARNING_RATES)),
        ("--dtype", args.dtype, ["float32", "float64"]),
    ):
        if value not in known:
            raise UsageError(f"{option} {value}: unknown; choose from {', '.join(known)}")


def _check_save(path: str) -> None:
    try:
        check_writable(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--save {path}: cannot be written: {reason}") from None


def _prepare(args: argparse.Namespace) -> Job:
    """Read, check and split the data, and make the model."""
    dtype = np.dtype(args.dtype)
    if args.data is None:
        if args.label is not None:
            raise UsageError("--label names a column of a .csv file; give one with --data")
        images, labels = load_digits()
        x = images.astype(dtype, copy=False)
    else:
        x, labels = load_data(args.data, dtype, args.label)
    classes = int(labels.max()) + 1
    sizes = args.layers or (x.shape[1], HIDDEN, max(classes, 2))
    if sizes[0] != x.shape[1]:
        raise UsageError(
            f"--layers {_join(sizes)}: starts with {sizes[0]} but the data has {x.shape[1]} columns"
        )
    if sizes[-1] < classes:
        raise UsageError(
            f"--layers {_join(sizes)}: ends with {sizes[-1]} but labels go up to {classes - 1}, "
            f"which takes {classes}"
        )
    _check_memory(sizes, dtype)
    train, held = stratified_split(labels, args.seed)
    rate = LEARNING_RATES[args.optimizer] if args.lr is None else args.lr
    optimizer = Adam(rate) if args.optimizer == "adam" else SGD(rate, MOMENTUM)
    activation = None if args.activation == "none" else args.activation
    model = MLP(sizes, activation, optimizer=optimizer, dtype=dtype, seed=args.seed)
    batch_size = min(args.batch_size, len(train))
    return Job(model, x[train], labels[train], x[held], labels[held], args.epochs, batch_size)


def _check_memory(sizes: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Parameters, gradients, two arrays of Adam, scratch, and the copies for the comparison."""
    parameters = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    needed = 12 * parameters * dtype.itemsize
    if hasattr(os, "sysconf"):
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > there:
            raise UsageError(
                f"--layers {_join(sizes)}: {parameters} parameters take about {needed >> 20} MiB; "
                f"this machine has {there >> 20} MiB"
            )


def _compile(job: Job) -> None:
    """Every shape of the run once, on a copy: what is not in numba's cache is compiled here."""
    from .._kernels import jit, target

    print(f"compiling for {target.describe()} ...", flush=True)
    model = copy.copy(job.model)
    for rows in {job.batch_size, len(job.x) % job.batch_size} - {0}:
        model.train_step(job.x[:rows], job.y[:rows])
    model.predict(job.held_x)
    print(
        f"ready: compiling, or loading from the cache, took {jit.compile_seconds():.2f} s",
        flush=True,
    )


def _compare_with_numpy(job: Job) -> str:
    from ._numpy_step import NumpyNet, race

    x, y = job.x[: job.batch_size], job.y[: job.batch_size]
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
        f"({_join(ours.sizes)}, batch {len(x)}, {ours.dtype.name}, {optimizer}; "
        f"medians of {rounds} rounds in turns; numpy on its default threads)"
    )


def _next(args: argparse.Namespace, job: Job) -> str:
    command = "python -m fastgrad"
    if args.save is not None:
        return f"{command} check"
    sizes = job.model.sizes
    wider = (sizes[0], *(2 * n for n in sizes[1:-1]), sizes[-1]) if len(sizes) > 2 else (
        sizes[0], HIDDEN, sizes[-1])  # fmt: skip
    data = f"--data {shlex.quote(args.data)} " if args.data is not None else ""
    label = f"--label {shlex.quote(args.label)} " if args.label is not None else ""
    return f"{command} train {data}{label}--layers {_join(wider)} --save model.npz"


@contextmanager
def _user_errors() -> Iterator[None]:
    """Bad data and settings, which the library reports in one line, end the command with code 2."""
    try:
        yield
    except DataError as error:
        raise UsageError(f"--data {error}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def _join(sizes: tuple[int, ...]) -> str:
    return ",".join(map(str, sizes))


def _layers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) < 2 or not all(_is_count(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: give two or more sizes such as 64,128,10")
    return tuple(map(int, parts))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:10]) and len(text) < 10


def _positive(text: str) -> int:
    if not _is_count(text):
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of 0 or more")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return rate
