"""The gateway: what a user's compiled function calls, at word 1 of the table, with a descriptor.

Plain calls go on to the kernel of their function; what such a kernel does not take, and whatever it
has no kernel for, goes to Python, which sees to errors as well. The caller is told DONE, or which
kind of exception is waiting for it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from ..codegen.memory import call_kernel, word
from ..runtime.callbacks import KERNEL_TYPE
from ..runtime.jit import TABLE, address_of, compile_slot, register, register_callback, slot, stamp
from .records import BROKEN, CAREFUL, DONE, FUNCTION, LAYOUT, NUMBER, VERSION
from .user_layers import USER_BACKWARD, USER_FORWARD
from .user_products import USER_PRODUCT
from .user_steps import USER_LOSS, USER_STEP

GATEWAY = 1  # its word of the table, which never changes

# Set from above: (address of a descriptor, a kernel's status), and an exception on the way there,
# -> what the caller is told.
python: Callable[[int, int], int] = lambda descriptor, status: BROKEN  # noqa: E731
keep: Callable[[BaseException], int] = lambda error: BROKEN  # noqa: E731


def _in_python(words: int) -> int:
    descriptor, status = (ctypes.c_int64 * 2).from_address(words)
    return python(descriptor, status)


def _caught(error: BaseException) -> int:
    return keep(error)


IN_PYTHON = register_callback("user_call_in_python", _in_python, _caught)


def gateway(dtype: str) -> Any:
    version = stamp()
    product, forward, backward, loss, step = (
        slot(number, "float32")
        for number in (USER_PRODUCT, USER_FORWARD, USER_BACKWARD, USER_LOSS, USER_STEP)
    )
    last_product, layer, its_backward = (
        NUMBER[name] for name in ("matmul_tn", "linear_forward", "linear_backward")
    )
    softmax, mse = NUMBER["softmax_cross_entropy"], NUMBER["mse"]
    sgd, adam = NUMBER["sgd_step"], NUMBER["adam_step"]

    def kernel_gateway(d):  # type: ignore[no-untyped-def]
        _ = version
        number, status = word(d, FUNCTION), CAREFUL
        if word(d, VERSION) == LAYOUT:
            if number == layer:
                status = call_kernel(forward, (d,))
            elif number == its_backward:
                status = call_kernel(backward, (d,))
            elif number <= last_product:
                status = call_kernel(product, (d,))
            elif number == softmax or number == mse:
                status = call_kernel(loss, (d,))
            elif number == sgd or number == adam:
                status = call_kernel(step, (d,))
        if status == DONE:
            return DONE
        return call_kernel(IN_PYTHON, (d, status))

    return kernel_gateway


_SLOT = slot(register("gateway", gateway, ("float32",)), "float32")


def _first_call(descriptor: int) -> int:
    """What the word holds at first: as jit's empty slots do."""
    compile_slot(_SLOT)
    TABLE[GATEWAY] = TABLE[_SLOT]
    return int(KERNEL_TYPE(TABLE[_SLOT])(descriptor))


TABLE[GATEWAY] = address_of(_first_call, _caught)
