"""Options of tables, which ``train`` and ``predict`` have."""

from __future__ import annotations

import argparse

from . import _arguments


def configure(parser: argparse.ArgumentParser, is_training: bool = True) -> None:
    add = parser.add_argument_group("tables").add_argument
    if is_training:
        add("--target", "--label", metavar="COLUMN", help="column to learn (default: the one "
            "called target, label, class or y; or the first or last, if it alone looks like "
            "classes)",
        )  # fmt: skip
        add("--weights", metavar="COLUMN", help="column of numbers, 0 or more: how much "
            "a row counts in the loss and in accuracies (default: all alike)")  # fmt: skip
        add("--columns", type=_arguments.names, metavar="A,B,...",
            help="columns to learn from (default: all others)")  # fmt: skip
        add("--no-standardize", action="store_true",
            help="take numbers as they are (default: less their mean, by their deviation)",
        )  # fmt: skip
    add("--drop", type=_arguments.names, default=(), metavar="A,B,...",
        help="columns to leave out")  # fmt: skip
    add("--separator", type=_arguments.separator, metavar="CHAR",
        help="between columns: comma, semicolon, tab, pipe, space (default: found out)",
    )  # fmt: skip
    add("--decimal", type=_arguments.decimal, metavar="MARK",
        help="point or comma (default: found out)")  # fmt: skip
    add("--header", action="store_const", const=True, default=None,
        help="line 1 names the columns (default: found out)")  # fmt: skip
    add("--no-header", action="store_const", const=False, dest="header",
        help="it does not: they are called 1, 2, 3, ...")  # fmt: skip
