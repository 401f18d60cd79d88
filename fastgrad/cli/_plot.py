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


def draw(model: MLP, path: str, data: str) -> None:
    """Loss, accuracy and a learning rate that changes, by epoch; what the best epoch reached.

    data: the name of what the model was trained on, for the title.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    run = model._run
    history = run.history
    panels = [panel for panel in _PANELS if any(_has_news(name, history) for name in panel[1])]
    best = run.early.best_epoch if run.early is not None and run.early.best is not None else None
    figure = Figure(figsize=(1 + 4 * len(panels), 3.9), layout="constrained")
    figure.suptitle(_title(data, history, best), x=0.01, ha="left", fontweight="bold")
    for number, (title, names, logarithmic) in enumerate(panels):
        axes: Any = figure.add_subplot(1, len(panels), number + 1)
        for name in names:
            values = history.get(name)
            if values:
                label, color = _LINES[name]
                axes.plot(range(1, len(values) + 1), values, label=label, color=color)
                if best is not None and name.startswith("validation"):
                    axes.scatter([best], [values[best - 1]], color=color, zorder=3)
        if best is not None and title != "learning rate":
            axes.axvline(best, color="0.6", linestyle=":", label="best epoch")
        if logarithmic and all(v > 0 for n in names for v in history.get(n, ()) if v == v):
            axes.set_yscale("log")
        axes.set(title=title, xlabel="epoch")
        axes.grid(color="0.9")
        if title == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False)
    try:
        write_atomically(path, lambda file: figure.savefig(file, format=_kind(path), dpi=150))
    except OSError as error:
        raise UsageError(f"--plot {path}: {error.strerror or error}") from None


def _title(data: str, history: dict[str, list[float]], best: int | None) -> str:
    """Of the best epoch, where there was early stopping, else of the last: loss and accuracy."""
    epochs = len(history["loss"])
    at = (best or epochs) - 1
    words = [f"best epoch {best} of {epochs}" if best else f"epoch {epochs}"]
    for name, shown in (("loss", "{:.3g}"), ("accuracy", "{:.1%}")):
        values = history.get(f"validation_{name}") or ()
        if len(values) > at:
            words.append(f"validation {name} {shown.format(values[at])}")
    if len(words) == 1:
        words.append(f"training loss {history['loss'][at]:.3g}")
    return f"{data}: {', '.join(words)}"


def _has_news(name: str, history: dict[str, list[float]]) -> bool:
    """Whether the list has anything to see: a learning rate that stays the same has not."""
    finite = [value for value in history.get(name, ()) if math.isfinite(value)]
    return bool(finite) and (name != "learning_rate" or min(finite) < max(finite))


def _kind(path: str) -> str:
    return os.path.splitext(path)[1][1:].lower()
