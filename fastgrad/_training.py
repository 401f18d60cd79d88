"""The training loop: a model and data in, a history out; and the progress that people see."""

from __future__ import annotations

import math
import operator
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .datasets._draws import SHUFFLE, permutation

if TYPE_CHECKING:
    from ._mlp import MLP

Array = NDArray[Any]
History = dict[str, list[float]]
_LINES = 10  # progress lines of a whole run where there is no terminal


def fit(
    model: MLP,
    x: Array,
    y: Array,
    epochs: int,
    batch_size: int,
    validation: tuple[Array, Array] | None = None,
    progress: bool = True,
    stop: Callable[[History], bool] | None = None,
) -> History:
    """MLP.fit. ``stop`` sees the history after every epoch and ends the run by returning True.

    The order of an epoch is drawn from the seed and the number of epochs the model has behind it,
    so training for 2 and then 3 epochs gives the bits of training for 5. The last batch is smaller
    where the rows do not divide.
    """
    caller = "MLP.fit"
    epochs, batch_size = (
        _count(caller, "epochs", epochs, 0),
        _count(caller, "batch_size", batch_size),
    )
    x = np.ascontiguousarray(model._check_x(caller, x))
    y = np.ascontiguousarray(model._check_y(caller, y, len(x)))
    if validation is not None:
        validation = _check_validation(model, validation)
    history: History = {"loss": []}
    rows = min(batch_size, len(x))
    batch_x, batch_y = (
        np.empty((rows, *x.shape[1:]), x.dtype),
        np.empty((rows, *y.shape[1:]), y.dtype),
    )
    with Progress(epochs, "training", progress) as shown:
        for _ in range(epochs):
            order = permutation(len(x), model.seed, SHUFFLE, model.epochs)
            total = 0.0
            for start in range(0, len(x), rows):
                part = order[start : start + rows]
                bx, by = batch_x[: len(part)], batch_y[: len(part)]
                np.take(x, part, axis=0, out=bx, mode="clip")  # "raise" would copy through a buffer
                np.take(y, part, axis=0, out=by, mode="clip")
                total += model._step(bx, by) * len(part)
            model.epochs += 1
            history["loss"].append(total / len(x))
            if validation is not None:
                for name, value in evaluate(model, *validation).items():
                    history.setdefault(f"validation_{name}", []).append(value)
            shown.update(history)
            if stop is not None and stop(history):
                break
    return history


def evaluate(model: MLP, x: Array, y: Array) -> dict[str, float]:
    """x (N, K) and its targets -> {"loss": ...} and, for class labels or rows, "accuracy"."""
    from ._mlp import LOSSES

    logits = model.forward(x)
    target = model._check_y("evaluate", y, len(logits))
    found = {"loss": LOSSES[model.loss](logits, target, np.empty_like(logits))}
    if model.loss == "softmax_cross_entropy":
        classes = target if target.ndim == 1 else np.argmax(target, axis=1)
        right = np.count_nonzero(np.argmax(logits, axis=1) == classes)
        found["accuracy"] = right / len(logits)
    return found


class Progress:
    """``with Progress(total, title, enabled) as p: p.update(history)``: to stderr, a tqdm bar on a
    terminal, elsewhere about ten plain lines a run."""

    def __init__(self, total: int, title: str, enabled: bool = True):
        self._total, self._title = total, title
        self._done, self._start = 0, time.perf_counter()
        self._bar: Any = None
        enabled = enabled and sys.stderr is not None  # None: started with stderr closed
        self._lines = enabled and not sys.stderr.isatty()
        if enabled and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=title, unit="epoch", leave=True)

    def update(self, history: History) -> None:
        """One more of ``total`` is done; the last value of each list is shown."""
        self._done += 1
        shown = {name.replace("_", " "): f"{values[-1]:.4f}" for name, values in history.items()}
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()
        elif self._lines and self._is_due():
            seconds = time.perf_counter() - self._start
            values = ", ".join(f"{name} {value}" for name, value in shown.items())
            text = f"{self._title}: epoch {self._done} of {self._total}, {values}, {seconds:.1f} s"
            print(text, file=sys.stderr, flush=True)

    def _is_due(self) -> bool:
        tenth = self._done * _LINES // self._total > (self._done - 1) * _LINES // self._total
        return tenth or self._total < _LINES

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def is_finite(history: History) -> bool:
    """Whether the last epoch's loss is a number: False once a run has diverged."""
    return all(math.isfinite(value) for value in history["loss"][-1:])


def _count(caller: str, name: str, value: int, least: int = 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{caller}: {name} is {value!r}; pass an integer") from None
    if number < least:
        raise ValueError(f"{caller}: {name} is {number}; it must be {least} or more")
    return number


def _check_validation(model: MLP, validation: tuple[Array, Array]) -> tuple[Array, Array]:
    caller = "MLP.fit (validation)"
    if not isinstance(validation, tuple) or len(validation) != 2:
        raise TypeError(f"MLP.fit: validation is {type(validation).__name__}; pass a tuple (x, y)")
    x = model._check_x(caller, validation[0])
    return x, model._check_y(caller, validation[1], len(x))
