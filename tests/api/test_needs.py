"""Too old a Python or numba is one line that says what is needed and what is there."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest

from fastgrad import _needs

pytestmark = pytest.mark.smoke


def _imported() -> None:
    runpy.run_path(str(_needs.__file__))


def test_what_is_here_will_do() -> None:
    _imported()


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    monkeypatch.setattr(sys, "version", "3.9.18 (main)")
    with pytest.raises(ImportError, match=r"^fastgrad needs Python 3\.10 or .* this is 3\.9\.18$"):
        _imported()


def test_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba, "version_info", SimpleNamespace(short=(0, 61)))
    monkeypatch.setattr(numba, "__version__", "0.61.2")
    with pytest.raises(ImportError, match=r"^fastgrad needs numba 0\.62 or .* 0\.61\.2: "):
        _imported()
    monkeypatch.setattr(numba, "version_info", SimpleNamespace(short=(0, None)))
    _imported()


def test_pip_is_told_the_same() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"numba>={_needs.NUMBA[0]}.{_needs.NUMBA[1]},' in project
    assert 'requires-python = ">=3.10"' in project
