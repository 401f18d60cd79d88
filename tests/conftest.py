"""Hypothesis profiles and the seed of a test's random data. Nothing here imports fastgrad.

HYPOTHESIS_PROFILE=dev draws new examples each time; ci, the default, draws the same ones.
FASTGRAD_TEST_SEED=n repeats a test with the data of that seed; it is printed when a test fails.
"""

from __future__ import annotations

import os
import zlib

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


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random data that are a test's own and the same in every run."""
    given = os.environ.get("FASTGRAD_TEST_SEED")
    seed = int(given) if given else zlib.crc32(request.node.name.encode())
    print(f"FASTGRAD_TEST_SEED={seed}")  # captured: shown when the test fails
    return np.random.default_rng(seed)
