"""The smallest L2, in which products of a moment have several blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import edges


@pytest.fixture(scope="module")
def smallest_l2() -> Iterator[None]:
    with edges.l2():
        yield
