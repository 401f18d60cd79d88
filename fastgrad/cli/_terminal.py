"""What people see: text in, lines as wide as their terminal out; a bar while kernels compile.

In a pipe or a file a text stays one line, for other programs, and there is no bar.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._kernels.runtime import compiler

KERNELS = 25  # that a training and its predictions compile or load, whatever the model
_WIDEST = 100
_AT_ONCE = 0.3  # seconds that no bar is shown for: those of loading from the disk


def say(text: str, name: str = "") -> None:
    """Print a text, behind a name in a column of its own; later lines are indented."""
    start = f"{name:<9} " if name else ""
    print(wrapped(text, start) if sys.stdout.isatty() else start + text, flush=True)


def wrapped(text: str, start: str = "") -> str:
    """In lines as wide as the terminal, behind a start under which later lines are indented."""
    return textwrap.fill(
        text, min(shutil.get_terminal_size().columns, _WIDEST), initial_indent=start,
        subsequent_indent=" " * (len(start) or 2), break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


@contextmanager
def compiling(total: int) -> Iterator[None]:
    """Inside it kernels are compiled or loaded: about so many, counted on a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    bar: Any = tqdm(
        total=total, desc="compiling", unit="kernel", delay=_AT_ONCE, mininterval=0, leave=False
    )

    def count(name: str) -> None:
        bar.total = max(bar.total, bar.n + 1)
        bar.set_postfix_str(name.partition(".")[0], refresh=False)
        bar.update()

    with bar, compiler.counted(count):
        yield
