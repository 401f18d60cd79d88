"""docs/api.md says what the docstrings say, and every public function has one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

import fastgrad

DOCS = Path(__file__).parents[2] / "docs"


def _make_api() -> Any:
    spec: Any = importlib.util.spec_from_file_location("make_api", DOCS / "make_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_has_a_docstring() -> None:
    values = [getattr(fastgrad, name) for name in fastgrad.__all__]
    bare = [v for v in values if callable(v) and not v.__doc__]
    assert not bare


@pytest.mark.skipif(sys.version_info < (3, 11), reason="docstrings of NamedTuples are written so")
def test_the_page_is_fresh() -> None:
    written = (DOCS / "api.md").read_text(encoding="utf-8")
    assert written == _make_api().page(), "docs/api.md is stale: python docs/make_api.py"
