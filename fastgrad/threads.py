"""How many threads a call may use: set_num_threads, get_num_threads, num_threads, the default.

One number for the process. It changes how long a call takes and never a bit of what it computes.
The default is found when the number is first needed, not at import: see `default_num_threads`.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ._kernels.runtime import thread_pool
from ._kernels.runtime.pool_words import MAX_THREADS
from ._ops.numbers import shown

# Where Linux tells; tests point these at trees of their own.
CPUS = Path("/sys/devices/system/cpu")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")

_warned: set[str] = set()  # values of FASTGRAD_NUM_THREADS


def set_num_threads(n: int) -> None:
    """Let every call of this process use up to ``n`` threads, the calling one included.

    n: 1 to 64; more than there are cores is allowed, and slow. No thread is started by this, nor
    stopped: small calls run on one thread whatever n is. A call that is running keeps the number
    it began with. Results have the same bits for every n.

    Raises TypeError for what is not a whole number, ValueError for one out of range.
    """
    thread_pool.set_threads(_whole("set_num_threads", n))


def get_num_threads() -> int:
    """The number in force: the last one set, else `default_num_threads`, found at first need."""
    return int(thread_pool.threads())


def num_threads(n: int) -> AbstractContextManager[None]:
    """``with num_threads(n):`` sets n inside and the number before afterwards, errors or not.

    Process-wide, as set_num_threads is: other Python threads see n meanwhile, and where two of
    them are inside at a time, the one that leaves last decides what stays. Never changes bits.

    Raises, when called, as set_num_threads does.
    """
    return _in_force(_whole("num_threads", n))


@contextmanager
def _in_force(n: int) -> Iterator[None]:
    before = get_num_threads()
    thread_pool.set_threads(n)
    try:
        yield
    finally:
        thread_pool.set_threads(before)


def _whole(function: str, n: Any) -> int:
    expected = f"expected a whole number from 1 to {MAX_THREADS}"
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"{function}: n is of type {type(n).__name__}, {expected}")
    if not 1 <= n <= MAX_THREADS:
        raise ValueError(f"{function}: n is {shown(int(n))}, {expected}")
    return int(n)


def default_num_threads() -> int:
    """The number for a process that has not set one; from 1 to MAX_THREADS.

    The first of FASTGRAD_NUM_THREADS, OMP_NUM_THREADS (of a list its first entry) and
    NUMBA_NUM_THREADS that is a whole number of 1 or more. Otherwise the physical cores that the
    process's affinity lets it run on, and no more than its cgroups' CPU quota.
    """
    for name in ("FASTGRAD_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        text = os.environ.get(name, "").strip()
        n = _positive(text.partition(",")[0] if name == "OMP_NUM_THREADS" else text)
        if n:
            return min(n, MAX_THREADS)
        if text and name == "FASTGRAD_NUM_THREADS" and text not in _warned:
            _warned.add(text)
            warnings.warn(
                f"fastgrad: FASTGRAD_NUM_THREADS is {text!r}, expected a whole number of 1 or "
                f"more; it is ignored",
                RuntimeWarning,
                stacklevel=2,
            )
    # Rounded up: a quota of 1.5 is a limit on time, of which one thread could use only 1.
    return min(_cores(), math.ceil(min(_quota(), MAX_THREADS)))


def _positive(text: str) -> int:
    """The whole number that ``text`` is, or 0 if it is none of 1 or more."""
    try:
        return max(0, int(text))
    except ValueError:
        return 0


def _cores() -> int:
    """Physical cores among the CPUs of the affinity; CPUs where the cores are not told."""
    try:
        cpus = os.sched_getaffinity(0)
    except (AttributeError, OSError):  # macOS, Windows; not allowed to ask
        return os.cpu_count() or 1
    cores = {_core(cpu) for cpu in cpus}
    return len(cpus) if "" in cores else len(cores)


def _core(cpu: int) -> str:
    """A core's name: the CPUs that share it, as "0,4"; "" where Linux does not tell."""
    topology = CPUS / f"cpu{cpu}" / "topology"
    return _text(topology / "core_cpus_list") or _text(topology / "thread_siblings_list")


def _quota() -> float:
    """CPU seconds a second that the process's cgroups and those above them allow; often inf."""
    quota = math.inf
    for line in _text(OWN_CGROUPS).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2; the second place is a mixed system's
            places, read = [CGROUPS, CGROUPS / "unified"], _quota_2
        elif "cpu" in controllers.split(","):
            places, read = [CGROUPS / "cpu", CGROUPS / controllers], _quota_1
        else:
            continue
        # In a container the path can be the host's, or "/../x": then the root alone is ours.
        names = path.partition("/..")[0].strip("/").split("/")
        for place in places:
            for depth in range(len(names) + 1):
                quota = min(quota, read(place.joinpath(*names[:depth])))
    return quota


def _quota_1(cgroup: Path) -> float:
    return _share(_text(cgroup / "cpu.cfs_quota_us"), _text(cgroup / "cpu.cfs_period_us"))


def _quota_2(cgroup: Path) -> float:
    quota, _, period = _text(cgroup / "cpu.max").partition(" ")
    return _share(quota, period)


def _share(quota: str, period: str) -> float:
    """Microseconds of CPU in each period of microseconds; none is "max", -1 or no file."""
    used, of = _positive(quota), _positive(period)
    return used / of if used and of else math.inf


def _text(path: Path) -> str:
    """What a file holds, stripped; "" where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


thread_pool.default = default_num_threads
