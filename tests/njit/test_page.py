"""The examples of docs/njit.md run, and print what it says they print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

from support.printed import promised, stripped

PAGE = Path(__file__).parents[2] / "docs" / "njit.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```$(?:\s*?^```text\n(.*?)^```$)?", re.M | re.S)


def test_examples() -> None:
    examples = EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(examples) >= 2
    names: dict[str, Any] = {"__name__": "page"}
    for code, text in examples:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, str(PAGE), "exec"), names)
        wanted = text.splitlines() or promised(code)
        assert stripped(output.getvalue().splitlines()) == stripped(wanted)
