"""asv suite: one file a question, which is its first line. One thread everywhere.

Machine code is cached by environment and commit: numba's own key does not see what a kernel is
generated from. A commit that lacks what a benchmark calls shows n/a, see _base.py.
"""

import os
import tempfile
from pathlib import Path

for library in ("OPENBLAS", "OMP", "MKL", "FASTGRAD"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

_cache = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("ASV_ENV_DIR") or tempfile.gettempdir()
os.environ["NUMBA_CACHE_DIR"] = str(
    Path(_cache)
    / "fastgrad-asv"
    / os.environ.get("ASV_ENV_NAME", "existing")
    / os.environ.get("ASV_COMMIT", "existing")
)

# asv_runner imports pympler, and that numpy, before this runs: then the variables came too late.
import threadpoolctl  # noqa: E402

threadpoolctl.threadpool_limits(1)
