"""The gateway: what a user's compiled function calls, at word 1 of the table, with a descriptor.

Calls that rules.py takes go on to the kernel of their function; what they refuse, and whatever has
no rule, goes to Python, which sees to errors as well. The caller is told DONE, or which kind of
exception is waiting for it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..codegen import structs
from ..codegen.calls import call
from ..codegen.structs import address
from ..codegen.words import Word as IrWord
from ..layer import losses
from ..runtime import registry
from ..runtime.registry import Floats, Kernel, Word, kernel
from ..runtime.table import DTYPES, GATEWAY, TABLE
from . import layer_rules, rules
from .layer_rules import Layer, Stack
from .record_frame import RecordFrame
from .records import BROKEN, CHECKED, DONE, LAYOUT, NUMBER, STACKED, Descriptor

_ONE = DTYPES[:1]

# Set from above: (address of a descriptor, a kernel's status), and an exception on the way there,
# -> what the caller is told.
python: Callable[[int, int], int] = lambda descriptor, status: BROKEN  # noqa: E731
keep: Callable[[BaseException], int] = lambda error: BROKEN  # noqa: E731


class Refused(NamedTuple):
    """A call for Python."""

    descriptor: int  # address
    status: int


def _in_python(words: int) -> int:
    descriptor, status = (ctypes.c_int64 * 2).from_address(words)
    return python(descriptor, status)


def _caught(error: BaseException) -> int:
    return keep(error)


IN_PYTHON = registry.callback("user_call_in_python", _in_python, Refused, _caught)


def _product(rule: Callable[..., Any]) -> Callable[[RecordFrame], None]:
    def emit(f: RecordFrame) -> None:
        a, b, out, add = f.handles
        number = f.load(f.descriptor, 8 * structs.offset(Descriptor, "function"))
        turn_a, turn_b = number == NUMBER["matmul_tn"], number == NUMBER["matmul_nt"]
        rule(f, a, b, out, f.flag(add), turn_a, turn_b)

    return emit


def _forward(of: type[Layer]) -> Callable[[RecordFrame], None]:
    def emit(f: RecordFrame) -> None:
        if of is Layer:
            f.leave_stack(f.handles[1])
        layer_rules.forward(of, f, *f.handles)

    return emit


def _backward(of: type[Layer]) -> Callable[[RecordFrame], None]:
    def emit(f: RecordFrame) -> None:
        if of is Layer:
            f.leave_stack(f.handles[2])
        needs, outs, adds = (f.handles[i : i + 3] for i in (6, 9, 12))
        layer_rules.backward(of, f, f.handles[:6], f.flags(needs), outs, f.flags(adds))

    return emit


def _softmax(f: RecordFrame) -> None:
    logits, labels, smoothing, loss, grad = f.handles
    rules.softmax_cross_entropy(f, logits, labels, smoothing, grad, f.load(loss))


def _mean(of: Kernel) -> Callable[[RecordFrame], None]:
    def emit(f: RecordFrame) -> None:
        prediction, target, loss, grad = f.handles
        rules.mean_loss(f, of, prediction, target, grad, f.load(loss))

    return emit


def _sgd(f: RecordFrame) -> None:
    param, grad, lr, velocity, momentum, nesterov, decay = f.handles
    rules.sgd_step(f, param, grad, lr, velocity, momentum, f.truth(nesterov), decay)


def _adam(f: RecordFrame) -> None:
    """As functions of 0.1 call it: the decay is decoupled."""
    rules.adam_step(f, f.handles, f.constant(0) == 0)


def _any_adam(f: RecordFrame) -> None:
    *others, decoupled = f.handles
    rules.adam_step(f, others, f.truth(decoupled))


def _kernel(name: str, emit: Callable[[RecordFrame], None], count: int) -> Kernel:
    """value: the address of a descriptor. The status is DONE, or what the rule makes of it."""

    @intrinsic
    def emitted(typing_context: Any, descriptor: Any) -> Any:
        def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            f = RecordFrame(b, args[0], count)
            emit(f)
            return f.finish(IrWord(b, ir.Constant(ir.IntType(64), DONE)))

        return types.intp(types.intp), codegen

    def build(t: Floats) -> Callable[..., Any]:
        def body(p):  # type: ignore[no-untyped-def]
            return emitted(p.value)

        return body

    return registry.register(f"user_{name}", build, Word, _ONE)


# In the order of their functions' numbers
_product_kernel = _kernel("product", _product(rules.product), 4)
_stack_kernel = _kernel("stack", _product(rules.stack), 4)
_RULES = {
    "linear_forward": _kernel("linear_forward", _forward(Layer), 6),
    "linear_backward": _kernel("linear_backward", _backward(Layer), 16),
    "softmax_cross_entropy": _kernel("softmax", _softmax, 5),
    "binary_cross_entropy_with_logits": _kernel("bce", _mean(losses.BINARY_CROSS_ENTROPY), 4),
    "mse": _kernel("mse", _mean(losses.MSE), 4),
    "sgd_step": _kernel("sgd_step", _sgd, 7),
    "adam_step": _kernel("adam_step", _adam, 10),
}
_forward_stack_kernel = _kernel("linear_forward_stack", _forward(Stack), 6)
_backward_stack_kernel = _kernel("linear_backward_stack", _backward(Stack), 16)
_any_adam_kernel = _kernel("any_adam_step", _any_adam, 11)


@kernel(Descriptor, dtypes=_ONE)
def gateway(t: Floats) -> Any:
    """Sends a call to the kernel of its function, or to Python."""
    product, stack, in_python = t[_product_kernel], t[_stack_kernel], IN_PYTHON
    first = NUMBER["linear_forward"]
    assert [NUMBER[name] for name in _RULES] == list(range(first, first + len(_RULES)))
    forward, backward, softmax, bce, mse, sgd, adam = (t[k] for k in _RULES.values())
    forward_stack, backward_stack = t[_forward_stack_kernel], t[_backward_stack_kernel]
    any_adam, is_any_adam = t[_any_adam_kernel], NUMBER["any_adam_step"] - first

    def body(p):  # type: ignore[no-untyped-def]
        word = Word(value=address(p))
        which, status = p.function - first, CHECKED
        if p.layout == LAYOUT:
            if which < 0:
                status = call(product, word)
                if status == CHECKED:
                    status = call(stack, word)
            elif which == 0:
                status = call(forward, word)
                if status == STACKED:
                    status = call(forward_stack, word)
            elif which == 1:
                status = call(backward, word)
                if status == STACKED:
                    status = call(backward_stack, word)
            elif which == 2:
                status = call(softmax, word)
            elif which == 3:
                status = call(bce, word)
            elif which == 4:
                status = call(mse, word)
            elif which == 5:
                status = call(sgd, word)
            elif which == 6:
                status = call(adam, word)
            elif which == is_any_adam:
                status = call(any_adam, word)
        if status == DONE:
            return DONE
        return call(in_python, Refused(descriptor=address(p), status=status))

    return body


_SLOT = gateway.slot(_ONE[0])


def _first_call(descriptor: int) -> Callable[[int], int]:
    """What the word holds at first: as empty slots do."""
    registry.compile_slot(_SLOT)
    TABLE[GATEWAY] = TABLE[_SLOT]
    return registry.function_in(_SLOT)


TABLE[GATEWAY] = registry.callable_address(_first_call, _caught)
