"""PyTorch and the samples of its own tests; who imports this is skipped where they are not."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("expecttest")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    operations: Any = pytest.importorskip("torch.testing._internal.common_methods_invocations")
F = torch.nn.functional
