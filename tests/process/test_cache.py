"""Machine code on disk, by processes of their own: no folder, no room, damaged, many at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastgrad
from support.programs import cold, environment

pytest.importorskip("resource")

PROGRAM = Path(__file__).parent / "cached.py"
PACKAGE = Path(fastgrad.__file__).parent
KERNELS = 2  # of an sgd_step of one dtype
STEP = KERNELS + 1  # files of machine code: and the builtin that Python calls, of both dtypes
LIMIT = 500  # seconds: eight processes compile at once
_started: list[subprocess.Popen[str]] = []


def cached_in(cache: Path | None, package: Path = PACKAGE, **more: str) -> dict[str, str]:
    env = environment(package.parent)
    if cache is not None and package == PACKAGE:
        env |= cold(cache)
    env = {k: v for k, v in env.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    if cache is not None:
        env["NUMBA_CACHE_DIR"] = str(cache)
    return env | more


def start(env: dict[str, str], *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    flags = [word for word in words if word.startswith("-W")]
    rest = [word for word in words if not word.startswith("-W")]
    process = subprocess.Popen(
        [sys.executable, *flags, str(PROGRAM), *rest], env=env, cwd=cwd, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    _started.append(process)
    return process


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    for process in _started:
        process.kill()  # if the test has failed
        process.communicate()
    _started.clear()


def result(process: subprocess.Popen[str], right: bool = True) -> dict:
    out, err = process.communicate("\n", timeout=LIMIT)  # a line for those that wait
    assert process.returncode == 0, err
    found = json.loads(out.splitlines()[-1])
    assert set(found["right"]) == {right}, found
    return found | {"err": err}


def run(cache: Path, *words: str) -> dict:
    return result(start(cached_in(cache), *words))


def kernels(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the kernels of an sgd_step."""
    cache = tmp_path_factory.mktemp("warm")
    found = run(cache, "step-float32")
    assert (found["kernels"], found["hits"], found["warnings"]) == (STEP, 0, [])
    assert len(kernels(cache)) == STEP and Path(found["path"]).parent == cache
    return cache


def damage(data: bytes, how: str, chance: random.Random) -> bytes:
    if how == "cut":
        return data[: chance.randrange(len(data))]
    if how == "flip":
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(changed)
    if how == "zeros":  # a file system that kept the length and lost the data
        at = chance.randrange(len(data))
        return data[:at] + bytes(len(data) - at)
    return {"none": b"", "text": b"cos\nsystem\n(S'false'\ntR."}[
        how
    ]  # a pickle that runs a command


