"""Compiled kernels: they take checked operands and import nothing from the layers above."""
