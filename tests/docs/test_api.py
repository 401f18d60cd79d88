"""docs/api.md says what the docstrings say; every public function has one, a topic, an example."""

from __future__ import annotations

import doctest
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgrad

DOCS = Path(__file__).parents[2] / "docs"
# reference is a walk with its own examples; a Table comes with a model of the command line
NO_EXAMPLE = ("fastgrad.reference.", "fastgrad.tables.Table", "fastgrad.tables.Read")
NO_EXAMPLE += ("fastgrad.tables.DataError", "fastgrad.datasets.DataError")


def _make_api() -> Any:
    spec: Any = importlib.util.spec_from_file_location("make_api", DOCS / "make_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_has_a_docstring() -> None:
    values = [getattr(fastgrad, name) for name in fastgrad.__all__]
    bare = [v for v in values if callable(v) and not v.__doc__]
    assert not bare


def test_every_public_name_has_a_topic() -> None:
    make_api = _make_api()
    placed = [name for names in make_api.TOPICS.values() for name in names]
    assert len(placed) == len(set(placed))
    assert {*placed, *make_api.CONSTANTS, *make_api.MODULES} >= {*fastgrad.__all__}


def test_every_function_has_an_example() -> None:
    make_api = _make_api()
    bare = []
    for part in re.split(r"^###+ (?=fastgrad\.)", make_api.page(), flags=re.M)[1:]:
        name = part.split(None, 1)[0]
        if not name.startswith(NO_EXAMPLE) and "```pycon" not in part:
            bare.append(name)
    assert not bare
    unknown = [name for name in make_api.examples() if f"# {name}\n" not in make_api.page()]
    assert not unknown


def test_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with fastgrad.num_threads(fastgrad.get_num_threads()):  # they set it
        done = doctest.testfile(
            str(DOCS / "api_examples.txt"), module_relative=False, encoding="utf-8",
            globs={"np": np, "fastgrad": fastgrad},
        )  # fmt: skip
    assert done.attempted > 80
    assert not done.failed


@pytest.mark.skipif(sys.version_info < (3, 11), reason="docstrings of NamedTuples are written so")
def test_the_page_is_fresh() -> None:
    written = (DOCS / "api.md").read_text(encoding="utf-8")
    assert written == _make_api().page(), "docs/api.md is stale: python docs/make_api.py"
