"""What the table of activations cannot say for them, other places say as well: no name is missing.

A row of activations.py is all that compiled code, @njit, the messages, MLP and the command line go
by. Type checkers and readers want the names in writing, and the mathematics stands twice on
purpose: fastgrad.reference is what the kernels are compared with.
"""

from __future__ import annotations

import re
from typing import get_args

import pytest

import fastgrad
from fastgrad import reference
from fastgrad._kernels.formulas.activations import BY_NAME, ActivationName
from support import accuracy, exact

EXACT = {"relu"}  # with its derivative: nothing is rounded


def test_types_have_every_name() -> None:
    assert get_args(ActivationName) == tuple(BY_NAME)


def test_the_reference_has_every_name_and_saves_the_same() -> None:
    rows = {name: row.saved for name, row in reference.ACTIVATIONS.items()}
    assert rows == {name: row.saved for name, row in BY_NAME.items()}


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - EXACT))
def test_the_accuracy_of_every_name_is_measured(name: str) -> None:
    assert name in exact.VALUES and f"{name}_backward" in exact.DERIVATIVES
    assert {name, f"{name}_backward"} <= set(accuracy.BOUNDS)


@pytest.mark.parametrize("name", BY_NAME)
def test_docstrings_have_every_name(name: str) -> None:
    word = re.compile(rf"\b{name}\b")
    for text in (fastgrad.linear_forward.__doc__, fastgrad.linear_backward.__doc__):
        assert word.search(text or ""), text
