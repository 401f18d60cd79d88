"""Without PyTorch: one line says how to have it, and who does not ask for it pays nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from support.programs import environment


def test_the_message_has_a_line_for_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("fastgrad.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ImportError, match=r"^fastgrad\.torch needs PyTorch: pip install torch "
    ) as e:
        importlib.import_module("fastgrad.torch")
    assert "\n" not in str(e.value)


def test_fastgrad_does_not_import_it() -> None:
    code = "import sys, fastgrad; print('torch' in sys.modules, 'fastgrad.torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "False"], done.stderr
