"""Compiled kernels: they take checked operands and import nothing from the layers above."""

from .runtime import source_hash as source_hash  # first: it reads what is imported after it

# isort: split
from .runtime import caches as caches
from .runtime import thread_pool as thread_pool  # kernels ask it for threads, whoever calls them
