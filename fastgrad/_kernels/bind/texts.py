"""Names in records: the activation that a user's compiled function names at run time."""

from __future__ import annotations

from llvmlite import ir
from numba.extending import register_jitable

from ..codegen.integers import on_integers
from ..codegen.memory import word
from ..codegen.simd import I64, i64
from ..formulas.activations import TABLE
from ..runtime.jit import OPTIONS
from .records import DATA, KIND, LENGTHS, kind_code

_BYTES = kind_code("U", 1)
_LONGEST = 16


def _packed(name: str) -> tuple[int, int]:
    padded = name.encode("ascii").ljust(_LONGEST, b"\0")
    return int.from_bytes(padded[:8], "little"), int.from_bytes(padded[8:], "little")


_NAMES = tuple((*_packed(row.name), row.code) for row in TABLE)


@on_integers
def byte(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    pointer = b.inttoptr(address, ir.IntType(8).as_pointer())
    return b.zext(b.load(pointer), I64)


@on_integers
def _code(b: ir.IRBuilder, first: ir.Value, second: ir.Value) -> ir.Value:
    code = i64(-1)
    for low, high, of_row in _NAMES:
        same = (b.icmp_signed("==", x, i64(y)) for x, y in ((first, low), (second, high)))
        code = b.select(b.and_(*same), i64(of_row), code)
    return code


@register_jitable(**OPTIONS)
def code_of(text):  # type: ignore[no-untyped-def]
    """The code of the activation that a record names; 0 for no record, -1 for another text."""
    if text == 0:
        return 0
    length = word(text, LENGTHS)
    if word(text, KIND) != _BYTES or length > _LONGEST:
        return -1
    first, second = 0, 0
    for i in range(length):
        letter = byte(word(text, DATA) + i)
        if i < 8:
            first |= letter << (8 * i)
        else:
            second |= letter << (8 * i - 64)
    return _code(first, second)
