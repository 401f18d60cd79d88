"""The number of threads: the default in every kind of environment, and the public settings."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgrad import get_num_threads, num_threads, set_num_threads, threads
from fastgrad.threads import MAX_THREADS, default_num_threads
from support import programs

NAMES = ("FASTGRAD_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


class Machine:
    """A Linux machine made of files under ``root``, and an environment without a number."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, monkeypatch
        for attribute in ("CPUS", "OWN_CGROUPS", "CGROUPS"):
            monkeypatch.setattr(threads, attribute, root / attribute)
        monkeypatch.setattr(threads, "_warned", set())
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        self.affinity(range(8))

    def affinity(self, cpus: Any) -> None:
        self.patch.setattr(os, "sched_getaffinity", lambda pid: set(cpus), raising=False)

    def file(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text + "\n")

    def topology(self, *cores: tuple[int, ...], name: str = "core_cpus_list") -> None:
        """Each core by the CPUs that share it."""
        for core in cores:
            for cpu in core:
                self.file(f"CPUS/cpu{cpu}/topology/{name}", ",".join(map(str, core)))

    def environment(self, **values: str) -> None:
        for name, value in values.items():
            self.patch.setenv(f"{name}_NUM_THREADS", value)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


# The environment --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"FASTGRAD": "3", "OMP": "5", "NUMBA": "6"}, 3),
        ({"OMP": "5", "NUMBA": "6"}, 5),
        ({"NUMBA": "6"}, 6),
        ({}, 8),
        ({"OMP": "4,2"}, 4),
        ({"OMP": " 4 , 2"}, 4),
        ({"FASTGRAD": " 2\n"}, 2),
        ({"FASTGRAD": "", "OMP": "5"}, 5),
        ({"FASTGRAD": " ", "OMP": "5"}, 5),
        ({"FASTGRAD": "20"}, 20),  # more than there are CPUs: the user knows
        ({"OMP": str(MAX_THREADS + 1)}, MAX_THREADS),
        ({"OMP": "0", "NUMBA": "6"}, 6),
        ({"OMP": "-4", "NUMBA": "many"}, 8),
        ({"OMP": "2.0", "NUMBA": "6"}, 6),
        ({"OMP": ",2", "NUMBA": "6"}, 6),
        ({"OMP": "9" * 5000, "NUMBA": "6"}, 6),  # more digits than int() takes
    ],
)
def test_environment(machine: Machine, environment: dict[str, str], expected: int) -> None:
    machine.environment(**environment)
    assert default_num_threads() == expected


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "all", "4,2"])
def test_our_own_variable_is_wrong(machine: Machine, value: str) -> None:
    """One warning; then what would have been without it."""
    machine.environment(FASTGRAD=value, OMP="5")
    message = f"fastgrad: FASTGRAD_NUM_THREADS is '{value}', expected a whole number of 1 or more"
    with pytest.warns(RuntimeWarning, match=message) as caught:
        assert default_num_threads() == 5
        assert default_num_threads() == 5
    assert len(caught) == 1


def test_a_warning_that_is_an_error_is_raised_once(machine: Machine) -> None:
    machine.environment(FASTGRAD="none", OMP="5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            default_num_threads()
        assert default_num_threads() == 5


def test_the_environment_is_capped_by_no_quota(machine: Machine) -> None:
    machine.file("OWN_CGROUPS", "0::/")
    machine.file("CGROUPS/cpu.max", "100000 100000")
    assert default_num_threads() == 1
    machine.environment(OMP="5")
    assert default_num_threads() == 5


# Cores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["core_cpus_list", "thread_siblings_list"])
@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        (range(8), 4),
        ((0, 4), 1),  # both threads of a core
        ((0, 1, 4), 2),
        ((5, 6), 2),  # one thread of each
        ((7,), 1),
    ],
)
def test_hyperthreads_count_once(machine: Machine, name: str, cpus: Any, expected: int) -> None:
    machine.topology((0, 4), (1, 5), (2, 6), (3, 7), name=name)
    machine.affinity(cpus)
    assert default_num_threads() == expected


