"""Programs about calls from executors of all kinds: ``python executors.py NAME...``.

Each gives the same calls to many workers, threads or processes, and compares what they found with
what this thread found alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
from scenarios import main, scenario

import fastgrad
from fastgrad import MLP, Adam

WORKERS = 3


def digest(number: int, threads: int = 3) -> str:
    """Of a layer, its gradients and some steps, cut into tasks; few kernels, so it begins soon."""
    fastgrad.set_num_threads(threads)
    rng = np.random.default_rng(number)
    x, w, g = (
        rng.standard_normal(s).astype(np.float32) for s in ((150, 160), (160, 170), (150, 170))
    )
    y = fastgrad.linear_forward(x, w, activation="relu")
    grads = fastgrad.linear_backward(g, x, w, "relu", y)
    model = MLP((160, 64, 10), optimizer=Adam())
    losses = np.array([model.train_step(x, np.arange(150) % 10) for _ in range(3)])
    arrays = [y, grads.x, grads.weight, losses, *model.weights]
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()[:16]  # type: ignore


def alone() -> list[str]:
    return [digest(number, 1) for number in range(8)]


def check(found: Iterable[str]) -> None:
    fastgrad.set_num_threads(3)
    assert list(found) == alone()


def of_all(executor: Executor) -> list[str]:
    with executor:
        return list(executor.map(digest, range(8)))


def in_threads(_number: int = 0) -> list[str]:
    return of_all(ThreadPoolExecutor(WORKERS))


def in_processes(method: str) -> list[str]:
    return of_all(ProcessPoolExecutor(WORKERS, get_context(method)))


# ---------------------------------------------------------------------------------------------


@scenario
def thread_pool() -> None:
    check(in_threads())


@scenario
def processes_forked() -> None:
    """From a process whose pool is warm; from one of its threads, too."""
    check(digest(number) for number in range(8))
    check(in_processes("fork"))
    with ThreadPoolExecutor(1) as one:
        check(one.submit(in_processes, "fork").result())
    with get_context("fork").Pool(WORKERS) as pool:
        check(pool.map(digest, range(8)))


@scenario
def processes_spawned() -> None:
    check(in_processes("spawn"))


@scenario
def processes_of_a_forkserver() -> None:
    """Whose server imported fastgrad before it forks."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["fastgrad"])
    check(of_all(ProcessPoolExecutor(WORKERS, context)))


@scenario
def threads_in_threads() -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for found in pool.map(in_threads, range(WORKERS)):
            check(found)


@scenario
def threads_in_processes() -> None:
    check(digest(number) for number in range(8))
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        for found in pool.map(in_threads, range(2)):
            check(found)


@scenario
def processes_in_processes() -> None:
    """Children that use their pool of threads and then fork as well."""
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        assert pool.submit(digest, 0).result() == digest(0, 1)
        check(pool.submit(in_processes, "fork").result())


def _joblib(backend: str) -> None:
    import joblib

    jobs = [joblib.delayed(digest)(number) for number in range(8)]
    for _ in range(2):
        check(joblib.Parallel(WORKERS, backend=backend)(jobs))


@scenario
def joblib_threading() -> None:
    _joblib("threading")


@scenario
def joblib_loky() -> None:
    """Its workers set OMP_NUM_THREADS for themselves: the default number of threads follows."""
    import joblib

    _joblib("loky")
    number = joblib.Parallel(2, backend="loky")([joblib.delayed(own_default)()])[0]
    assert number == max(1, (os.cpu_count() or 1) // 2), number


def own_default() -> int:
    from fastgrad.threads import default_num_threads

    return default_num_threads()


@scenario
def joblib_in_joblib() -> None:
    import joblib

    def inner(number: int) -> list[str]:
        jobs = [joblib.delayed(digest)(n) for n in range(8)]
        return list(joblib.Parallel(2, backend="threading")(jobs))

    for backend in ("threading", "loky"):
        for found in joblib.Parallel(2, backend=backend)(joblib.delayed(inner)(n) for n in (0, 1)):
            check(found)


if __name__ == "__main__":
    main()
