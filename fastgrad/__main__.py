"""``python -m fastgrad``: the command line, see fastgrad.cli."""

from __future__ import annotations

import sys

from fastgrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
