"""What compiled code asks Python for: no exception gets lost on the way there."""

from __future__ import annotations

import ctypes
import functools
import operator
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit

import fastgrad
from fastgrad._kernels.runtime.callbacks import entry


@pytest.fixture(autouse=True)
def sigint() -> Iterator[None]:
    """As in a terminal: a process started in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def called_in_c(*functions: Callable[[], Any]) -> list[Any]:
    """Their results; from one to the next without a bytecode, so a signal stays pending."""
    return list(map(operator.methodcaller("__call__"), functions))


def interrupt() -> Any:
    set_flag = ctypes.pythonapi.PyErr_SetInterrupt
    set_flag.restype = None
    return set_flag


def twice(word: int) -> int:
    return 2 * word


@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_that_is_pending_when_it_is_entered(times: int) -> None:
    caught: list[BaseException] = []

    def keep(error: BaseException) -> int:
        caught.append(error)
        return -len(caught)

    function = entry(twice, keep)
    for i in range(1, times + 1):
        _, status = called_in_c(interrupt(), functools.partial(function, 21))
        assert status == -i and isinstance(caught[-1], KeyboardInterrupt)
        assert function(21) == 42 and len(caught) == i


def test_without_an_entry_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lost.append)
    bare = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(twice)
    called_in_c(interrupt(), functools.partial(bare, 21))
    assert [unraisable.exc_type for unraisable in lost] == [KeyboardInterrupt]


def test_a_second_signal_while_the_first_is_kept() -> None:
    caught: list[type[BaseException]] = []

    def keep(error: BaseException) -> int:
        caught.append(type(error))
        if len(caught) == 1:
            signal.raise_signal(signal.SIGINT)
        return 5

    def wrong(word: int) -> int:
        raise ValueError

    assert entry(wrong, keep)(0) == 5
    assert caught == [ValueError, KeyboardInterrupt]


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit, StopIteration])
def test_any_exception(error: type[BaseException]) -> None:
    def wrong(word: int) -> int:
        raise error(word)

    assert entry(wrong, lambda e: 3 if type(e) is error and e.args == (8,) else 0)(8) == 3


def test_nested_and_from_threads() -> None:
    deep = 20
    everyone = threading.Barrier(16)

    def down(word: int) -> int:
        if word == 0 and threading.current_thread() is not threading.main_thread():
            everyone.wait(60)
        return function(word - 1) + 1 if word else 0

    def fail(error: BaseException) -> int:
        return -1000

    function = entry(down, fail)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(function(deep))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert function(deep) == deep and found == [deep] * 16


@njit
def product(a: Any, b: Any) -> Any:
    return fastgrad.matmul(a, b)


def test_a_signal_that_is_pending_when_a_users_function_asks_python() -> None:
    a = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="matmul"):
        product(a, a)
    with pytest.raises(KeyboardInterrupt):
        called_in_c(interrupt(), functools.partial(product, a, a))
    assert (product(a, a.T) == 3).all()


def test_a_signal_that_is_pending_when_a_kernel_is_wanted_first() -> None:
    from fastgrad._kernels.runtime import registry
    from fastgrad._kernels.runtime.table import DTYPES, FAILED, OK

    built: list[str] = []

    def build(t: Any) -> Any:
        built.append(t.dtype)

        def kernel_of_a_test(p):  # type: ignore[no-untyped-def]
            return 0

        return kernel_of_a_test

    made = registry.register("kernel of a test", build, registry.Nothing, DTYPES[:1])
    kernel = registry.function_in(made.slot("float32"))
    _, status = called_in_c(interrupt(), functools.partial(kernel, 0))
    assert status == FAILED and not built
    with pytest.raises(KeyboardInterrupt):
        registry.raise_status(status)
    assert kernel(0) == OK and built == ["float32"]


class Interrupted(NamedTuple):
    """A kernel's struct: what it calls, and its calls."""

    function: int
    calls: int


def test_a_signal_that_comes_while_a_kernel_runs_first() -> None:
    """It is raised after the call, whose status, which says what it did, is not lost."""
    from fastgrad._kernels.codegen import atomics
    from fastgrad._kernels.runtime import registry
    from fastgrad._kernels.runtime.table import DTYPES

    def build(t: Any) -> Any:
        def interrupted_kernel_of_a_test(p):  # type: ignore[no-untyped-def]
            atomics.call_void(p.function)
            p.calls += 1
            return 40

        return interrupted_kernel_of_a_test

    made = registry.register("interrupted kernel of a test", build, Interrupted, DTYPES[:1])
    kernel, found = registry.function_in(made.slot("float32")), list[int]()
    words = (ctypes.c_int64 * 2)(ctypes.cast(interrupt(), ctypes.c_void_p).value or 0, 0)
    for calls in (1, 2):  # by way of what compiles it, both
        with pytest.raises(KeyboardInterrupt):
            list(map(found.append, map(kernel, [ctypes.addressof(words)])))
        assert found == [40] * calls and words[1] == calls
