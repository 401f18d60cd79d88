"""What is wrong with a file or a table of the user's, as one line; and names in such lines."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .._ops.numbers import brief, shown


class DataError(ValueError):
    """A data file that cannot be used; the message is one line for the person who passed it."""


def printable(path: str) -> str:
    return path if path.isprintable() else repr(path)


def listed(names: Iterable[object], most: int = 5) -> str:
    """'a', 'b' and 3 more"""
    known = list(names)
    text = ", ".join(shown(name) for name in known[:most])
    return text + (f" and {len(known) - most} more" if len(known) > most else "")


def option(names: Iterable[str], most: int = 8) -> str:
    """Names as --drop and --columns take them, in quotes where a shell or a comma asks for them."""
    known = list(names)
    parts = [f'"{name}"' if "," in name else name for name in known[:most]]
    text = brief(",".join(parts) + (",..." if len(known) > most else ""), 200)
    plain = text.replace(",", "").replace("_", "").replace(".", "").isalnum()
    return text if plain else f"'{text}'"


def no_column(name: str, names: Iterable[str], option_name: str = "") -> str:
    """Words for a name that none of the columns has, and the one that may have been meant."""
    known = list(names)
    near = difflib.get_close_matches(str(name).lower(), [other.lower() for other in known], 1)
    hint = next(f"; {shown(other)} is one" for other in known if other.lower() == near[0]) if (
        near) else ""  # fmt: skip
    prefix = f"{option_name}: " if option_name else ""
    return f"{prefix}no column named {shown(name)} (columns: {listed(known, 12)}{hint})"


def counted(n: int, what: str) -> str:
    """1 row, 2 rows"""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
