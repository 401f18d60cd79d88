"""The kernel of docs/kernels.md compiles, and prints what it says it prints."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from support.printed import promised, stripped

PAGE = Path(__file__).parents[2] / "docs" / "kernels.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def test_the_kernel(tmp_path: Path) -> None:
    (code,) = EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))
    path = tmp_path / "scale.py"
    path.write_text(code, encoding="utf-8")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, str(path), "exec", dont_inherit=True), {"__name__": "scale"})
    assert stripped(output.getvalue().splitlines()) == stripped(promised(code))
