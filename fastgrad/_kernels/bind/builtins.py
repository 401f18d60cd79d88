"""What Python calls with arrays: builtin functions, each compiled when it is first looked up.

    matmul, matmul_nt, matmul_tn, and the same with _stack (a, b, out, accumulate) -> c
    linear_forward   (x, weight, bias, activation, out, preactivation_out) -> y
    linear_backward  (g, x, weight, activation, output, preactivation, needs, out, accumulate)
                     -> LinearGrads; and both with _stack
    softmax_cross_entropy (logits, labels, label_smoothing) -> (loss, gradient)
    binary_cross_entropy_with_logits, mse (prediction, target) -> (loss, gradient)
    sgd_step   (param, grad, lr, velocity, momentum, nesterov, weight_decay) -> True
    adam_step  (param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay,
                decoupled) -> True

They are the fast path: they take what rules.py takes. Their answer to anything else is None, with
nothing written: the public functions then take the checked path. Where a kernel fails they raise.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..codegen.words import Word
from ..layer import losses
from ..runtime import compiler
from ..runtime.table import keep
from . import abi, layer_rules, rules
from .frame import Result
from .layer_rules import Layer, Stack
from .object_frame import ObjectFrame

METH_FASTCALL = 0x80


def _product(rule: Callable[..., Result]) -> Callable[[ObjectFrame], Word]:
    """The object that a product belongs to says which operand is given transposed."""

    def emit(f: ObjectFrame) -> Word:
        a, b, out, accumulate = f.handles
        turn_a, turn_b = f.self_ == f.object("False"), f.self_ == f.object("True")
        result = rule(f, a, b, out, f.flag(accumulate), turn_a, turn_b)
        return f.number_or_array(result)

    return emit


def _forward(of: type[Layer]) -> Callable[[ObjectFrame], Word]:
    return lambda f: f.references(layer_rules.forward(of, f, *f.handles))[0]


def _backward(of: type[Layer]) -> Callable[[ObjectFrame], Word]:
    def emit(f: ObjectFrame) -> Word:
        *arrays, needs, out, accumulate = f.handles
        needed = [f.flag(item) for item in f.triple(needs)]
        outs, adds = f.triple(out), f.flags(accumulate)
        results = layer_rules.backward(of, f, arrays, needed, outs, adds)
        none = f.object("None")
        items = [
            result._replace(given=need.choose(result.given, none))
            for need, result in zip(needed, results, strict=True)
        ]
        return f.new_of("LinearGrads", f.new_tuple(f.references(*items)))

    return emit


def _softmax(f: ObjectFrame) -> Word:
    loss = f.memory(1)
    logits, labels, smoothing = f.handles
    result = rules.softmax_cross_entropy(f, logits, labels, smoothing, f.object("None"), loss)
    return _with_loss(f, loss, result)


def _mean(kernel: Any) -> Callable[[ObjectFrame], Word]:
    def emit(f: ObjectFrame) -> Word:
        loss = f.memory(1)
        prediction, target = f.handles
        result = rules.mean_loss(f, kernel, prediction, target, f.object("None"), loss)
        return _with_loss(f, loss, result)

    return emit


def _with_loss(f: ObjectFrame, loss: Word, result: Result) -> Word:
    return f.new_tuple([f.new_float(f.load(loss)), *f.references(result)])


def _sgd(f: ObjectFrame) -> Word:
    param, grad, lr, velocity, momentum, nesterov, decay = f.handles
    rules.sgd_step(f, param, grad, lr, velocity, momentum, f.flag(nesterov), decay)
    return f.reference(f.object("True"))


def _adam(f: ObjectFrame) -> Word:
    *others, decoupled = f.handles
    rules.adam_step(f, others, f.flag(decoupled))
    return f.reference(f.object("True"))


Codes = dict[str, tuple[Callable[[ObjectFrame], Word], int]]
# code -> what emits it, number of arguments
_CODES: Codes = {
    "product": (_product(rules.product), 4),
    "stack": (_product(rules.stack), 4),
    "linear_forward": (_forward(Layer), 6),
    "linear_forward_stack": (_forward(Stack), 6),
    "linear_backward": (_backward(Layer), 9),
    "linear_backward_stack": (_backward(Stack), 9),
    "softmax_cross_entropy": (_softmax, 3),
    "binary_cross_entropy_with_logits": (_mean(losses.BINARY_CROSS_ENTROPY), 2),
    "mse": (_mean(losses.MSE), 2),
    "sgd_step": (_sgd, 7),
    "adam_step": (_adam, 11),
}
# name -> code, and the object that the builtin belongs to
_NAMES: dict[str, tuple[str, object]] = {
    **{name: (name, None) for name in _CODES if name not in ("product", "stack")},
    **{
        name + suffix: (code, of)
        for name, of in (("matmul", None), ("matmul_nt", True), ("matmul_tn", False))
        for suffix, code in (("", "product"), ("_stack", "stack"))
    },
}
NAMES = tuple(_NAMES)


def __getattr__(name: str) -> Any:
    """The function ``name``: compiled, from the cache, or, where nothing may be read, a refusal."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    code, of = _NAMES[name]
    made = builtin(name, compile_code(_CODES, code), of) if abi.verify() else refuse
    globals()[name] = made
    return made


def refuse(*args: Any) -> None:
    return None


def compile_code(codes: Codes, name: str) -> int:
    """The address of a row of a table."""
    emit, count = codes[name]

    @intrinsic
    def _emit(typing_context: Any, of: Any, args: Any, nargs: Any) -> Any:
        def codegen(context: Any, b: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            f = ObjectFrame(b, values, count)
            return f.finish(emit(f))

        return types.intp(types.intp, types.intp, types.intp), codegen

    def fast_path(of, args, nargs):  # type: ignore[no-untyped-def]
        return _emit(of, args, nargs)

    layout = abi.HEADER  # what machine code knows of this Python
    return compiler.address_of(f"python_{name}.{layout}", fast_path)


class Definition(ctypes.Structure):  # PyMethodDef
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def definition(name: str, address: int) -> Definition:
    """What is given to Python's functions is never freed."""
    made: Definition = keep(Definition(name.encode(), address, METH_FASTCALL, None))
    return made


def builtin(name: str, address: int, of: object) -> Any:
    """A Python function whose code is at ``address``, and which is given ``of``."""
    return of_definition()(definition(name, address), of, None)


def of_definition() -> Any:
    """(definition, object, None) -> the builtin of the object."""
    prototype = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.POINTER(Definition), ctypes.py_object, ctypes.c_void_p
    )
    return prototype(("PyCFunction_NewEx", ctypes.pythonapi))