def test_from_the_cache_and_damaged(warm: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(warm, cache)
    chance = random.Random(1)
    whole = {path: path.read_bytes() for path in kernels(cache)}
    for path, how in zip(whole, ("cut", "flip", "zeros"), strict=True):
        path.write_bytes(damage(whole[path], how, chance))
    damaged = run(cache, "-Werror", "step-float32")
    assert (damaged["kernels"], damaged["hits"]) == (STEP, 0)
    assert set(kernels(cache)) == set(whole)
    mended = run(cache, "step-float32")
    assert (mended["kernels"], mended["hits"]) == (STEP, STEP)


@pytest.mark.slow
def test_all_kinds_of_damage(tmp_path: Path) -> None:
    calls = ["product-float32", "step-float32"]
    run(tmp_path, *calls)
    paths = kernels(tmp_path)
    chance = random.Random(0)
    for _ in range(5):
        for path in paths:
            how = chance.choice(["cut", "flip", "zeros", "none", "text"])
            path.write_bytes(damage(path.read_bytes(), how, chance))
        assert run(tmp_path, *calls)["warnings"] == [] and kernels(tmp_path) == paths
        found = run(tmp_path, *calls)
        assert found["hits"] == found["kernels"] == len(paths)


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    """Installed where only reading is allowed, no home: it works, and says once that it is slow."""
    package, here = tmp_path / "site" / "fastgrad", tmp_path / "here"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.nbc"))
    here.mkdir()
    # ~ is what a home is called where the user has none, as in many a container
    env = cached_in(None, package, HOME="~", PYTHONDONTWRITEBYTECODE="1")

    def reading() -> dict:
        folders = [package.parent, package, *(path for path in package.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            return result(start(env, "--no-root", "step-float32", cwd=here))
        finally:
            for folder in folders:
                folder.chmod(stat.S_IRWXU)

    found = reading()
    assert (found["kernels"], found["hits"]) == (STEP, 0)
    (warning,) = found["warnings"]
    assert warning.startswith("fastgrad: compiled kernels cannot be kept (no folder can be written")
    assert found["path"].startswith("none: ") and found["err"] == ""
    assert list(here.iterdir()) == []  # no folder ~
    assert not list(package.rglob("*.nbc"))
    # what was compiled before it was made so is used
    result(start(env, "step-float32", cwd=here))
    found = reading()
    assert (found["kernels"], found["hits"], found["warnings"]) == (STEP, STEP, [])
    assert Path(found["path"]).parent == package / "_kernels"


def test_no_room(tmp_path: Path) -> None:
    """Files that cannot grow beyond 4 KiB; a warning is an error, and yet no call fails."""
    found = run(tmp_path, "-Werror", "--stop-after", "4096", "step-float32")
    assert found["kernels"] == STEP and found["err"] == "" and kernels(tmp_path) == []


@pytest.mark.slow
def test_a_full_disk(small_disk: Path) -> None:
    """One that is full after the first kernel; then without a byte."""
    (small_disk / "other").write_bytes(bytes(8 << 10))
    found = run(small_disk, "product-float32")
    (warning,) = found["warnings"]
    assert "(No space left on device: " in warning
    assert not [path for path in kernels(small_disk) if ".tmp." in path.name]
    with open(small_disk / "rest", "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(1024))
    kept = len([path for path in kernels(small_disk) if path.suffix == ".nbc"])
    again = run(small_disk, "product-float32")
    assert again["hits"] == kept < again["kernels"]


@pytest.mark.slow
def test_eight_processes_on_a_cold_cache(tmp_path: Path) -> None:
    """Half of them want the one dtype first, half the other: kernels of the same names."""
    both = ["step-float32", "step-float64", "product-float32"]
    env = cached_in(tmp_path)
    processes = [start(env, "--wait", *both[:: 1 - 2 * (i % 2)]) for i in range(8)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert all(result(process)["warnings"] == [] for process in processes)
    found = run(tmp_path, *both)
    assert found["hits"] == found["kernels"] == len(kernels(tmp_path))


def copied(folder: Path) -> Path:
    package = folder / "site" / "fastgrad"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def upgrade(package: Path) -> None:
    """Another formula of sgd_step, in a file of the same length and time."""
    path = package / "_kernels" / "layer" / "optimizers.py"
    status, text = path.stat(), path.read_text(encoding="utf-8")
    old, new = "return [p - direction * lr]", "return [p - direction + lr]"
    assert text.count(old) == 1 and len(old) == len(new)
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.slow
def test_an_upgrade_in_place(tmp_path: Path) -> None:
    """Also while Python goes on with its .pyc, and once that is gone: never a stale kernel."""
    package, cache = copied(tmp_path), tmp_path / "cache"
    env = cached_in(cache, package, PYTHONDONTWRITEBYTECODE="")
    runs = [result(start(env, "step-float32")) for _ in range(2)]
    upgrade(package)
    runs += [result(start(env, "step-float32")) for _ in range(2)]  # the .pyc: the old formula
    for folder in list((package / "_kernels").rglob("__pycache__")):
        shutil.rmtree(folder)
    runs += [result(start(env, "step-float32"), right=False) for _ in range(2)]
    assert [found["hits"] for found in runs] == [0, STEP] * 3


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
def test_an_upgrade_under_a_running_process(again: bool, tmp_path: Path) -> None:
    """It goes on with what it has imported, and leaves nothing of that to those that come."""
    package, cache = copied(tmp_path), tmp_path / "cache"
    env = cached_in(cache, package, PYTHONDONTWRITEBYTECODE="1")
    if again:  # kernels of the old version are in the cache
        result(start(env, "step-float32"))
    process = start(env, "--wait", "step-float32")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    before = kernels(cache)
    upgrade(package)
    old = result(process)
    assert old["hits"] == (STEP if again else 0) and kernels(cache) == before
    assert result(start(env, "step-float32"), right=False)["hits"] == 0
    assert result(start(env, "step-float32"), right=False)["hits"] == STEP


# --- kernels that root compiled when an image was made


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package with its kernels, in folders that nobody may write to."""
    package = copied(tmp_path_factory.mktemp("image"))
    env = cached_in(None, package, HOME="~")
    assert result(start(env, "step-float32"))["hits"] == 0
    folders = [package.parent, package, *(path for path in package.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield package
    for folder in folders:
        folder.chmod(stat.S_IRWXU)


@pytest.mark.parametrize("where", ["home", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "a home of others"])
def test_what_an_image_holds_is_found_by_its_users(where: str, image: Path, tmp_path: Path) -> None:
    """Who may write elsewhere writes there what the image has not, and finds both afterwards."""
    variables = {
        "home": {"HOME": str(tmp_path)},
        "NUMBA_CACHE_DIR": {"HOME": "~", "NUMBA_CACHE_DIR": str(tmp_path)},
        "XDG_CACHE_HOME": {"HOME": "~", "XDG_CACHE_HOME": str(tmp_path)},
        "a home of others": {"HOME": "/proc"},
    }[where]
    env = cached_in(None, image, **variables)
    before = kernels(image)

    def again(*calls: str) -> dict:
        return result(start(env, "--no-root", *calls, cwd=tmp_path))

    found = again("step-float32")
    assert (found["kernels"], found["hits"], found["warnings"]) == (STEP, STEP, [])
    assert kernels(tmp_path) == [] and kernels(image) == before
    if where == "a home of others":
        return
    assert Path(found["path"]).is_relative_to(tmp_path)
    found = again("step-float32", "step-float64")
    assert (found["kernels"], found["hits"], found["warnings"]) == (STEP + KERNELS, STEP, [])
    assert len(kernels(tmp_path)) == KERNELS and kernels(image) == before
    assert again("step-float32", "step-float64")["hits"] == STEP + KERNELS


def test_a_damaged_kernel_of_an_image_is_mended_in_the_home(image: Path, tmp_path: Path) -> None:
    path = next(path for path in kernels(image) if path.suffix == ".nbc")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    env = cached_in(None, image, HOME=str(tmp_path))
    try:
        found = result(start(env, "--no-root", "step-float32", cwd=tmp_path))
        assert (found["hits"], found["warnings"]) == (STEP - 1, [])
        assert [path.name for path in kernels(tmp_path)] == [path.name]
        assert result(start(env, "--no-root", "step-float32", cwd=tmp_path))["hits"] == STEP
    finally:
        path.write_bytes(whole)
