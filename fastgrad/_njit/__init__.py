"""The public functions inside users' ``@njit`` functions: same names, arguments, bits and words.

given.py      types of arguments, checked when the user's function is compiled
emit.py       what is compiled into it: records of the operands, and calls of the gateway
in_python.py  the way of everything that is not plain: back to the public function
failures.py   its exceptions, kept for the compiled code to raise
"""

from . import elementwise, in_python, layers, losses, products, steps, threads

__all__ = ["elementwise", "in_python", "layers", "losses", "products", "steps", "threads"]
