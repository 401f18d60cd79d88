"""64-bit integers in LLVM with Python's operators, for code that computes addresses and sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir


class Word:
    """An integer, or the truth value that a comparison of two gives, which knows ``& | ~``.

    Numbers on the right of an operator may be Python's. Comparisons are signed.
    """

    __slots__ = ("b", "ir")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.b, self.ir = builder, value

    def _with(self, emit: Callable[..., ir.Value], *others: Any) -> Word:
        operands = [o.ir if isinstance(o, Word) else ir.Constant(self.ir.type, o) for o in others]
        return Word(self.b, emit(self.ir, *operands))

    def _compare(self, sign: str, other: Any) -> Word:
        return self._with(lambda x, y: self.b.icmp_signed(sign, x, y), other)

    def __add__(self, other: Any) -> Word:
        return self._with(self.b.add, other)

    def __sub__(self, other: Any) -> Word:
        return self._with(self.b.sub, other)

    def __mul__(self, other: Any) -> Word:
        return self._with(self.b.mul, other)

    def __and__(self, other: Any) -> Word:
        return self._with(self.b.and_, other)

    def __or__(self, other: Any) -> Word:
        return self._with(self.b.or_, other)

    def __neg__(self) -> Word:
        return self._with(self.b.neg)

    def __invert__(self) -> Word:
        return self._with(self.b.not_)

    def __eq__(self, other: Any) -> Word:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: Any) -> Word:  # type: ignore[override]
        return self._compare("!=", other)

    def __lt__(self, other: Any) -> Word:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Word:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Word:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Word:
        return self._compare(">=", other)

    def choose(self, yes: Any, no: Any) -> Word:
        """A truth value's ``yes if self else no``; one of the two is a Word."""
        kind = (yes if isinstance(yes, Word) else no).ir.type
        pair = [o.ir if isinstance(o, Word) else ir.Constant(kind, o) for o in (yes, no)]
        return Word(self.b, self.b.select(self.ir, *pair))
