"""numba's compiler as kernels need it: a function of words in, a library of machine code out.

Kernels have no objects, closures, arrays, exceptions or reference counts. So the passes that look
for these are left out, and LLVM optimizes a kernel's module once, when all of its parts are in it,
where numba's own pipeline does so by function, then cheaply, then fully. A first training step
compiles in two thirds of the time, to the same bits.
"""

from __future__ import annotations

import operator
from typing import Any

from numba import types
from numba.core import typed_passes as typed
from numba.core import untyped_passes as untyped
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import PassManager

_PASSES: tuple[tuple[Any, str], ...] = (
    (untyped.TranslateByteCode, "bytecode to numba's IR"),
    (untyped.FixupArgs, "arguments"),
    (untyped.IRProcessing, "blocks and variables"),
    (untyped.RewriteSemanticConstants, "what is known when it is compiled"),
    (untyped.DeadBranchPrune, "branches that never run"),
    (untyped.ReconstructSSA, "one assignment a variable"),
    (typed.NopythonTypeInference, "types"),
    (typed.PreLowerStripPhis, "variables where branches meet"),
    (typed.AnnotateTypes, "what the result is asked for"),
    (typed.NativeLowering, "LLVM's IR"),
    (typed.NoPythonBackend, "the result"),
)

_OPERATORS = frozenset(f for f in vars(operator).values() if callable(f))
_found: dict[Any, Any] = {}  # an operator and the types of its operands -> its signature


class KernelCompiler(Compiler):
    """Of a kernel, or of a part of one into its library."""

    def __init__(self, typing_context: Any, target_context: Any, library: Any, *rest: Any):
        if library is None:
            library = KernelLibrary(target_context.codegen(), "kernel")
            library.enable_object_caching()
        super().__init__(typing_context, target_context, library, *rest)
        self.state.typingctx = _Remembering(typing_context)

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("kernel")
        for step, why in _PASSES:
            passes.add_pass(step, why)
        passes.finalize()
        return [passes]


class _Remembering:
    """numba's typing context, but that it knows the operators of numbers which it was asked before.

    numba tries each as a ufunc of numpy first: half of the time of type inference.
    """

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, args: Any, kws: Any) -> Any:
        known = not kws and getattr(function, "typing_key", None) in _OPERATORS
        if not (known and all(isinstance(a, types.Number | types.Boolean) for a in args)):
            return self._context.resolve_function_type(function, args, kws)
        key = function, args
        if key not in _found:
            _found[key] = self._context.resolve_function_type(function, args, kws)
        return _found[key]


class KernelLibrary(JITCodeLibrary):
    """A kernel with its parts."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)
