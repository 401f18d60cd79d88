"""What the tests of others need: their marks are known, and those left without a call are skipped.

numpy's test modules cannot be imported where a mark of theirs is unknown.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    for mark in ("thread_unsafe", "leaks_references", "valgrind_error"):
        config.addinivalue_line("markers", f"{mark}: of numpy's own tests")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> Generator[None, Any, Any]:
    """A test of numpy's that did not call us is skipped, not passed."""
    result = yield
    test = pyfuncitem.instance
    if hasattr(test, "products") and not any(product.calls for product in test.products):
        pytest.skip(test.why_not)
    return result
