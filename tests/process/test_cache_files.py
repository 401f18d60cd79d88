"""Files of disk_cache.py, of kernels of one instruction: faults of every kind, keys, versions."""

from __future__ import annotations

import ctypes
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest

from fastgrad._kernels.runtime import compiler, disk_cache, source_hash

CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


def build(number: int) -> Callable[[int], int]:
    def kernel(d):  # type: ignore[no-untyped-def]
        return d + number

    return kernel


def compiled(number: int) -> tuple[int, int]:
    """What the kernel of that number makes of 1000, and whether it came from the disk."""
    found = compiler._compile(f"kernel {number}", build(number), (numba.types.int64,))
    return CALL(found.address)(1000), found.cache_hits


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(disk_cache, "_warned", False)
    monkeypatch.setattr(disk_cache, "_pruned", True)
    return tmp_path


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_every_damage_is_seen(times: int, folder: Path) -> None:
    """69 faults in a file, and 564: it is not used, and is whole again afterwards."""
    assert compiled(7) == (1007, 0) and compiled(7) == (1007, 1)
    (path,) = files(folder)
    whole = path.read_bytes()
    chance = random.Random(3)
    cuts = [whole[:n] for n in (0, 1, 31, 32, 33, *chance.sample(range(len(whole)), 20 * times))]
    flips = []
    for place in (0, 31, 32, len(whole) - 1, *chance.sample(range(len(whole)), 25 * times)):
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(8)
        flips.append(bytes(changed))
    starts = chance.sample(range(len(whole) // 2), 10 * times)
    zeros = [whole[:n] + bytes(len(whole) - n) for n in starts]
    others = [whole + b"\0", bytes(40), b"\x80", whole * 2, chance.randbytes(33)]
    for data in (*cuts, *flips, *zeros, *others):
        path.write_bytes(data)
        assert compiled(7) == (1007, 0)
        assert path.read_bytes()[32:] != data[32:] and compiled(7) == (1007, 1)
    assert files(folder) == [path] and len(cuts + flips + zeros + others) == 14 + 55 * times


def test_nothing_damaged_is_unpickled(folder: Path) -> None:
    compiled(7)
    (path,) = files(folder)
    path.write_bytes(path.read_bytes()[:32] + b"cposix\nmkdir\n(S'%b/made'\ntR." % bytes(folder))
    assert compiled(7) == (1007, 0) and not (folder / "made").exists()


def test_what_cannot_be_unpickled_is_compiled(folder: Path, monkeypatch) -> None:
    """A file may be whole and yet be from another world: a class that is gone, say."""

    def fail(data: object) -> None:
        raise AttributeError("Can't get attribute 'Gone'")

    compiled(7)
    with monkeypatch.context() as patch:
        patch.setattr(disk_cache.pickle, "loads", fail)
        assert compiled(7) == (1007, 0)
    assert compiled(7) == (1007, 1)


def test_the_file_of_another_kernel_is_refused(folder: Path) -> None:
    """It is whole, and of the same name and signature."""
    compiled(1)
    (one,) = files(folder)
    compiled(2)
    (other,) = set(files(folder)) - {one}
    one.write_bytes(other.read_bytes())
    assert compiled(1) == (1001, 0) and compiled(2) == (1002, 1)


def test_two_processes_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has looked before the other has written, and they write in turn."""
    written: list[tuple[Any, ...]] = []
    save = disk_cache.DiskCache.save_overload
    with monkeypatch.context() as patch:
        patch.setattr(disk_cache.DiskCache, "save_overload", lambda *args: written.append(args))
        for number in (1, 2, 1):
            compiled(number)
    for args in reversed(written):
        save(*args)
    assert len(files(folder)) == 2
    assert compiled(1) == (1001, 1) and compiled(2) == (1002, 1)


@pytest.mark.parametrize("what", ["makedirs", "open", "replace"])
def test_what_cannot_be_written_is_not(what: str, folder: Path, monkeypatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        real = disk_cache.DiskCache.save_overload

        def save(*args: Any) -> None:  # the search for a folder writes, too
            with pytest.MonkeyPatch.context() as inside:
                owner = disk_cache if what == "open" else os
                inside.setattr(owner, what, full, raising=False)
                real(*args)

        patch.setattr(disk_cache.DiskCache, "save_overload", save)
        assert compiled(1) == (1001, 0) and compiled(2) == (1002, 0)
    (message,) = [str(each.message) for each in seen]
    assert message.startswith("fastgrad: compiled kernels cannot be kept (No space left on device:")
    assert str(folder) in message and files(folder) == []
    assert compiled(1) == (1001, 0) and compiled(1) == (1001, 1)


def test_no_file_can_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(1)
    (path,) = files(folder)
    path.unlink()
    path.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_cache, "_warned", True)
        assert compiled(1) == (1001, 0)


def test_after_an_upgrade_under_the_process_nothing_is_written(folder: Path, monkeypatch) -> None:
    """Its kernels are those of the sources it has imported, not of the files that are there now."""
    monkeypatch.setattr(source_hash, "_imported", source_hash.stamp() ^ 1)
    assert compiled(1) == (1001, 0) and files(folder) == []


def test_other_sources_are_another_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade never runs yesterday's machine code, whatever bytecode a kernel has."""
    assert compiled(1) == (1001, 0)
    with monkeypatch.context() as patch:
        patch.setattr(disk_cache, "stamp", lambda: source_hash.stamp() ^ 1)
        assert compiled(1) == (1001, 0) and len(files(folder)) == 2
    assert compiled(1) == (1001, 1)


def test_old_versions_go_and_the_last_ones_stay(folder: Path, monkeypatch) -> None:
    compiled(1)
    (now,) = files(folder)
    stamp = f"{source_hash.stamp():014x}"
    stay, go = [now], []
    for age in range(1, 7):
        for kernel in "ab":
            path = now.parent / f"fastgrad-{age:014x}-{kernel}.py311-0.nbc"
            path.write_bytes(b"")
            os.utime(path, (1e9, now.stat().st_mtime - 100 * age))
            (stay if age < disk_cache._VERSIONS else go).append(path)
    for name, age in ((f"{now.name}.tmp.1f", 0.0), (f"{now.name}.tmp.2f", 2 * disk_cache._LEFT)):
        path = now.parent / name
        path.write_bytes(b"")
        os.utime(path, (1e9, path.stat().st_mtime - age))
        (go if age else stay).append(path)
    for name in ("user.f-1.py311.nbi", "user.f-1.py311.1.nbc", f"fastgrad-{stamp}.txt", "x.nbc"):
        (now.parent / name).write_bytes(b"")
        stay.append(now.parent / name)
    monkeypatch.setattr(disk_cache, "_pruned", False)
    disk_cache._prune_once(str(now.parent))
    assert files(folder) == sorted(stay) and not set(go) & set(stay) and len(go) == 7


# --- the fingerprint of the sources


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """With a module, an hour old, and its bytecode."""
    place = tmp_path / "package"
    place.mkdir()
    edit(place, "x = 1\n")
    return place


def edit(package: Path, text: str, time: float = 1.7e9) -> None:
    (package / "module.py").write_text(text)
    os.utime(package / "module.py", (time, time))


def imported(package: Path) -> Any:
    """What Python makes of the module, and writes to its .pyc."""
    from importlib.machinery import SourceFileLoader
    from types import ModuleType

    module = ModuleType("module")
    SourceFileLoader("module", str(package / "module.py")).exec_module(module)
    return module.x


def test_an_edit_of_the_same_time_and_length(package: Path) -> None:
    before = source_hash.fingerprint(package)
    edit(package, "x = 2\n")
    assert source_hash.fingerprint(package) != before
    edit(package, "x = 1\n")
    assert source_hash.fingerprint(package) == before


def test_the_bytecode_that_is_run_in_place_of_the_source(package: Path, monkeypatch) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    before = source_hash.fingerprint(package)
    assert imported(package) == 1 and source_hash.fingerprint(package) == before
    (pyc,) = (package / "__pycache__").iterdir()
    edit(package, "x = 2\n")
    assert imported(package) == 1  # Python goes by time and length
    stale = source_hash.fingerprint(package)
    pyc.unlink()
    assert imported(package) == 2
    fresh = source_hash.fingerprint(package)
    assert len({before, stale, fresh}) == 3


def test_bytecode_that_python_replaces_does_not_count(package: Path, monkeypatch) -> None:
    """An upgrade: the first process imports it with the old bytecode on disk, the next has new."""
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    assert imported(package) == 1
    edit(package, "x = 2\n", 1.7e9 + 5)
    first = source_hash.fingerprint(package)
    assert imported(package) == 2 and source_hash.fingerprint(package) == first
    (pyc,) = (package / "__pycache__").iterdir()
    for text in (b"", b"half"):
        pyc.write_bytes(text)
        edit(package, "x = 2\n", 1.7e9 + 5)
        assert source_hash.fingerprint(package) == first
