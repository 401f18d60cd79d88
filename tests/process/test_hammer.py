"""16 threads call all public functions, beside a user's parallel loop: every result has the bits
that it has alone. See hammer.py."""

from __future__ import annotations

import json

import pytest

from support import programs


def hammered(seconds: float, seed: int) -> None:
    words = (str(seconds), "16", str(seed))
    code, output, error = programs.run("hammer.py", *words, patience=seconds + 300)
    assert code == 0 and error == "", f"exit code {code}\n{error}"
    done = json.loads(output)
    assert done["wrong"] == [] and done["errors"] == []
    assert done["kinds"] == done["works"] + 2 and done["least"] >= 1, "some were not called"
    assert done["longest"][0] < 20, done["longest"]


def test_for_three_seconds() -> None:
    hammered(3, 0)


@pytest.mark.slow
def test_for_a_minute() -> None:
    hammered(60, 1)
