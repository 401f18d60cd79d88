"""numpy's own tests of matmul, dot, inner and linalg, with our product in the place of numpy's.

They are imported from the numpy that is installed. What we do not offer goes on to numpy: other
dtypes than bool, integers, float32 and float64; bool @ bool, which is a logical product there and a
count here; subclasses of ndarray; scalars in dot and inner, and stacks, which they multiply another
way. A test in which no product is left for us is skipped (LEFT; of those of linalg, what makes no
real product), and one that we cannot pass is expected to fail (FAILS). Tests of the operator @ are
not taken: it is ndarray's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgrad import matmul, matmul_nt

CORE = "numpy._core" if hasattr(np, "_core") else "numpy.core"
try:
    arrays: Any = importlib.import_module(f"{CORE}.tests.test_multiarray")
    linear: Any = importlib.import_module("numpy.linalg.tests.test_linalg")
except ImportError as missing:  # a numpy without its tests
    pytest.skip(f"{missing}", allow_module_level=True)
inside_linalg: Any = importlib.import_module(np.linalg.solve.__wrapped__.__module__)

# The name of a test -> why we fail it.
FAILS = {
    "test_out_arg": "an out of another dtype than the result's is an error, also a wider one",
    "test_empty_out": "wants numpy's words; our ValueError has others",
}

# Of arrays' tests, those in which no product is left for us.
LEFT = {
    **dict.fromkeys(
        (
            "test_matmul_object_type_scalar",
            "test_matmul_empty",
            "test_matmul_exception_add",
            "test_matmul_exception_multiply",
            "test_vecobject",
            "test_dtype_discovery_fails",
            "test_inner_type_mismatch",
        ),
        "objects and records, not numbers",
    ),
    "test_matmul_bool": "a logical product",
    **dict.fromkeys(
        ("test_dot_2args", "test_dot_3args", "test_dot_3args_errors"),
        "calls a function that the module took from numpy before",
    ),
    **dict.fromkeys(("test_dot_out_result", "test_dot_out_aliasing"), "the method of an array"),
    "test_inner_scalar_and_vector": "by a scalar",
    "test_3d_tensor": "inner of stacks, multiplied another way",
}


class Product:
    """Ours in the place of numpy's; counts what it computes."""

    def __init__(
        self, ours: Callable[..., Any], numpys: Callable[..., Any], types: str, ndim: int
    ) -> None:
        self.ours, self.numpys, self.types, self.ndim = ours, numpys, types, ndim
        self.calls = 0

    def _is_ours(self, *operands: Any) -> bool:
        return any(x.dtype.kind != "b" for x in operands) and all(
            type(x) is np.ndarray and x.dtype.char in self.types and x.ndim <= self.ndim
            for x in operands
        )

    def __call__(self, a: Any, b: Any, *out: Any, **named: Any) -> Any:
        left, right = (np.array(x) if isinstance(x, (list, int, float)) else x for x in (a, b))
        is_scalar = self.ndim == 2 and 0 in (np.ndim(left), np.ndim(right))
        if is_scalar or not self._is_ours(left, right):
            return self.numpys(a, b, *out, **named)
        self.calls += 1
        return self.ours(left, right, *out, **named)


class _WithOurs:
    """A class of numpy's tests, which find our products in the modules they look into."""

    types = "?bhilqBHILQfd"
    replaced: tuple[str, ...] = ("matmul", "dot", "inner")
    matmul: Any

    @pytest.fixture(autouse=True)
    def _ours(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        name = request.node.originalname
        if name == "test_result_types":  # a product of integers is float32 or float64
            self.types = "fd"
        given = getattr(request.node, "callspec", None)
        dtype = given and given.params.get("dtype", given.params.get("dt"))
        if dtype is not None and np.dtype(dtype).char not in self.types:
            pytest.skip("a dtype that is not ours")
        ours = {
            "matmul": Product(matmul, np.matmul, self.types, 32),
            "dot": Product(matmul, np.dot, self.types, 2),
            "inner": Product(matmul_nt, np.inner, self.types, 2),
        }
        self.matmul = ours["matmul"]
        self.products = tuple(ours[function] for function in self.replaced)
        self.why_not = LEFT.get(name, "makes no product of ours")
        for function in self.replaced:
            for module in (np, linear, inside_linalg):
                if hasattr(module, function):
                    monkeypatch.setattr(module, function, ours[function])
        if name in FAILS:
            request.applymarker(pytest.mark.xfail(reason=FAILS[name], strict=True))


class TestMatmul(_WithOurs, arrays.TestMatmul):
    replaced = ("matmul",)


class TestDot(_WithOurs, arrays.TestDot):
    replaced = ("dot",)


class TestInner(_WithOurs, arrays.TestInner):
    replaced = ("inner",)


class _Linear(_WithOurs):
    types = "fd"  # integer powers of integers are to be integers


for _theirs in (
    linear.TestSolve,
    linear.TestInv,
    linear.TestEig,
    linear.TestSVD,
    linear.TestPinv,
    linear.TestEighCases,
    linear.TestQR,
    linear.TestCholesky,
    linear.TestLstsq,
    linear.TestMatrixPower,
    linear.TestMultiDot,
):
    globals()[_theirs.__name__] = type(_theirs.__name__, (_Linear, _theirs), {})
del _theirs  # not a class of ours: not to be collected
