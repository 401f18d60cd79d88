"""Files to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.blobs import blobs


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
