"""``fastgrad info``: versions, the CPU that is compiled for, tiles, threads, cache."""

from __future__ import annotations

import argparse

from .._config import show_config

HELP = "show versions, CPU, vector width, tiles, threads and the cache"


def configure(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(args: argparse.Namespace) -> int:
    show_config()
    return 0
