"""Versions that are too old get one line, before anything is imported that they cannot run.

A Python that is too old reads this file and __init__.py, so there is nothing newer than 3.6 here.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036, a checkout can be imported without pip
    raise ImportError(f"fastgrad needs Python 3.10 or newer, and this is {sys.version.split()[0]}")

import numba

NUMBA = (0, 62)  # as in pyproject.toml: the first with the pass builder of codegen/pipeline.py
_found = numba.version_info.short

if None not in _found and _found < NUMBA:  # a build of numba's sources may have no number
    raise ImportError(
        f"fastgrad needs numba {NUMBA[0]}.{NUMBA[1]} or newer, and this is {numba.__version__}: "
        "pip install --upgrade numba"
    )
