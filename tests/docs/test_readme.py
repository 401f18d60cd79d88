"""README.md's Python examples run, top to bottom as one program, and print what it says they print.

Expected output stands in comments: at the end of a ``print(...)`` statement, on the comment lines
right under it, or both, a line of output each. Or it is all in a ```text block that follows the
example with only blank lines between. An example without either prints nothing.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from support.printed import promised, stripped

README = Path(__file__).parents[2] / "README.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```$(?:\s*?^```text\n(.*?)^```$)?", re.M | re.S)


def test_comments_are_read() -> None:
    code = 'print(1)  # 1\nx = 2  # two\nprint("·#", [\n    x])  # [2]\n# and\n#  more\n\n# prose\n'
    assert promised(code) == ["1", "[2]", "and", " more"]


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples = EXAMPLE.findall(README.read_text(encoding="utf-8"))
    assert examples, "README.md has no ```python block"
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, (code, text) in enumerate(examples):
        path = tmp_path / f"example_{number}.py"  # a file, so that @njit(cache=True) works
        path.write_text(code, encoding="utf-8")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(path), "exec"), namespace)
        expected = text.splitlines() if text else promised(code)
        assert stripped(printed.getvalue().splitlines()) == stripped(expected), code
