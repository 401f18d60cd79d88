"""The first call of each function: on an empty cache, then from it, beside a trivial @njit.

    python benchmarks/compare/first_call.py

Each in a process of its own with a cache of its own, imports not counted; seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

CALLS = {
    "a trivial @njit(cache=True)": "trivial(1)",
    "matmul": "fastgrad.matmul(a, a)",
    "linear_forward, relu": "fastgrad.linear_forward(a, a, a[0], 'relu')",
    "linear_backward, relu": "fastgrad.linear_backward(a, a, a, 'relu', output=a)",
}
PROGRAM = """
import time
import numba, numpy as np
import fastgrad
a = np.ones((4, 4), "f4")
start = time.perf_counter()
if "trivial" in {call!r}:
    @numba.njit(cache=True)
    def trivial(x):
        return x + 1
{call}
print(f"{{time.perf_counter() - start:.2f}}")
"""


def main() -> None:
    for name, call in CALLS.items():
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "first.py")  # numba caches functions of files alone
            with open(program, "w") as file:
                file.write(PROGRAM.format(call=call))
            env = {**os.environ, "NUMBA_CACHE_DIR": folder}
            runs = [
                subprocess.run([sys.executable, program], env=env, capture_output=True, check=True)
                for _ in range(3)
            ]
        empty, *cached = (run.stdout.decode().strip() for run in runs)
        print(f"{name:<28} empty cache {empty} s   cached {' '.join(cached)} s", flush=True)


if __name__ == "__main__":
    main()
