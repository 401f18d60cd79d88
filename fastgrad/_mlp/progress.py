"""The progress that people see: a bar on a terminal, a few plain lines in a pipe or a file."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from .history import History

_LINES = 10  # progress lines of a whole run where there is no terminal
# In 80 columns there is room for all of it and a bar of ten characters
_BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"
_BRIEF = {"validation loss": "val", "validation accuracy": "acc"}


class Progress:
    """``with Progress(total, title, enabled) as p: p.update(history)``: to stderr, a tqdm bar on a
    terminal, elsewhere about ten plain lines a run; ``done`` of the total lie behind it."""

    def __init__(self, total: int, title: str, enabled: bool = True, done: int = 0):
        self._total, self._title = total, title
        self._done, self._start = done, time.perf_counter()
        self._bar: Any = None
        enabled = enabled and sys.stderr is not None and done < total  # None: stderr was closed
        self._lines = enabled and not sys.stderr.isatty()
        if enabled and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc=title, leave=True, bar_format=_BAR)

    def update(self, history: History) -> None:
        """One more of ``total`` is done; the last of its losses and accuracy are shown."""
        self._done += 1
        shown = {
            name.replace("_", " "): f"{values[-1]:.4f}"
            for name, values in history.items()
            if name == "loss" or name.startswith("validation")
        }
        if self._bar is not None:
            brief = (f"{_BRIEF.get(name, name)} {value}" for name, value in shown.items())
            self._bar.set_postfix_str(", ".join(brief), refresh=False)
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
