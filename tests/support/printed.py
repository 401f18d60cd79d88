"""What a program's comments say that it prints: at the end of a ``print(...)`` statement, on the
comment lines right under it, or both, a line of output each."""

from __future__ import annotations

import ast
import re

COMMENT = re.compile(r"(?:^|\s)#(?: |$)(.*)")


def is_print(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id == "print"
    )


def promised(code: str) -> list[str]:
    """The lines that the comments at and under the prints of ``code`` say will be printed."""
    lines = code.splitlines()
    found = []
    for statement in filter(is_print, ast.parse(code).body):
        end = statement.end_lineno or statement.lineno
        rest = lines[end - 1].encode()[statement.end_col_offset :].decode()  # an offset in bytes
        if comment := COMMENT.search(rest):
            found.append(comment[1])
        for line in lines[end:]:
            if not line.startswith("#"):
                break
            found.append(line.removeprefix("#").removeprefix(" "))
    return found


def stripped(lines: list[str]) -> list[str]:
    return [line.rstrip() for line in lines]
