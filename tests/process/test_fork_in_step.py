"""A child that is forked during another thread's step has a model in the middle of it: it refuses
steps of that one, and says why and what to do; all other models work. See fork_in_step.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import programs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@pytest.mark.parametrize("kind", ["read", "copied"])
def test_fork_in_a_step(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a model is saved
    code, output, error = programs.run("fork_in_step.py", kind, patience=200)
    assert (code, output, error) == (0, "", "")
