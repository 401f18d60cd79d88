"""``fastgrad train``: an MLP on the handwritten digits, or on the user's own data.

In: arguments. Out: progress on stderr; on stdout what is compiled and how long it took, and in the
end five lines: accuracy, time a step beside numpy, digest of the weights, whether another number
of threads gives the same one, what to try next. Data and model are made in _prepare.py.
"""

from __future__ import annotations

import argparse
import copy
import os
import warnings
from contextlib import nullcontext

import numpy as np

from .._config import compiling
from .._files import check_writable
from .._kernels.runtime import compiler
from .._mlp.config import ACTIVATIONS, LOSSES
from .._mlp.fit import is_finite
from .._mlp.team import Team
from ..tables.target import FEW, REGRESSION, TASKS
from ..threads import num_threads
from . import _arguments, _other_threads, _plot, _ranks, _report, _tables, _terminal
from ._errors import UsageError
from ._job import HIDDEN, Job, user_errors
from ._prepare import LEARNING_RATES, MOMENTUM, SCHEDULES, prepare, resumed

HELP = "train an MLP on the handwritten digits in the package, or on your own data"
_ACTIVATIONS = [name or "none" for name in ACTIVATIONS]


def configure(parser: argparse.ArgumentParser) -> None:
    rates = f"{LEARNING_RATES['adam']}, or {LEARNING_RATES['sgd']} for sgd"
    for option, kind, default, metavar, text in (
        ("--data", str, None, "FILE", ".npz with arrays x and y, or a table: .csv, .tsv, .parquet "
         ".feather, also in a .gz or .zip (default: the handwritten digits)"),
        ("--validation", _arguments.validation, None, "PART", "fraction of the training rows that "
         "is kept apart, such as 0.1, or a file as --data: shown after every epoch"),
        ("--task", str, None, "TASK", "classification or regression (default: classification of "
         f"texts, and of up to {FEW} different whole numbers)"),
        ("--loss", str, None, "NAME", f"{', '.join(LOSSES)} (default: the first, or of a "
         "regression the last)"),
        ("--layers", _arguments.layers, None, "N,N,...", "sizes of the hidden layers, or none "
         f"(default: {HIDDEN}); or all sizes, from the inputs to the outputs"),
        ("--epochs", _arguments.positive, 60, "N", "passes over the data (default: 60)"),
        ("--patience", _arguments.positive, None, "N", "stop after N epochs without a lower "
         "validation loss, and keep the parameters of the best epoch"),
        ("--batch-size", _arguments.positive, 32, "N", "rows a step (default: 32)"),
        ("--activation", str, "relu", "NAME", f"{', '.join(_ACTIVATIONS)} (default: relu)"),
        ("--optimizer", str, "adam", "NAME", "adam, adamw, whose weight decay is "
         f"decoupled, or sgd, momentum {MOMENTUM} (default: adam)"),
        ("--lr", _arguments.rate, None, "X", f"learning rate (default: {rates})"),
        ("--weight-decay", _arguments.amount, 0.0, "X", "of the optimizer (default: 0)"),
        ("--max-grad-norm", _arguments.rate, None, "X", "scale the gradients of a step down to "
         "this norm where it is larger (default: never)"),
        ("--schedule", str, "constant", "NAME", "of the learning rate over the epochs: constant, "
         "cosine, or step, a tenth of it after each third of them (default: constant)"),
        ("--dtype", str, "float32", "NAME", "float32 or float64 (default: float32)"),
        ("--seed", _arguments.seed, 0, "N", "of the splits, first weights and order of rows "
         "(default: 0)"),
        ("--threads", _arguments.positive, None, "N", "that a call may use (default: those of "
         "FASTGRAD_NUM_THREADS, or one a core); changes no bit"),
        ("--save", str, None, "FILE", "write the trained model there, for fastgrad predict and "
         "fastgrad.MLP.load"),
        ("--block-rows", _arguments.positive, None, "N", "add a step's gradients in blocks of N "
         "rows, which ranks share out (default: in one; needed with --mpi)"),
        ("--plot", str, None, "FILE", "draw loss and accuracy by epoch; needs matplotlib"),
    ):  # fmt: skip
        parser.add_argument(option, type=kind, default=default, metavar=metavar, help=text)
    _tables.configure(parser)
    parser.add_argument(
        "--mpi", action="store_true", help="train on all ranks of mpiexec, to the bits of one "
        "process with the same --block-rows; needs mpi4py",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true", help="save after every epoch; if the file of --save is "
        "there, go on from it, to the same bits as without a break: give the same options again",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    with _ranks.team(args) as team, nullcontext() if args.threads is None else num_threads(
        args.threads
    ):  # fmt: skip
        return _run(args, team)


def _run(args: argparse.Namespace, team: Team) -> int:
    with user_errors():
        team.first(lambda: _check(args))
        job = resumed(args, team.every(lambda: prepare(args, team.size)), team)
    _introduce(args, job)
    team.every(lambda: _compile(job))
    seconds, shared = _train(args, job, team)
    return team.first(lambda: _report_on(args, job, seconds, shared), long=True)


def _report_on(args: argparse.Namespace, job: Job, seconds: float, shared: bool) -> int:
    """What is printed in the end, and the exit code."""
    try:
        for name, text in _report.early_stop(job):
            _terminal.say(text, name)
        if args.plot is not None:
            _plot.draw(job.model, args.plot, os.path.basename(args.data or "digits"))
            _terminal.say(args.plot, "plot")
        for name, text in _report.summary(job, args.seed):
            _terminal.say(text, name)
        same, text = _other_threads.compare(job, seconds, shared)
    except KeyboardInterrupt:
        kept = f"the model is in {args.save}" if args.save is not None else "nothing was saved"
        raise KeyboardInterrupt(f"after training; {kept}") from None
    _terminal.say(text, "threads")
    _terminal.say(_report.what_next(args, job), "next")
    return 0 if same else 1


def _check(args: argparse.Namespace) -> None:
    for option, value, known in (
        ("--task", args.task or TASKS[0], list(TASKS)),
        ("--loss", args.loss or next(iter(LOSSES)), list(LOSSES)),
        ("--activation", args.activation, _ACTIVATIONS),
        ("--optimizer", args.optimizer, list(LEARNING_RATES)),
        ("--schedule", args.schedule, list(SCHEDULES)),
        ("--dtype", args.dtype, ["float32", "float64"]),
    ):
        if value not in known:
            raise UsageError(f"{option} {value}: unknown; choose from {', '.join(known)}")
    if args.patience is not None and args.validation is None:
        raise UsageError("--patience needs --validation, the rows whose loss it watches")
    if args.resume and args.save is None:
        raise UsageError("--resume needs --save FILE, the file to go on from")
    if args.plot is not None:
        _plot.check(args.plot)
    for option, path in (("--save", args.save), ("--plot", args.plot)):
        if path is not None:
            try:
                check_writable(path)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise UsageError(f"{option} {path}: cannot be written: {reason}") from None


def _introduce(args: argparse.Namespace, job: Job) -> None:
    apart = f"{len(job.validation[0])} to validate with, " if job.validation is not None else ""
    for line in job.first_lines:
        _terminal.say(line)
    each = "a fifth" if job.target.task == REGRESSION else "a fifth of each class"
    _terminal.say(
        f"{args.data or 'digits'}: {len(job.x)} rows to train on, {apart}{len(job.held_x)} held "
        f"out, {each} drawn with seed {args.seed}"
    )
    for line in job.lines:
        _terminal.say(line)
    if args.mpi:
        of = "1 rank" if job.ranks == 1 else f"{job.ranks} ranks"
        _terminal.say(f"{of}, blocks of {job.block_rows} rows")
    if job.start is not None:
        done = f"after epoch {job.model.epochs} of {job.epochs}"
        left = "goes on" if job.left(job.model) else "nothing is left"
        _terminal.say(f"{args.save}: {left} {done}")


def _compile(job: Job) -> None:
    """Every shape of the run once, on a copy: what is not in numba's cache is compiled here."""
    print(f"{compiling()} ...", flush=True)
    model = copy.copy(job.model)
    with _terminal.compiling(_terminal.KERNELS):
        for rows in {job.batch_size, len(job.x) % job.batch_size} - {0}:
            weights = None if job.weights is None else np.ones(rows)
            model.train_step(job.x[:rows], job.y[:rows], weights)
        if job.block_rows is not None:
            model.loss_and_grads(job.x[: job.block_rows], job.y[: job.block_rows])
            model.update()
        model.predict(job.held_x)
    print(
        f"ready: compiling, or loading from the cache, took {compiler.seconds():.2f} s",
        flush=True,
    )


def _train(args: argparse.Namespace, job: Job, team: Team) -> tuple[float, bool]:
    """Fit and save -> seconds that it took, whether its calls were offered to several threads."""
    model, watch = job.model, _other_threads.Watch()
    checkpoint = args.save if args.resume else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what is an error here
            warnings.filterwarnings("ignore", "MLP.fit: the last call stopped early")  # it is said
            history = model._fit(
                job.x, job.y, job.left(model), job.batch_size, job.validation,
                patience=job.patience, schedule=job.schedule, checkpoint=checkpoint,
                total=job.epochs, weights=job.weights, block_rows=job.block_rows, comm=team.comm,
            )  # fmt: skip
        if _has_diverged(history):
            raise UsageError(
                f"the loss is {history['loss'][-1]} after epoch {model.epochs}: training has "
                f"diverged; lower --lr (it was {model.optimizer.lr}) or scale the columns of the "
                f"data"
            )
        seconds, shared = watch.seconds(), watch.shared()
        if args.save is not None and checkpoint is None:
            path = args.save
            team.first(lambda: model.save(path))
    except OSError as error:
        raise UsageError(f"--save {args.save}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        kept = "nothing was saved"
        if checkpoint is not None and os.path.exists(checkpoint):
            kept = f"the last one saved is in {checkpoint}"
        done = f"after {model.epochs} of {job.epochs} epochs; {kept}"
        raise KeyboardInterrupt(done) from None
    return seconds, shared


def _has_diverged(history: dict[str, list[float]]) -> bool:
    return not is_finite(history)
