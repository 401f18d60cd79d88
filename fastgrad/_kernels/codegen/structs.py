"""Structs: NamedTuples of 64-bit integers and of other such NamedTuples, with fields by name.

A struct's words lie in memory in the order of its fields. A kernel is given a ``View``: a field is
loaded where it stands (``p.a.row``) and stored where it is set. Python reads and writes the same
names: ``words`` flattens an instance, ``names`` says where a field is.
"""

from __future__ import annotations

import functools
import operator
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models, registry
from numba.core.errors import TypingError
from numba.core.imputils import lower_getattr_generic, lower_setattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic

from .simd import I64, i64

# Python's side -----------------------------------------------------------------------------------


@functools.cache
def fields(struct: Any) -> dict[str, Any]:
    """Name -> ``int``, or the struct that lies there."""
    return typing.get_type_hints(struct)


@functools.cache
def names(struct: Any) -> tuple[str, ...]:
    """The words in order: m, n, a.data, a.row, ..."""
    found: list[str] = []
    for name, kind in fields(struct).items():
        found += [name] if kind is int else [f"{name}.{inner}" for inner in names(kind)]
    return tuple(found)


@functools.cache
def offset(struct: Any, name: str) -> int:
    """Which word a field is, or begins with."""
    return next(i for i, n in enumerate(names(struct)) if n == name or n.startswith(name + "."))


def size(struct: Any) -> int:
    """In bytes."""
    return 8 * len(names(struct))


def words(value: Any) -> Sequence[Any]:
    """The words of an instance, nested ones in their places."""
    struct: Any = type(value)
    found: Any = _getter(struct)(value)
    return found if len(names(struct)) != 1 else (found,)


@functools.cache
def _getter(struct: Any) -> Callable[[Any], Any]:
    return operator.attrgetter(*names(struct)) if names(struct) else lambda value: ()


def built(struct: Any, values: Iterator[Any]) -> Any:
    """An instance from its words, in order."""
    return struct(
        *(next(values) if kind is int else built(kind, values) for kind in fields(struct).values())
    )


def make(struct: Any, *parts: Any) -> Any:
    """An instance of whatever words: numbers, LLVM's values, Words."""
    return struct(*parts)


def pointer(b: ir.IRBuilder, address: ir.Value, word: int = 0) -> ir.Value:
    """To a word of memory."""
    if word:
        address = b.add(address, i64(8 * word))
    return b.inttoptr(address, I64.as_pointer())


def loaded(
    b: ir.IRBuilder, address: ir.Value, struct: Any, wrap: Callable[..., Any] = lambda b, x: x
) -> Any:
    """For emitted code: an instance of ``wrap(b, value)``."""
    return built(
        struct,
        (wrap(b, b.load(pointer(b, address, i))) for i in range(len(names(struct)))),
    )


# numba's side: views ----------------------------------------------------------------------------


class View(types.Type):
    """The address of a struct, whose fields are attributes."""

    def __init__(self, struct: Any) -> None:
        self.struct = struct
        super().__init__(f"View({struct.__module__}.{struct.__qualname__})")


@registry.register_default(View)
class _ViewModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, I64)


@infer_getattr
class _Fields(AttributeTemplate):
    key = View

    def generic_resolve(self, view: Any, name: str) -> Any:  # type: ignore[override]
        kind = fields(view.struct).get(name)
        return kind and (types.intp if kind is int else View(kind))


@lower_getattr_generic(View)
def _get(context: Any, b: ir.IRBuilder, view: Any, value: ir.Value, name: str) -> ir.Value:
    word = offset(view.struct, name)
    if fields(view.struct)[name] is int:
        return b.load(pointer(b, value, word))
    return b.add(value, i64(8 * word))


@lower_setattr_generic(View)
def _set(context: Any, b: ir.IRBuilder, signature: Any, args: Any, name: str) -> None:
    view, kind = signature.args
    value = context.cast(b, args[1], kind, types.intp)
    b.store(value, pointer(b, args[0], offset(view.struct, name)))


@intrinsic
def view(typing_context: Any, address: Any, struct: Any) -> Any:
    """view(address, Struct)"""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return args[0]

    if isinstance(struct, types.NamedTupleClass):
        return View(struct.instance_class)(types.intp, struct), codegen
    return None


@intrinsic
def address(typing_context: Any, view: Any) -> Any:
    """The address of a view."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return args[0]

    return (types.intp(view), codegen) if isinstance(view, View) else None


@intrinsic
def load(typing_context: Any, view: Any) -> Any:
    """A struct by value: what a variable needs that holds now one struct, now another."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        values = (b.load(pointer(b, args[0], i)) for i in range(len(names(view.struct))))
        return _made(context, b, view.struct, values)

    return (_type(view.struct)(view), codegen) if isinstance(view, View) else None


def _made(context: Any, b: ir.IRBuilder, struct: Any, values: Iterator[ir.Value]) -> ir.Value:
    parts = [
        next(values) if kind is int else _made(context, b, kind, values)
        for kind in fields(struct).values()
    ]
    return context.make_tuple(b, _type(struct), parts)


@functools.cache
def _type(struct: Any) -> Any:
    kinds = [types.intp if kind is int else _type(kind) for kind in fields(struct).values()]
    return types.BaseTuple.from_types(kinds, struct)


@intrinsic
def on_stack(typing_context: Any, value: Any) -> Any:
    """A view of a copy of the struct on the stack, for as long as the kernel runs."""
    struct = value.instance_class
    kind = argument_type(value, struct)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return stored(b, flat(b, signature.args[0], args[0]))

    return View(struct)(kind), codegen


def stored(b: ir.IRBuilder, values: list[ir.Value]) -> ir.Value:
    """The address of words on the stack; one place for each time that this is emitted."""
    base = b.ptrtoint(cgutils.alloca_once(b, ir.ArrayType(I64, len(values))), I64)
    for i, value in enumerate(values):
        b.store(value, pointer(b, base, i))
    return base


def argument_type(given: Any, struct: Any) -> Any:
    """numba's type of an argument, every leaf an integer; not for another struct, or no struct."""
    if isinstance(given, View) and given.struct is struct:
        return given
    if getattr(given, "instance_class", None) is not struct:
        found = getattr(given, "instance_class", getattr(given, "struct", given))
        raise TypingError(f"expected {struct.__name__}, found {getattr(found, '__name__', found)}")
    kinds = [
        types.intp if kind is int else argument_type(item, kind)
        for item, kind in zip(given, fields(struct).values(), strict=True)
    ]
    return types.BaseTuple.from_types(kinds, struct)


def flat(b: ir.IRBuilder, kind: Any, value: ir.Value) -> list[ir.Value]:
    """The words of an argument: of a struct by value, those of a view loaded."""
    if isinstance(kind, View):
        return [b.load(pointer(b, value, i)) for i in range(len(names(kind.struct)))]
    if isinstance(kind, types.BaseTuple):
        kinds: Any = kind
        items = (flat(b, k, b.extract_value(value, i)) for i, k in enumerate(kinds))
        return [word for item in items for word in item]
    return [value]
