"""The digest that README.md and docs/contract.md quote is what the command prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastgrad.cli import check
from fastgrad.reference import oracle

ROOT = Path(__file__).parents[2]
QUOTED = re.compile(r"`fastgrad check --bits`\s+prints\s+`(bits \d+: [0-9a-f]{16})`")


@pytest.mark.skipif(not oracle.has_fma(), reason="the digest of CPUs with FMA is quoted")
@pytest.mark.parametrize("page", ["README.md", "docs/contract.md"])
def test_the_digest_is_the_quoted_one(page: str) -> None:
    quoted = QUOTED.findall((ROOT / page).read_text(encoding="utf-8"))
    assert quoted == [list(check.describe())[-1]]
