"""What Python calls with arrays: builtin functions, each compiled when it is first looked up.

    product, product_nt, product_tn (a, b, out, accumulate) -> out
    product_stack (a, b, out, accumulate) -> out
    forward       (x, weight, bias, activation, out, preactivation_out) -> out
    backward      (g, x, weight, activation, output, preactivation, needs, out, accumulate)
                  -> LinearGrads
    unary         (x, out, slot of the formula for float32) -> out

They take what the public functions take: an out that is None is a new array (not of a stack), an
activation is a name. Their answer to anything but plain ndarrays of one dtype, float32 or float64,
that a kernel can work on where they are is None, with nothing written: the public functions then
take their careful way, which finds the message or the temporary that is called for. Where a kernel
fails they raise.
"""

from __future__ import annotations

import ctypes
from typing import Any

from numba import types
from numba.extending import intrinsic

from ..runtime.jit import compile_callable, keep, stamp
from . import by_hand, objects, rules

# name -> name in calls.py, and the object that the builtin belongs to
_NAMES: dict[str, tuple[str, object]] = {
    **{name: (name, None) for name in rules.CALLS},
    "product": ("product", rules.NEITHER),
    "product_nt": ("product", rules.SECOND),
    "product_tn": ("product", rules.FIRST),
}
NAMES = tuple(_NAMES)
METH_FASTCALL = 0x80


def __getattr__(name: str) -> Any:
    """The function ``name``: compiled, or from the cache, or, where that cannot be, by hand."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    call, of = _NAMES[name]
    made = _builtin(name, _compile(call), of) if objects.verify() else getattr(by_hand, name)
    globals()[name] = made
    return made


def _compile(call: str) -> int:
    version, number = stamp(), list(rules.CALLS).index(call)
    layout = (objects.HEADER, objects.ITEMS)  # what machine code knows of this Python

    def entry(of, args, nargs):  # type: ignore[no-untyped-def]
        _ = version, layout
        return _call(number, of, args, nargs)

    return compile_callable(entry)


@intrinsic(prefer_literal=True)
def _call(typing_context: Any, number: Any, of: Any, args: Any, nargs: Any) -> Any:
    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        return rules.emit(b, values[1:], signature.args[0].literal_value)

    return types.intp(number, types.intp, types.intp, types.intp), codegen


class _Definition(ctypes.Structure):  # PyMethodDef
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def _builtin(name: str, address: int, of: object) -> Any:
    """A Python function whose code is at ``address``, and which is given ``of``."""
    definition = keep(_Definition(name.encode(), address, METH_FASTCALL, None))
    prototype = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.POINTER(_Definition), ctypes.py_object, ctypes.c_void_p
    )
    return prototype(("PyCFunction_NewEx", ctypes.pythonapi))(definition, of, None)
