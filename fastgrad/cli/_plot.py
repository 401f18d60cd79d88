"""``train --plot``: a model's history in, a picture out. Only this loads matplotlib."""

from __future__ import annotations

import math
import os
from typing import Any

from .._files import write_atomically
from .._mlp import MLP
from ._errors import UsageError

_LINES = {  # list of the history -> label, colour
    "loss": ("training", "C0"),
    "validation_loss": ("validation", "C1"),
    "validation_accuracy": ("validation", "C1"),
    "learning_rate": (None, "C2"),
}
_PANELS = (  # title, lists of the history, logarithmic
    ("loss", ("loss", "validation_loss"), True),
    ("accuracy", ("validation_accuracy",), False),
    ("learning rate", ("learning_rate",), False),
)


def check(path: str) -> None:
    """UsageError now, before the training, where draw could not make a picture of that kind."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise UsageError("--plot needs matplotlib: pip install matplotlib") from None
    if _kind(path) not in FigureCanvasAgg.filetypes:
        raise UsageError(f"--plot {path}: unknown kind of picture; use .png, .svg or .pdf")


def draw(model: MLP, path: str) -> None:
    """Loss, accuracy and a learning rate that changes, by epoch."""
    from matplotlib.figure import Figure

    run = model._run
    history = run.history
    panels = [panel for panel in _PANELS if any(_has_news(name, history) for name in panel[1])]
    figure = Figure(figsize=(1 + 4 * len(panels), 3.6), layout="constrained")
    for number, (title, names, logarithmic) in enumerate(panels):
        axes: Any = figure.add_subplot(1, len(panels), number + 1)
        for name in names:
            values = history.get(name)
            if values:
                label, color = _LINES[name]
                axes.plot(range(1, len(values) + 1), values, label=label, color=color)
        if run.early is not None and run.early.best is not None and title != "learning rate":
            axes.axvline(run.early.best_epoch, color="0.6", linestyle=":", label="best epoch")
        if logarithmic and all(v > 0 for n in names for v in history.get(n, ()) if v == v):
            axes.set_yscale("log")
        axes.set(title=title, xlabel="epoch")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False)
    try:
        write_atomically(path, lambda file: figure.savefig(file, format=_kind(path), dpi=150))
    except OSError as error:
        raise UsageError(f"--plot {path}: {error.strerror or error}") from None


def _has_news(name: str, history: dict[str, list[float]]) -> bool:
    """Whether the list has anything to see: a learning rate that stays the same has not."""
    finite = [value for value in history.get(name, ()) if math.isfinite(value)]
    return bool(finite) and (name != "learning_rate" or min(finite) < max(finite))


def _kind(path: str) -> str:
    return os.path.splitext(path)[1][1:].lower()
