"""Compiled kernels: they take checked operands and import nothing from the layers above."""

from . import sources as sources  # first: it reads what is imported after it
