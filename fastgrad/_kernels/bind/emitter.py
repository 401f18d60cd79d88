"""What every emitted function does: words of memory, of the table and of the stack; calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from ..codegen.memory import emit_call, table_address, word_pointer
from ..codegen.simd import I32, I64, i64
from ..codegen.words import Word
from . import objects


class Emitter:
    """Emits at a builder. Addresses and values are words."""

    def __init__(self, b: ir.IRBuilder) -> None:
        self.b = b
        self.table = Word(b, table_address(b))

    def constant(self, value: int) -> Word:
        return Word(self.b, i64(value))

    def load(self, address: Word, offset: int) -> Word:
        return Word(self.b, self.b.load(word_pointer(self.b, (address + offset).ir)))

    def store(self, value: Word, address: Word, offset: int) -> None:
        self.b.store(value.ir, word_pointer(self.b, (address + offset).ir))

    def load_int(self, address: Word, offset: int) -> Word:
        pointer = self.b.inttoptr((address + offset).ir, I32.as_pointer())
        return Word(self.b, self.b.sext(self.b.load(pointer), I64))

    def known(self, index: int) -> Word:
        """A word of the table."""
        return self.load(self.table, 8 * index)

    def variable(self) -> ir.Value:
        """A word that branches may set, 0 at first."""
        with self.b.goto_entry_block():
            variable = self.b.alloca(I64)
            self.b.store(i64(0), variable)
        return variable

    def get(self, variable: ir.Value) -> Word:
        return Word(self.b, self.b.load(variable))

    def set(self, variable: ir.Value, value: Word) -> None:
        self.b.store(value.ir, variable)

    def call(self, name: str, *args: Word) -> Word:
        """A function of Python or numpy; arguments and result are words."""
        kind = ir.FunctionType(I64, [I64] * len(args))
        function = self.b.inttoptr(self.known(objects.FUNCTION[name]).ir, kind.as_pointer())
        return Word(self.b, self.b.call(function, [a.ir for a in args]))

    def kernel(self, slot: Word, words: Sequence[Word]) -> Word:
        """Call the kernel in a slot of the table; its status."""
        return Word(self.b, emit_call(self.b, slot.ir, [w.ir for w in words]))

    @contextmanager
    def where(self, condition: Word) -> Iterator[None]:
        with self.b.if_then(condition.ir):
            yield
