"""set_num_threads and get_num_threads in compiled code."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic, overload

from .. import threads
from . import given
from .given import OPTIONS


@intrinsic
def _set(typing_context: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from .emit import Caller

        call = Caller(context, builder, "set_num_threads")
        call.number(n, values[0])
        call.call()
        return context.get_dummy_value()

    return types.none(n), codegen


@intrinsic
def _get(typing_context: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from .emit import Caller

        call = Caller(context, builder, "get_num_threads")
        number = call.place(types.int64)
        call.word(number)
        call.call()
        return call.stored(types.int64, number)

    return types.int64(), codegen


@overload(threads.set_num_threads, jit_options=OPTIONS)
def _typed_set(n):  # type: ignore[no-untyped-def]
    if not isinstance(n, types.Integer):
        with given.typing():
            threads._whole("set_num_threads", given.sample(n))

    def implementation(n):  # type: ignore[no-untyped-def]
        return _set(n)

    return implementation


@overload(threads.get_num_threads, jit_options=OPTIONS)
def _typed_get():  # type: ignore[no-untyped-def]
    def implementation():  # type: ignore[no-untyped-def]
        return _get()

    return implementation
