"""How long does ``import fastgrad`` take, in a process of its own, beside what it imports?

numba imports numpy, and fastgrad both; nothing is compiled.
"""

from __future__ import annotations

from ._base import Timed


class Import(Timed):
    version = "1"
    params = [["fastgrad", "numba", "numpy"]]
    param_names = ["module"]
    repeat = 5

    def timeraw_import(self, module: str) -> str:
        return f"import {module}"
