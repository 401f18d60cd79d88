"""The table: what compiled code, ours and users', reaches through one external symbol.

64-bit words in memory that is never freed, found again when the package is imported once more.
Words 0 and 1 are in machine code that users keep, and never move:
    0             ABI version, compared by callers
    1             the gateway, all that users' compiled functions call, see bind/gateway.py
    L2_BYTES      of a core's cache, see caches.py
    SCRATCH ...   scratch arenas, see scratch.py
    PYTHON ...    addresses of Python's and numpy's objects and functions, see bind/objects.py
    SLOTS ...     kernels, one word each: 2 * number + (1 for float64)
    READY ...     beside each slot, 1 once it holds a compiled kernel
    POOL ...      the fork-join pool, see pool_words.py
"""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.binding as llvm

from ..codegen.memory import TABLE_SYMBOL

ABI_VERSION = 1
GATEWAY = 1
L2_BYTES = 2
SCRATCH, PYTHON, SLOTS, READY, POOL = 8, 200, 256, 512, 768
WORDS = 2048
LINE = 16  # words that two threads should not share: two cache lines, which are fetched together

# Status of a kernel; bits, so that those of a job's tasks are or-ed
OK, OUT_OF_MEMORY, FAILED, BAD_LABEL = 0, 1, 2, 4

DTYPES = ("float32", "float64")


def slot(number: int, dtype: str) -> int:
    """The word of a kernel."""
    return SLOTS + 2 * number + (dtype == "float64")


def ready(index: int) -> int:
    """The word that says whether a slot holds a compiled kernel."""
    return READY + index - SLOTS


def keep(what: Any) -> Any:
    """``what``, which now lives as long as the process: machine code has its address."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))
    return what


def _find_or_make() -> Any:
    address = llvm.address_of_symbol(TABLE_SYMBOL)
    kind = ctypes.c_int64 * WORDS
    if not address:
        calloc = ctypes.pythonapi.PyMem_RawCalloc
        calloc.restype, calloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t, ctypes.c_size_t]
        line = 8 * LINE
        address = -(-calloc(WORDS + LINE, 8) // line) * line
        llvm.add_symbol(TABLE_SYMBOL, address)
    table = kind.from_address(address)
    table[0] = ABI_VERSION
    return table


TABLE = _find_or_make()
