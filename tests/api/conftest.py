"""Files to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastgrad.cli import _report
from support.blobs import blobs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in it, without the second that they take to compare a step with numpy's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_report, "SAMPLE", 0.001)
    return tmp_path


@pytest.fixture
def npz(tmp_path: Path) -> str:
    x, y = blobs()
    np.savez(tmp_path / "blobs.npz", x=x, y=y)
    return str(tmp_path / "blobs.npz")


@pytest.fixture
def csv(tmp_path: Path) -> str:
    x, y = blobs()
    rows = [f"{','.join(map(str, r))},{c}" for r, c in zip(x, y, strict=True)]
    (tmp_path / "my blobs.csv").write_text("\n".join(["a,b,c,d,kind", *rows]))
    return str(tmp_path / "my blobs.csv")
