"""From arguments to kernels: Python's objects, and the records of users' compiled functions."""
