"""What the command line shows on a terminal of 80 columns, and in a pipe."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastgrad._kernels.runtime import compiler
from fastgrad.cli import _terminal
from support.programs import environment

Capture = pytest.CaptureFixture[str]
LONG = "the same with 1 thread and with 2: dd63c946363641b6, " * 3
pty = pytest.importorskip("pty")


def _terminal_of(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    size = os.terminal_size((columns, 24))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: size)


def test_a_line_is_as_wide_as_the_terminal(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _terminal_of(80, monkeypatch)
    _terminal.say(LONG, "threads")
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("threads   the same") and len(first) <= 80
    assert rest and all(line.startswith(" " * 10) and len(line) <= 80 for line in rest)


def test_in_a_pipe_a_line_stays_one(capsys: Capture) -> None:
    _terminal.say(LONG, "threads")
    assert capsys.readouterr().out == f"threads   {LONG}\n"


def test_kernels_are_counted(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    _terminal_of(80, monkeypatch)
    monkeypatch.setattr(_terminal, "_AT_ONCE", 0.0)
    with _terminal.compiling(1):
        assert compiler._count is not None
        compiler._count("gemm.float32")
        compiler._count("pack_b.float32")  # more than were expected
    assert compiler._count is None
    assert "compiling: 100%" in capsys.readouterr().err


def test_in_a_pipe_there_is_no_bar(capsys: Capture) -> None:
    with _terminal.compiling(1):
        assert compiler._count is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="a pseudo-terminal as on Linux")
def test_train_in_a_terminal(tmp_path: Path) -> None:
    """A bar, no line that is wider than it, no colours."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    program = subprocess.Popen(
        [sys.executable, "-m", "fastgrad", "--epochs", "3", "--validation", "0.1"],
        cwd=tmp_path, env=environment(),
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert program.wait(60) == 0
    text = shown.decode()
    assert "training 100%|█" in text and "3/3, " in text
    assert re.search(r"3/3, 00:0\d left, loss \d\.\d{4}, val \d\.\d{4}, acc \d\.\d{4}", text)
    assert not re.search(r"\x1b\[[1-9][0-9;]*m", text)  # colorama, if there, resets at exit: 0
    assert max(len(line) for line in re.split(r"[\r\n]+", text)) <= 80
