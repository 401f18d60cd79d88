"""``call(function, Struct(...))`` in a kernel: by the table, or of a function emitted beside it.

What can be called is a constant of the kernel that says which struct it takes: the words of another
one do not compile.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import targetconfig
from numba.core.datamodel import models, registry
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.extending import intrinsic, typeof_impl

from . import structs
from .memory import call_at
from .pipeline import KernelCompiler
from .simd import I64, Simd, i64, new_function
from .structs import stored
from .target import current


@dataclass(frozen=True)
class Slot:
    """A kernel of a dtype: its place in the table, its struct and, of a task, that of its plan."""

    index: int
    struct: Any
    plan: Any = None


class SlotType(types.Type):
    def __init__(self, struct: Any, plan: Any) -> None:
        self.struct, self.plan = struct, plan
        super().__init__(f"Slot({struct.__qualname__}, {getattr(plan, '__qualname__', None)})")


class VectorFunction:
    """An emitted function of one struct, for both dtypes: see ``vector_function``."""

    def __init__(self, emit: Callable[[Simd, Any], None], struct: Any, name: str) -> None:
        self.emit, self.struct, self.name = emit, struct, name
        self.__doc__ = emit.__doc__

    def within(self, module: ir.Module, itemsize: int) -> ir.Function:
        """The function of this dtype, emitted once a module."""
        name = f"fastgrad_{self.name}_f{8 * itemsize}"
        found = module.globals.get(name)
        if found is None:
            isa = current().isa
            found, b = new_function(module, name, len(structs.names(self.struct)))
            ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
            self.emit(ops, structs.built(self.struct, iter(found.args)))
            if not b.block.is_terminated:
                b.ret_void()
        return found

    def __call__(self, ops: Simd, args: Any) -> None:
        """From emitted code."""
        function = self.within(ops.builder.module, ops.itemsize)
        ops.builder.call(function, [getattr(word, "ir", word) for word in structs.words(args)])


def vector_function(struct: Any) -> Callable[[Callable[[Simd, Any], None]], VectorFunction]:
    """``emit(ops, args)``, where args are the struct's words as LLVM values, as such a function."""
    return lambda emit: VectorFunction(emit, struct, emit.__name__)


@dataclass(frozen=True)
class Emitted:
    """A vector function of a dtype."""

    function: VectorFunction
    itemsize: int

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (f"{self.function.name} {self.itemsize}",)  # for the key of numba's cache


class EmittedType(types.Type):
    def __init__(self, emitted: Emitted) -> None:
        self.emitted = emitted
        super().__init__(f"Emitted({emitted.function.name}, {emitted.itemsize})")


@typeof_impl.register(Slot)
def _type_of_slot(value: Slot, context: Any) -> Any:
    return SlotType(value.struct, value.plan)


@typeof_impl.register(Emitted)
def _type_of_emitted(value: Emitted, context: Any) -> Any:
    return EmittedType(value)


@registry.register_default(SlotType)
@registry.register_default(EmittedType)
class _WordModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, I64)


@lower_constant(SlotType)
def _constant_slot(context: Any, b: ir.IRBuilder, kind: Any, value: Slot) -> ir.Value:
    return i64(value.index)


@lower_constant(EmittedType)
def _constant_emitted(context: Any, b: ir.IRBuilder, kind: Any, value: Emitted) -> ir.Value:
    return i64(0)


@intrinsic
def call(typing_context: Any, function: Any, args: Any) -> Any:
    """Of a kernel its status, of an emitted function 0."""

    def call_slot(context: Any, b: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        kind, value = signature.args[1], values[1]
        is_view = isinstance(kind, structs.View)  # the struct is in memory already
        return call_at(b, values[0], value if is_view else stored(b, structs.flat(b, kind, value)))

    def call_emitted(context: Any, b: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        emitted = function.emitted
        inner = emitted.function.within(b.module, emitted.itemsize)
        b.call(inner, structs.flat(b, signature.args[1], values[1]))
        return i64(0)

    if isinstance(function, SlotType):
        kind = structs.argument_type(args, function.struct)
        return types.intp(function, kind), call_slot
    if isinstance(function, EmittedType):
        kind = structs.argument_type(args, function.emitted.function.struct)
        return types.intp(function, kind), call_emitted
    return None


@intrinsic
def nth(typing_context: Any, first: Any, index: Any) -> Any:
    """Of the kernels that were registered one after the other, that many after ``first``."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.add(args[0], b.mul(args[1], i64(2)))  # a slot for each dtype

    return (first(first, types.intp), codegen) if isinstance(first, SlotType) else None


@intrinsic
def slot_of(typing_context: Any, kernel: Any) -> Any:
    """The place of a kernel in the table."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return args[0]

    return (types.intp(kernel), codegen) if isinstance(kernel, SlotType) else None


@intrinsic
def kernel_at(typing_context: Any, like: Any, index: Any) -> Any:
    """The kernel in a slot, which takes what ``like`` takes."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return args[1]

    return (like(like, types.intp), codegen) if isinstance(like, SlotType) else None


def subroutine(function: Callable[..., Any]) -> Any:
    """A part of a kernel, of views and integers, that returns an integer; compiled with each."""
    return _part(function, inline=False)


def inlined(function: Callable[..., Any]) -> Any:
    """A subroutine whose structs are then the kernel's own, in registers where they fit."""
    return _part(function, inline=True)


def _within_library(
    context: Any, function: Callable[..., Any], signature: Any, inline: bool
) -> Any:
    """Compile a part into the library of its kernel; its descriptor.

    numba's own compile_subroutine makes a library of it, which LLVM optimizes once for itself and
    once more as a part of the kernel: a sixth of the time that the kernels of a step compile in.
    """
    library = context.active_code_library
    made = library.__dict__.setdefault("_fastgrad_parts", {})
    key = function, signature
    if key not in made:
        flags = targetconfig.ConfigStack.top_or_none().copy()
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        flags.forceinline = inline
        part = KernelCompiler(
            context.typing_context, context, library, signature.args, signature.return_type,
            flags, {},
        )  # fmt: skip
        made[key] = part.compile_extra(function).fndesc
    return made[key]


def _part(function: Callable[..., Any], inline: bool) -> Any:
    def typing(typing_context: Any, *args: Any) -> Any:
        def codegen(context: Any, b: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            made = _within_library(context, function, signature, inline)
            # its status is always 0: kernels raise nothing
            _, result = context.call_internal_no_propagate(b, made, signature, values)
            return result

        words = structs.View | SlotType | EmittedType
        if any(isinstance(a, types.Float) for a in args):  # it would be cut to an integer
            raise TypingError(f"{function.__name__} takes views and integers; pass bits_of(number)")
        return types.intp(*(a if isinstance(a, words) else types.intp for a in args)), codegen

    # numba asks for the arguments by name; the first one stands for the typing context
    parameters = list(inspect.signature(function).parameters.values())
    context = inspect.Parameter("typing_context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    typing.__name__, typing.__doc__ = function.__name__, function.__doc__
    typing.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    return intrinsic(typing)