def test_cores_that_are_not_told(machine: Machine) -> None:
    """CPUs count where the files are missing, empty or there for some of them."""
    machine.affinity((0, 1, 2))
    assert default_num_threads() == 3
    machine.topology((0, 1))
    assert default_num_threads() == 3
    machine.file("CPUS/cpu2/topology/core_cpus_list", "")
    assert default_num_threads() == 3
    machine.topology((2,))
    assert default_num_threads() == 2


@pytest.mark.parametrize(("cpus", "expected"), [(6, 6), (None, 1), (1000, MAX_THREADS)])
def test_without_an_affinity(machine: Machine, cpus: int | None, expected: int) -> None:
    machine.patch.delattr(os, "sched_getaffinity")
    machine.patch.setattr(os, "cpu_count", lambda: cpus)
    assert default_num_threads() == expected


# Quota ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", 8),
        ("300000 100000", 3),
        ("150000 100000", 2),  # rounded up: one thread would leave a third of it
        ("300001 100000", 4),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("1600000 100000", 8),  # more than there are CPUs
        ("300000", 8),  # what follows is no quota
        ("300000 0", 8),
        ("", 8),
        ("words", 8),
    ],
)
def test_cgroup_2(machine: Machine, text: str, expected: int) -> None:
    machine.file("OWN_CGROUPS", "0::/user.slice/a:b/job")
    machine.file("CGROUPS/user.slice/a:b/job/cpu.max", text)
    assert default_num_threads() == expected


@pytest.mark.parametrize("folder", ["", "user.slice", "user.slice/job"])
def test_cgroup_2_above(machine: Machine, folder: str) -> None:
    """Every cgroup on the way to the root limits; another's does not."""
    machine.file("OWN_CGROUPS", "0::/user.slice/job")
    machine.file("CGROUPS/other/cpu.max", "100000 100000")
    machine.file("CGROUPS/user.slice/job/cpu.max", "500000 100000")
    assert default_num_threads() == 5
    machine.file(f"CGROUPS/{folder}/cpu.max", "200000 100000")
    assert default_num_threads() == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("folder", ["docker/0123", "docker", ""])
def test_cgroup_1(machine: Machine, mount: str, folder: str) -> None:
    """Also where the path is the host's and a container sees its own cgroup at the root."""
    machine.file("OWN_CGROUPS", "5:cpuset:/x\n4:cpu,cpuacct:/docker/0123\n1:name=systemd:/\n0::/")
    machine.file("CGROUPS/cpuset/x/cpu.cfs_quota_us", "100000")
    machine.file("CGROUPS/cpuset/x/cpu.cfs_period_us", "100000")
    assert default_num_threads() == 8
    place = f"CGROUPS/{mount}/{folder}"
    machine.file(f"{place}/cpu.cfs_quota_us", "-1")
    machine.file(f"{place}/cpu.cfs_period_us", "50000")
    assert default_num_threads() == 8
    machine.file(f"{place}/cpu.cfs_quota_us", "150000")
    assert default_num_threads() == 3


def test_cgroups_of_both_versions(machine: Machine) -> None:
    machine.file("OWN_CGROUPS", "1:cpu:/a\n0::/b")
    machine.file("CGROUPS/cpu/a/cpu.cfs_quota_us", "400000")
    machine.file("CGROUPS/cpu/a/cpu.cfs_period_us", "100000")
    assert default_num_threads() == 4
    machine.file("CGROUPS/unified/b/cpu.max", "200000 100000")
    assert default_num_threads() == 2


@pytest.mark.parametrize("text", ["", "0", "0:", "0::", "no cgroup", "::\n:::", "0::/../../x"])
def test_cgroups_that_are_not_told(machine: Machine, text: str) -> None:
    machine.file("OWN_CGROUPS", text)
    machine.file("CGROUPS/x/cpu.max", "100000 100000")
    machine.file("cpu.max", "100000 100000")
    assert default_num_threads() == 8


