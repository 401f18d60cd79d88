"""Compiled kernels: everything here takes checked operands and knows nothing of the public functions above."""
