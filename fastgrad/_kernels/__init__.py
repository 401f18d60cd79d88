"""Compiled kernels: they take checked operands and import nothing from the layers above."""

from .runtime import source_hash as source_hash  # first: it reads what is imported after it
