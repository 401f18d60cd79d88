"""How long does the first call take, on an empty cache of machine code and on a full one?

Each sample is a process of its own; imports are not counted. The control is the first call of a
trivial @njit function: what numba itself takes to get ready.
"""

from __future__ import annotations

from ._base import Timed, need

NEEDS = ("fastgrad._njit",)
# (A module's SETUP would be asv's setup: it does not look at the case.)
IMPORTS = """
import numpy as np, numba, fastgrad
a = np.ones((8, 8), "f4")
model = fastgrad.MLP((8, 8, 2))
labels = np.zeros(8, "i8")
@numba.njit
def trivial(a):
    return a[0, 0]
@numba.njit
def product(a):
    return fastgrad.matmul(a, a)
"""
EMPTY = """
import atexit, importlib.util, os, shutil, sys, tempfile
folder = tempfile.mkdtemp()
atexit.register(shutil.rmtree, folder, True)
os.environ["NUMBA_CACHE_DIR"] = folder
# kernels beside the sources are found whatever the cache is: a copy without them
package = os.path.dirname(importlib.util.find_spec("fastgrad").origin)
shutil.copytree(package, f"{folder}/fastgrad", ignore=shutil.ignore_patterns("*.nbc"))
sys.path.insert(0, folder)
"""
CALLS = {
    "control": "assert trivial(a) == 1",
    "matmul": "assert fastgrad.matmul(a, a)[0, 0] == 8",
    "linear_forward": "assert fastgrad.linear_forward(a, a, a[0], 'relu')[0, 0] == 9",
    "linear_backward": "assert fastgrad.linear_backward(a, a, a, 'relu', a).bias[0] == 8",
    "train_step": "assert model.train_step(a, labels) > 0",
    "njit": "assert product(a)[0, 0] == 8",  # its own compilation too, which nothing keeps
}


def _call(name: str) -> str:
    if name == "njit":
        need(NEEDS)
    return CALLS[name]


class Cached(Timed):
    """The first process fills the cache, and is not counted: it is the time to settle."""

    version = "1"
    params = [list(CALLS)]
    param_names = ["call"]
    repeat = 3

    def timeraw_cached(self, name: str) -> tuple[str, str]:
        return _call(name), IMPORTS


class Cold(Timed):
    """On an empty cache. One sample: what compiles for seconds is not told apart by more."""

    version = "1"
    params = [["matmul", "linear_backward", "njit"]]
    param_names = ["call"]
    warmup_time = 0.0
    repeat = min_run_count = 1
    timeout = 600

    def timeraw_cold(self, name: str) -> tuple[str, str]:
        return _call(name), EMPTY + IMPORTS
