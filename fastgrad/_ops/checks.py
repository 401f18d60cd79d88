"""Every check of array arguments and every message, once. Nothing here computes or writes.

Messages are one line: function, argument, what came, what was expected, what to do.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .._kernels.formulas.activations import BY_NAME, Activation
from .numbers import brief, shown

Array = NDArray[Any]
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def array(function: str, name: str, value: Any) -> Array:
    """``value`` as an ndarray or memmap of a dtype we compute with.

    What is no array becomes one where numpy reads numbers in it and nothing is lost.
    """
    if not is_array(value):
        value = _as_array(function, name, value)
    dtype = value.dtype
    if dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize in (4, 8)):
        return value  # type: ignore[no-any-return]
    if dtype.kind == "f" and dtype.itemsize == 2:
        remedy = f"convert it with {name}.astype(np.float32)"
    elif dtype.kind == "f":
        remedy = f"convert it with {name}.astype(np.float64)"
    elif dtype.kind == "c":
        remedy = f"pass {name}.real and {name}.imag separately"
    elif dtype.names:
        remedy = f"pass one of its fields, such as {name}[{shown(dtype.names[0])}]"
    else:
        remedy = f"convert it to numbers with {name}.astype(np.float32)"
    raise TypeError(
        f"{function}: {name} has dtype {brief(str(dtype))}, "
        f"expected float32, float64, an integer or bool; {remedy}"
    )


def ndarray(function: str, name: str, value: Any) -> Array:
    """``value`` if it is an array as it stands: in compiled code nothing else can be one."""
    if not is_array(value):
        remedy = "" if isinstance(value, _NO_ARRAYS) else f"; pass np.asarray({name})"
        what = f"{name} is {kind(value)}, expected a numpy.ndarray"
        raise TypeError(f"{function}: {what}{remedy}")
    return array(function, name, value)


# Of these numpy makes something, but no numbers.
_NO_ARRAYS = (type(None), str, bytes, bytearray, dict, set, frozenset, type)


def _as_array(function: str, name: str, value: Any) -> Array:
    """Lists, pandas objects, tensors on a CPU ...: whatever np.asarray loses nothing of."""
    what = f"{function}: {name} is {kind(value)}"
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what}, whose mask would be lost; pass {name}.filled(value)")
    if isinstance(value, np.ndarray):
        raise TypeError(f"{what}, expected a numpy.ndarray; pass np.asarray({name})")
    if isinstance(value, _NO_ARRAYS) or callable(value):
        raise TypeError(f"{what}, expected a numpy.ndarray")
    try:
        found = np.asarray(value)
    except Exception as error:  # whatever the type of the value raises
        raise TypeError(f"{what}, which numpy cannot read: {brief(str(error), 100)}") from None
    if found.dtype.kind not in "biufc":
        raise TypeError(
            f"{what}, which numpy reads as {brief(str(found.dtype))}; "
            f"pass an array of float32, float64, integers or bools"
        )
    return found


def is_array(value: Any) -> bool:
    return type(value) is np.ndarray or type(value) is np.memmap


def kind(value: Any) -> str:
    """The type of what was given, for a message."""
    if value is None:
        return "None"
    found = type(value)
    home = found.__module__.partition(".")[0]
    return found.__qualname__ if home == "builtins" else f"a {home}.{found.__qualname__}"


def result_dtype(*arrays: Array | None) -> np.dtype[Any]:
    """np.result_type of the arrays and float32: the dtype that is computed in."""
    found: np.dtype[Any] = _FLOATS[0]
    double = _FLOATS[1]
    for a in arrays:
        if a is not None and a.dtype != found:
            if a.dtype != double and a.dtype != _FLOATS[0]:
                return np.result_type(*(a.dtype for a in arrays if a is not None), np.float32)
            found = double
    return found


def cast(a: Array, dtype: np.dtype[Any]) -> Array:
    """``a`` itself where it has the dtype already (in native byte order), else a converted copy."""
    return a if a.dtype == dtype else a.astype(dtype)


def plain(a: Array, dtype: np.dtype[Any]) -> Array:
    """cast, of an ndarray alone: what the fast path takes."""
    return cast(a if type(a) is np.ndarray else a.view(np.ndarray), dtype)


def output(
    function: str, name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """``value`` if results of this shape and dtype can be written into it."""
    if not is_array(value):
        what = f"{name} is {kind(value)}, expected a numpy.ndarray to write"
        raise TypeError(f"{function}: {what}; {_allocate(shape, dtype)}")
    if value.dtype != dtype:
        what = f"{name} has dtype {brief(str(value.dtype))} but the result is {dtype}"
        raise TypeError(f"{function}: {what}; {_allocate(shape, dtype)}")
    if value.shape != shape:
        what = f"{name} has shape {value.shape} but the result has shape {shape}"
        raise ValueError(f"{function}: {what}; {_allocate(shape, dtype)}")
    if not value.flags.writeable:
        raise ValueError(
            f"{function}: {name} {shape} is read-only; pass an array that can be written"
        )
    if overlaps_itself(value):
        raise ValueError(
            f"{function}: elements of {name} {shape} share memory (strides {value.strides}); "
            f"pass an array whose elements are distinct, such as {name}.copy()"
        )
    return value  # type: ignore[no-any-return]


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    return f"allocate it with np.empty({shape}, np.{dtype})"


def distinct_outputs(function: str, **outputs: Array | None) -> None:
    """Outputs must not overlap each other: there would be no right answer to leave behind."""
    given = [(name, a) for name, a in outputs.items() if a is not None and a.size]
    for i, (name, a) in enumerate(given):
        for other, b in given[i + 1 :]:
            if np.may_share_memory(a, b) and np.shares_memory(a, b):
                raise ValueError(
                    f"{function}: {name} {a.shape} and {other} {b.shape} share memory; "
                    f"pass arrays that do not overlap"
                )


def overlaps_itself(a: Array) -> bool:
    """Whether two elements of ``a`` share a byte."""
    if a.flags.c_contiguous or a.size == 0:
        return False
    dims = sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1)
    reach = a.itemsize
    for stride, n in dims:
        if stride < reach:
            break
        reach += stride * (n - 1)
    else:
        return False
    if any(stride == 0 for stride, _ in dims):
        return True
    offsets = np.zeros(1, np.int64)  # rare: interleaved strides, so look at every element
    for stride, n in dims:
        offsets = (offsets[:, None] + stride * np.arange(n)).reshape(-1)
    offsets.sort()
    return bool((np.diff(offsets) < a.itemsize).any())


def flag(function: str, name: str, value: Any) -> bool:
    if type(value) is bool or isinstance(value, np.bool_):
        return bool(value)
    what = "None" if value is None else f"{kind(value)} {shown(value)}"
    raise TypeError(f"{function}: {name} is {what}, expected True or False")


def triple(function: str, name: str, value: Any, each: str) -> tuple[Any, Any, Any]:
    """A tuple (or list) of three: one for x, weight and bias each."""
    expected = f"expected a tuple of three {each}, for x, weight and bias"
    if not isinstance(value, tuple | list):
        raise TypeError(f"{function}: {name} is {kind(value)}, {expected}")
    if len(value) != 3:
        raise ValueError(f"{function}: {name} has {len(value)} entries, {expected}")
    return value[0], value[1], value[2]


def activation(function: str, name: Any) -> Activation | None:
    if name is None:
        return None
    names = ", ".join(repr(n) for n in BY_NAME)
    if not isinstance(name, str):
        raise TypeError(f"{function}: activation is {kind(name)}, expected None, {names}")
    if name not in BY_NAME:
        raise ValueError(
            f"{function}: activation {shown(name)} is not known; expected None, {names}"
        )
    return BY_NAME[name]


def mismatch(function: str, what: str, remedy: str, **arrays: Array) -> NoReturn:
    """Shapes that do not fit together, each named with its shape."""
    shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
    dtypes = " and ".join(sorted({str(a.dtype) for a in arrays.values()}))
    raise ValueError(f"{function}: {what} ({shapes}, {dtypes}); {remedy}")


def float_dtype(caller: str, dtype: Any) -> np.dtype[Any]:
    """float32 or float64, of this machine's byte order, from whatever numpy takes as a dtype."""
    try:
        found: np.dtype[Any] = np.dtype("V" if dtype is None else dtype)  # None: numpy's default
    except Exception:  # ValueError, SyntaxError and more, for some kinds of text
        raise TypeError(f"{caller}: dtype is {shown(dtype)}; pass float32 or float64") from None
    if found.name not in ("float32", "float64"):
        what = shown(dtype) if dtype is None else brief(str(found))
        raise TypeError(f"{caller}: dtype is {what}; pass float32 or float64")
    native: np.dtype[Any] = np.dtype(found.name)
    return native
