"""Kernels: a builder and a struct in, a number in the table out; compiled when first called.

    @kernel(Product)
    def gemm(t):                            t: what it is generated for, see ``Floats``
        blocked_kernel = t[blocked]         another kernel, of the same dtype
        def body(p):                        p: a view of a Product
            return call(blocked_kernel, Product(...))
        return body

A kernel is a function of the address of its struct and returns a status. Its own address stands in
a slot of the table; an empty slot holds a trampoline that compiles and goes on. A task is a kernel
that the pool calls with a plan and a number: its struct is Task, and ``task(Plan)`` says of what.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..codegen import structs
from ..codegen.calls import Emitted, Slot, VectorFunction, call
from ..codegen.target import KC, Isa, current
from . import compiler
from .callbacks import KERNEL_TYPE, entry
from .table import DTYPES, FAILED, OK, OUT_OF_MEMORY, READY, SLOTS, TABLE, keep, ready, slot


class Task(NamedTuple):
    """What a task is given."""

    plan: int  # address of the job's plan
    task: int  # its number, from 0


class Word(NamedTuple):
    """What a callback or a small kernel is given."""

    value: int


class Nothing(NamedTuple):
    """What a callback without arguments is given."""


@dataclass(frozen=True, eq=False)
class Kernel:
    name: str
    build: Callable[[Floats], Callable[..., Any]]
    struct: Any
    number: int
    dtypes: tuple[str, ...] = DTYPES
    uses: tuple[Kernel, ...] = ()  # what it calls as a task of a job: compiled before it
    plan: Any = None  # of a task

    def slot(self, dtype: str) -> int:
        """Its word in the table; a kernel that computes with no floats has one, the first."""
        return slot(self.number, dtype if dtype in self.dtypes else DTYPES[0])


@dataclass(frozen=True)
class Floats:
    """What a kernel is generated for: a dtype, and the CPU that numba compiles for."""

    dtype: str

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return 8 if self.dtype == "float64" else 4

    @property
    def kc(self) -> int:
        return KC[self.dtype]

    @property
    def isa(self) -> Isa:
        return current().isa

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return self.isa.lanes(self.size)

    def __getitem__(self, what: Any) -> Any:
        """A kernel or an emitted function, as a constant for ``call``."""
        if isinstance(what, VectorFunction):
            return Emitted(what, self.size)
        return Slot(what.slot(self.dtype), what.struct, what.plan)


_kernels: list[Kernel] = []
_names: list[str] = []
_of_slot: dict[int, tuple[Kernel, str]] = {}
_compiled: dict[int, Any] = {}  # by slot
_failures: dict[int, BaseException] = {}  # by thread, and the last one of any as LAST
_LAST = 0


def kernel(
    struct: Any, dtypes: tuple[str, ...] = DTYPES, uses: tuple[Kernel, ...] = (), plan: Any = None
) -> Callable[[Callable[[Floats], Callable[..., Any]]], Kernel]:
    """The kernel that ``build(floats)`` makes the body of, named as the builder is."""
    return lambda build: register(build.__name__, build, struct, dtypes, uses, plan)


def task(
    plan: Any, uses: tuple[Kernel, ...] = ()
) -> Callable[[Callable[[Floats], Callable[..., Any]]], Kernel]:
    """A kernel that does one task of a job, which is described by a plan."""
    return kernel(Task, uses=uses, plan=plan)


def kernel_of(function: VectorFunction) -> Kernel:
    """The kernel that is one emitted function."""

    def build(t: Floats) -> Callable[..., Any]:
        emitted = t[function]

        def body(p):  # type: ignore[no-untyped-def]
            call(emitted, p)
            return OK

        return body

    return register(function.name, build, function.struct)


def register(
    name: str,
    build: Callable[[Floats], Callable[..., Any]],
    struct: Any,
    dtypes: tuple[str, ...] = DTYPES,
    uses: tuple[Kernel, ...] = (),
    plan: Any = None,
) -> Kernel:
    made = Kernel(name, build, struct, _new_number(name), dtypes, uses, plan)
    for dtype in dtypes:
        index = made.slot(dtype)
        _of_slot[index] = made, dtype
        _fill(index, functools.partial(_first_call, index))
    _kernels.append(made)
    return made


def callback(
    name: str,
    function: Callable[[int], int],
    struct: Any,
    caught: Callable[[BaseException], int] | None = None,
) -> Slot:
    """A Python function of the address of a struct in a slot: what compiled code asks Python for.

    ``caught`` makes a status of an exception.
    """
    index = slot(_new_number(name), DTYPES[0])
    _fill(index, function, caught or failed)
    TABLE[ready(index)] = 1
    return Slot(index, struct)


def _new_number(name: str) -> int:
    assert name not in _names and SLOTS + 2 * len(_names) + 1 < READY
    _names.append(name)
    return len(_names) - 1


def _fill(
    index: int, function: Callable[[int], Any], caught: Callable[[BaseException], int] | None = None
) -> None:
    TABLE[ready(index)] = 0  # it may be 1 from an earlier import
    TABLE[index] = callable_address(function, caught or failed)


def callable_address(function: Callable[[int], Any], caught: Callable[[BaseException], int]) -> int:
    """Of a Python function, for compiled code; it lives as long as the process."""
    return ctypes.cast(keep(entry(function, caught)), ctypes.c_void_p).value or 0


def _first_call(index: int, address: int) -> Callable[[int], int]:
    """What an empty slot does: compile or load, fill the slot; and the kernel, which is called."""
    compile_slot(index)
    return function_in(index)


def function_in(index: int) -> Callable[[int], int]:
    """What stands in a slot, for Python."""
    return KERNEL_TYPE(TABLE[index])


def compile_slot(index: int) -> int:
    with compiler.lock:
        if index not in _compiled:
            made, dtype = _of_slot[index]
            for used in made.uses:
                compile_slot(used.slot(dtype))
            body, argument = made.build(Floats(dtype)), structs.View(made.struct)
            result = compiler.compiled(f"{made.name}.{dtype}", body, (argument,))
            _compiled[index] = result
            TABLE[index] = result.address
            TABLE[ready(index)] = 1
    return OK


def compile_all() -> None:
    for index in _of_slot:
        compile_slot(index)


def count() -> int:
    """How many there are for compile_all, each dtype counted."""
    return len(_of_slot)


def kernels() -> Iterator[Kernel]:
    """All that are registered, in the order of their numbers."""
    return iter(_kernels)


def failed(error: BaseException) -> int:
    """The status of a kernel that raised this; it waits for whoever called from Python."""
    _failures[threading.get_ident()] = _failures[_LAST] = error
    return FAILED


def raise_status(status: int) -> None:
    """A kernel's status other than OK as the exception it stands for."""
    if status & FAILED:
        last = _failures.pop(_LAST, None)  # of a worker, if not of this thread
        error = _failures.pop(threading.get_ident(), last)
        raise error if error is not None else RuntimeError("fastgrad: a kernel failed to compile")
    if status & OUT_OF_MEMORY:
        raise MemoryError("fastgrad: no memory for the scratch of a kernel")
    raise SystemError(f"fastgrad: a kernel returned the status {status}")


def _compile(address: int) -> int:
    return compile_slot(ctypes.c_int64.from_address(address).value)


COMPILE = callback("compile", _compile, Word)
