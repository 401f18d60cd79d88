"""16 threads call all public functions, beside a user's parallel loop: every result has the bits
that it has alone, and neither memory nor threads grow. See hammer.py."""

from __future__ import annotations

import json

import pytest

from support import programs

# Bytes that may be left: the arenas that 16 threads have come to, of 5 MB each at most, and what
# is compiled on the way. 29 to 65 MB were seen after three seconds, 41 after thirty.
SHORT = LONG = 100e6


def hammered(seconds: float, seed: int, growth: float) -> None:
    words = (str(seconds), "16", str(seed))
    code, output, error = programs.run("hammer.py", *words, patience=seconds + 300)
    assert code == 0 and error == "", f"exit code {code}\n{error}"
    done = json.loads(output)
    assert done["wrong"] == [] and done["errors"] == []
    assert done["kinds"] == done["works"] + 2 and done["least"] >= 1, "some were not called"
    assert done["longest"][0] < 20, done["longest"]
    assert done["bytes"] < growth, f"{done['bytes']} bytes more"
    assert done["threads"][0] == done["threads"][1]


def test_for_three_seconds() -> None:
    hammered(3, 0, SHORT)


@pytest.mark.slow
def test_for_a_minute() -> None:
    hammered(60, 1, LONG)
