"""What a kernel calls that is not ours: libm's exp would have other bits on other machines."""

from __future__ import annotations

import re
from typing import Any

import numba
from numba import types

from fastgrad._kernels.runtime import jit

_CALL = re.compile(r"^\s*(?:call\w*|bl|jmp|b)[ \t]+([A-Za-z_][\w.@]*)", re.MULTILINE)
_EXPECTED = ("malloc", "free")  # of an arena, see scratch.py


def assembly(number: int, dtype: str) -> str:
    """Of a fresh build of a kernel: what comes from numba's cache has none."""
    build = jit._builders[jit.slot(number, dtype)]
    kernel: Any = numba.cfunc(types.int64(types.int64), **jit.OPTIONS)(build())
    text: str = kernel._library.get_asm_str()
    return text


def library_calls(text: str) -> set[str]:
    names = {name.split("@")[0] for name in _CALL.findall(text)}
    return {n for n in names if "fastgrad" not in n and n not in _EXPECTED}
