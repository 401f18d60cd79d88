"""Hypothesis profiles and the seed of a test's random data. Nothing here imports fastgrad.

HYPOTHESIS_PROFILE=dev draws new examples each time; ci, the default, draws the same ones.
FASTGRAD_TEST_SEED=n repeats a test with the data of that seed; it is printed when a test fails.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

_SLOW_FIRST_CALL = (HealthCheck.too_slow,)  # the first example of a test may compile
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    print_blob=True,
    suppress_health_check=_SLOW_FIRST_CALL,
)
settings.register_profile(
    "dev",
    deadline=None,
    max_examples=300,
    print_blob=True,
    suppress_health_check=_SLOW_FIRST_CALL,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# Folders that are a tier of their own; pytest's -m chooses, and pyproject.toml says what each is.
TIERS = ("judges", "memory", "process")
# The suite of 20 seconds: files, and tests of files, most of them in float32 alone.
SMOKE = (
    "api/test_linear.py",
    "api/test_matmul.py::test_exact_integers[float32",
    "api/test_mlp.py",
    "api/test_optim.py",
    "api/test_validate.py",
    "contract/test_formula.py::test_small_product[float32",
    "contract/test_formula.py::test_forward[float32",
    "docs/test_api.py",
    "docs/test_pages.py",
    "kernels/test_layers.py",
    "kernels/test_target.py",
    "njit/test_bits.py::test_products[float32",
)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(tests).as_posix()
        if (folder := place.partition("/")[0]) in TIERS:
            item.add_marker(folder)
        if f"{place}::{item.name}".startswith(SMOKE):
            item.add_marker("smoke")


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A numba cache for processes that compile for another CPU: what one leaves there, the next
    one finds, also of another worker of pytest-xdist. Code of each CPU has a key of its own."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "warm_cache"


@pytest.fixture(autouse=True)
def scratch_is_given_back() -> Iterator[None]:
    """A kernel that ends early, by an exception say, keeps 5 MB that no result would show."""
    yield
    if scratch := sys.modules.get("fastgrad._kernels.runtime.scratch"):
        words = sys.modules["fastgrad._kernels.runtime.table"]
        taken = [i for i in range(scratch.ARENAS) if words.TABLE[words.SCRATCH + 2 * i] != 0]
        assert not taken, f"arenas {taken} are taken: by a call that has ended, or still runs"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random data that are a test's own and the same in every run."""
    given = os.environ.get("FASTGRAD_TEST_SEED")
    seed = int(given) if given else zlib.crc32(request.node.name.encode())
    print(f"FASTGRAD_TEST_SEED={seed}")  # captured: shown when the test fails
    return np.random.default_rng(seed)
