"""The assembly of kernels, as numba compiles them: the register tiles, and what a kernel calls.

Run as a program, perhaps for another CPU, prints one line of JSON: the target's name, and for each
tile its loops over k.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import numba
from numba import types

from fastgrad._kernels.codegen import structs, target
from fastgrad._kernels.gemm.macrokernel import macrokernel
from fastgrad._kernels.gemm.microkernel import WHOLE, tile_name
from fastgrad._kernels.runtime.compiler import OPTIONS
from fastgrad._kernels.runtime.registry import Floats, Kernel

PREFIX = tile_name(0, 0, 0, WHOLE).partition("f0")[0]
_TILE = re.compile(rf"^({PREFIX}f(\d+)_(\d+)x(\d+)_(\w+)):", re.MULTILINE)
_SYMBOL = re.compile(r"^[A-Za-z_]\w*:", re.MULTILINE)
_LABEL = re.compile(r"^(\.L\w+):", re.MULTILINE)
# Everything that multiplies and adds, packed or not, and everything that adds.
FMA = re.compile(r"vfn?m(?:add|sub)\w*\b")


# What a kernel calls that is not ours: libm's exp would have other bits on other machines.
_CALL = re.compile(r"^\s*(?:call\w*|bl|jmp|b)[ \t]+([A-Za-z_][\w.@]*)", re.MULTILINE)
_EXPECTED = ("malloc", "free")  # of an arena, see scratch.py


def fresh(kernel: Kernel, dtype: str) -> Any:
    """A kernel compiled anew: what comes from a cache has no assembly."""
    body = kernel.build(Floats(dtype))
    return numba.cfunc(types.int64(structs.View(kernel.struct)), **OPTIONS)(body)


def assembly(kernel: Kernel, dtype: str) -> str:
    """Of a fresh build."""
    text: str = fresh(kernel, dtype)._library.get_asm_str()
    return text


def library_calls(text: str) -> set[str]:
    names = {name.split("@")[0] for name in _CALL.findall(text)}
    return {n for n in names if "fastgrad" not in n and n not in _EXPECTED}


def _loops(function: str) -> list[list[str]]:
    """The instructions of each block that jumps back to its own start."""
    pieces = _LABEL.split(function)
    found = []
    for label, body in zip(pieces[1::2], pieces[2::2], strict=True):
        lines = [line.split("#")[0].strip() for line in body.splitlines()]
        lines = [line for line in lines if line and not line.startswith(".")]
        ends = [i for i, line in enumerate(lines) if re.match(rf"j\w+\s+{re.escape(label)}$", line)]
        if ends:
            found.append(lines[: ends[-1] + 1])
    return found


def tiles(dtype: str) -> dict[str, dict[str, Any]]:
    """name -> rows, vectors, kind and loops of every tile in a fresh build of the macro-kernel."""
    text = assembly(macrokernel, dtype)
    found = {}
    for match in _TILE.finditer(text):
        name, _, rows, vectors, kind = match.groups()
        body = _SYMBOL.split(text[match.end() :], maxsplit=1)[0]
        found[name] = {
            "rows": int(rows), "vectors": int(vectors), "kind": kind, "loops": _loops(body),
        }  # fmt: skip
    return found


if __name__ == "__main__":
    dtype = sys.argv[1]
    print(json.dumps({"isa": target.current().isa.name, "tiles": tiles(dtype)}))
