"""The job once more with another number of threads: are the bits the same?

In: a trained job and how long that took. Out: whether the digest of the weights, and the logits of
some rows, came out the same, and the line that says so. A long job is repeated in part.
"""

from __future__ import annotations

import copy
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._kernels.runtime.pool_words import TICKET
from .._kernels.runtime.table import TABLE
from .._mlp import MLP
from .._mlp.checkpoint import digest
from ..threads import get_num_threads, num_threads
from ._job import Job
from ._untrained import untrained

_fit = MLP._fit
LIMIT = 5.0  # seconds that the other run may take; it ends with the epoch it is in
LOGITS = 1024  # rows whose logits are compared: products that threads share in most jobs


class Watch:
    """From its making on: the seconds, and whether any call was offered to several threads."""

    def __init__(self) -> None:
        self._start, self._jobs = time.perf_counter(), _jobs()

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def shared(self) -> bool:
        return _jobs() != self._jobs


def _jobs() -> int:
    """The number of the pool's last job, of the whole process."""
    return int(TABLE[TICKET]) >> 32


class Run(NamedTuple):
    """A model, the number of threads that it was trained with, and what they had to do."""

    model: MLP
    threads: int
    shared: bool  # whether calls of its steps were offered to several threads
    ranks: int = 1


def compare(job: Job, seconds: float, shared: bool) -> tuple[bool, str]:
    """job.model was trained, in ``seconds``, with the number of threads in force."""
    run = Run(job.model, get_num_threads(), shared, job.ranks)
    start = _start(job)
    steps = max(1, job.model.steps - start.steps)
    step = seconds / steps * (run.threads if shared else 1)  # of one thread, at most
    rows = _rows_within_limit(job, step)
    epochs = job.left(start) if rows == len(job.x) else 1
    again = _train(job, rows, epochs, 1 if run.threads > 1 else 2, LIMIT)
    if again.model.steps < run.model.steps:
        run = _train(job, rows, again.model.epochs - start.epochs, run.threads)
    first, second = sorted((run, again), key=lambda r: (r.ranks, r.threads))
    return _verdict(job, first, second, rows)


def _start(job: Job) -> MLP:
    """A model that begins where job.model began."""
    return untrained(job.model) if job.start is None else copy.copy(job.start)


def _rows_within_limit(job: Job, step: float) -> int:
    """All rows, or as many as make an epoch of steps of ``step`` seconds no longer than LIMIT."""
    steps = max(1, int(LIMIT / step))
    return min(len(job.x), steps * job.batch_size)


def _train(job: Job, rows: int, epochs: int, threads: int, limit: float = np.inf) -> Run:
    """On the first ``rows``, for ``epochs`` from the start, until ``limit`` seconds are over."""
    model, watch = _start(job), Watch()
    validation = job.validation if job.patience is not None else None  # else it changes nothing
    weights = None if job.weights is None else job.weights[:rows]
    if weights is not None and not weights.any():  # rows of a part of the job: all count alike
        weights = None
    with num_threads(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the job itself has said what is to be said
        _fit(
            model, job.x[:rows], job.y[:rows], epochs, job.batch_size, validation, progress=False,
            patience=job.patience, schedule=job.schedule, block_rows=job.block_rows,
            callback=lambda history: watch.seconds() > limit, weights=weights,
        )  # fmt: skip
    return Run(model, threads, watch.shared())


def _verdict(job: Job, few: Run, many: Run, rows: int) -> tuple[bool, str]:
    x = job.x[:LOGITS]
    watch = Watch()
    logits = _logits(few, x), _logits(many, x)
    note = _note(job, many, watch.shared())
    here = _part(job, many.model, rows)
    a, b = digest(few.model), digest(many.model)
    one = _threads(few.threads)
    other = f"{many.ranks} ranks" if many.ranks > 1 else str(many.threads)
    if a != b:
        what = f"{a} with {one}, {b} with {other}{here}"
    elif not np.array_equal(logits[0], logits[1]):
        what = f"the logits of {len(x)} rows with {one} and with {other}{here}"
    else:
        return True, (
            f"the same with {one} and with {other}{here}: {a}, and the logits of {len(x)} rows "
            f"to the bit ({note})"
        )
    return False, f"DIFFERENT: {what}: a bug of fastgrad's, please report it ({note})"


def _note(job: Job, many: Run, logits_shared: bool) -> str:
    if many.shared:
        whose = "its steps" if job.validation is None else "its steps or validation"
        return f"calls of {whose} were offered to {_threads(many.threads)}"
    if logits_shared:
        return (
            f"its steps are too small to share; those logits were offered to "
            f"{_threads(many.threads)}"
        )
    return "no call was shared between threads"


def _part(job: Job, model: MLP, rows: int) -> str:
    """Which part of the job the two models have behind them, or "" for all of it."""
    since, steps = "", model.steps
    if job.start is not None:
        since, steps = f" since epoch {job.start.epochs}", steps - job.start.steps
    if rows < len(job.x):
        counted = "1 step" if steps == 1 else f"{steps} steps"
        return f"{since} after {counted} on the first {rows} rows"
    whole = job.model.epochs  # fewer than job.epochs if it has stopped early
    done = f" after the first {model.epochs} of {whole} epochs" if model.epochs < whole else ""
    return since + done


def _threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"


def _logits(run: Run, x: NDArray[Any]) -> NDArray[Any]:
    """As integers of the same bits, all NaNs the same."""
    with num_threads(run.threads):
        logits = run.model.forward(x)
    plain = np.where(np.isnan(logits), np.nan, logits).astype(logits.dtype)
    return plain.view(np.uint32 if plain.itemsize == 4 else np.uint64)
