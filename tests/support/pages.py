"""The examples of a page of Markdown: run from top to bottom as one program, and compared.

Python's expected output stands in comments: at the end of a ``print(...)`` statement, on the
comment lines right under it, or both, a line of output each. Or it is all in a ```text block that
follows with only blank lines between. An example without either prints nothing. A ```console block
has commands, `$ fastgrad ...`, that end with 0. A block that imports a library that is not
installed here is left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

from fastgrad.cli import main

from .printed import promised, stripped

BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$(?:\s*?^```text\n(.*?)^```$)?", re.M | re.S)
# doors of fastgrad, and the library that each imports
LIBRARIES = {"sklearn": "sklearn", "torch": "torch", "mpi": "mpi4py", "tables": "pandas"}
IMPORTED = re.compile(r"^(?:from|import) (?:fastgrad\.)?(\w+)", re.M)


def run(page: Path, folder: Path) -> int:
    """Run them in ``folder``, the current one -> how many Python blocks were run."""
    names: dict[str, object] = {"__name__": "__main__"}
    done = 0
    for number, (kind, code, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
        if kind == "console":
            _run_commands(code)
        elif not missing(code):
            path = folder / f"example_{number}.py"  # a file, so that @njit(cache=True) works
            path.write_text(code, encoding="utf-8")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, str(path), "exec", dont_inherit=True), names)
            expected = text.splitlines() if text else promised(code)
            assert stripped(printed.getvalue().splitlines()) == stripped(expected), code
            done += 1
    return done


def missing(code: str) -> list[str]:
    """Optional libraries that it imports and that are not installed."""
    wanted = {LIBRARIES.get(name, name) for name in IMPORTED.findall(code)}
    return [n for n in wanted & {*LIBRARIES.values()} if not importlib.util.find_spec(n)]


def _run_commands(block: str) -> None:
    for line in block.splitlines():
        if line.startswith("$ fastgrad "):
            output = io.StringIO()
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
                assert main(shlex.split(line)[2:]) == 0, (line, output.getvalue())
