"""The tables of docs/threads.md, each written by the script that measures it."""

from __future__ import annotations

from pathlib import Path

import machine
import pages

PAGE = Path(__file__).parents[2] / "docs" / "threads.md"


def write(name: str, lines: list[str], libraries: list[str], script: str) -> None:
    """Where the page has lines such as pauses:begin and pauses:end."""
    run = machine.short(libraries)
    versions = ", ".join(f"{n} {v}" for n, v in run["versions"].items())
    foot = f"{run['cpu']}; {run['date']}, commit {run['commit']}; {versions} (`{script}`)"
    found = pages.replace(PAGE, name, "\n".join([*lines, "", foot]))
    print(f"written: {PAGE.name}" if found else f"{PAGE.name} has no place for {name}")