def test_quota_and_cores_both_limit(machine: Machine) -> None:
    machine.topology((0, 4), (1, 5), (2, 6), (3, 7))
    machine.file("OWN_CGROUPS", "0::/")
    machine.file("CGROUPS/cpu.max", "600000 100000")
    assert default_num_threads() == 4
    machine.file("CGROUPS/cpu.max", "300000 100000")
    assert default_num_threads() == 3


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    assert 1 <= default_num_threads() <= min(MAX_THREADS, os.cpu_count() or 1)


# Settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, MAX_THREADS, np.int64(2), np.uint8(5)])
def test_set_is_got(n: int) -> None:
    set_num_threads(n)
    assert get_num_threads() == n
    assert type(get_num_threads()) is int


EXPECTED = "expected a whole number from 1 to 64"


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, f"n is 0, {EXPECTED}"),
        (-1, ValueError, f"n is -1, {EXPECTED}"),
        (65, ValueError, f"n is 65, {EXPECTED}"),
        (np.int64(0), ValueError, f"n is 0, {EXPECTED}"),
        (10**30, ValueError, f"n is {10**30}, {EXPECTED}"),
        (True, TypeError, f"n is of type bool, {EXPECTED}"),
        (np.True_, TypeError, f"n is of type {type(np.True_).__name__}, {EXPECTED}"),
        (2.0, TypeError, f"n is of type float, {EXPECTED}"),
        ("2", TypeError, f"n is of type str, {EXPECTED}"),
        (None, TypeError, f"n is of type NoneType, {EXPECTED}"),
        (np.array([2]), TypeError, f"n is of type ndarray, {EXPECTED}"),
    ],
)
@pytest.mark.parametrize("function", [set_num_threads, num_threads])
def test_errors(function: Any, n: Any, error: type[Exception], message: str) -> None:
    set_num_threads(2)
    with pytest.raises(error) as raised:
        function(n)
    assert str(raised.value) == f"{function.__name__}: {message}"
    assert get_num_threads() == 2


def test_context_nests_and_restores() -> None:
    set_num_threads(2)
    with num_threads(3):
        assert get_num_threads() == 3
        with num_threads(1):
            assert get_num_threads() == 1
        assert get_num_threads() == 3
        set_num_threads(7)  # undone at the end as well
    assert get_num_threads() == 2


def test_context_restores_after_an_error() -> None:
    set_num_threads(2)
    with pytest.raises(ZeroDivisionError), num_threads(3):
        assert get_num_threads() == 3
        raise ZeroDivisionError
    assert get_num_threads() == 2


def test_context_sets_nothing_until_it_is_entered() -> None:
    set_num_threads(2)
    context = num_threads(3)
    set_num_threads(4)
    with context:
        assert get_num_threads() == 3
    assert get_num_threads() == 4


def test_one_number_for_all_python_threads() -> None:
    set_num_threads(2)
    seen: list[int] = []
    with num_threads(3):
        other = threading.Thread(target=lambda: seen.append(get_num_threads()))
        other.start()
        other.join()
    assert seen == [3]


def python(program: str, **environment: str) -> list[str]:
    """What a process of its own prints; a warning there is an error."""
    environ = {k: v for k, v in programs.environment().items() if k not in NAMES}
    run = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program],
        env=environ | environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_import_reads_and_starts_nothing() -> None:
    """The variable would warn; the default is found later, when it says something else."""
    program = """
import os, threading
import fastgrad
print(threading.active_count())
os.environ["FASTGRAD_NUM_THREADS"] = "5"
print(fastgrad.get_num_threads())
os.environ["FASTGRAD_NUM_THREADS"] = "6"
print(fastgrad.get_num_threads())
fastgrad.set_num_threads(3)
print(fastgrad.get_num_threads(), threading.active_count())
"""
    assert python(program, FASTGRAD_NUM_THREADS="bad") == ["1", "5", "5", "3", "1"]
