"""The model in the file of ``--save F --resume``: the one that this run would have made so far."""

from __future__ import annotations

from collections.abc import Iterator

from .._mlp import MLP
from .._mlp.config import SETTINGS
from .._mlp.history import Fit, fingerprint
from ..tables import Table
from ._errors import UsageError
from ._job import Job


def load(path: str, job: Job) -> MLP:
    """It, or a UsageError for a file of a run with other options or data."""
    try:
        model = MLP.load(path)
    except OSError as error:
        raise UsageError(f"--save {path}: {error.strerror or error}") from None
    except ValueError as error:
        words = str(error).removeprefix(f"MLP.load: {path}: ")
        raise UsageError(f"--save {path}: cannot be resumed: {words}") from None
    for there, here in _differences(model, job):
        raise UsageError(
            f"--resume: {path} was trained {there}, but this run has {here}; "
            f"give the same options again, or save to another file"
        )
    return model


def _differences(model: MLP, job: Job) -> Iterator[tuple[str, str]]:
    """(what the model was trained with, what this run has). Old files do not note all of it."""
    for name in SETTINGS:
        there, here = getattr(model, name), getattr(job.model, name)
        if there != here:
            yield f"with {name} {there}", str(here)
    if model.table != job.model.table:
        yield "on another table, or with other options of it", _of(job.model.table)
    run = model._run
    if run.last_fit is not None:
        now = Fit.of(job.x, job.y, job.batch_size, True, *job.counting, block_rows=job.block_rows)
        for name, then, here in run.last_fit.differences(now):
            yield (f"on other data, {then}" if name == "data" else f"with {name} {then}"), here
    rates = run.history.get("learning_rate", [])
    if len(rates) == model.epochs:  # else some were before there were histories
        for epoch, there in enumerate(rates[: job.epochs]):
            here = job.schedule(epoch)
            if there != here:
                yield f"with the learning rate {there} in epoch {epoch + 1}", str(here)
    if rates and (run.early is None) != (job.patience is None):
        there, here = "without patience", f"patience {job.patience}"
        yield (there, here) if run.early is None else ("with patience", "none")
    if run.early is not None and job.validation is not None:
        if run.early.validation != fingerprint(*job.validation):
            yield "with other rows to validate with", f"{len(job.validation[0])} of its own"


def _of(table: Table | None) -> str:
    """A table, as the columns that are learned from."""
    if table is None or table.columns is None:
        return "no table"
    return f"{len(table.columns)} columns as {table.inputs} numbers"
