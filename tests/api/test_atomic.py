"""Files that are whole or not there: killed writers, writers at once, what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastgrad import MLP, _files
from fastgrad._files import check_writable, write_atomically
from fastgrad.cli import main

KILLED = """
import os, sys
from fastgrad._files import write_atomically
def write(file):
    file.write(b"half"); file.flush(); os._exit(9)
write_atomically(sys.argv[1], write)
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    write_atomically(path, lambda file: file.write(b"old"))
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == 9 and path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2  # half a new one; the next writer removes it
    check_writable(path)
    assert os.listdir(tmp_path) == ["m.npz"]
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_a_link_goes_on_pointing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "there")
    write_atomically(tmp_path / "link", lambda file: file.write(b"x"))
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_bytes() == b"x"


def test_check_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "m.npz")
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        check_writable(tmp_path / "absent" / "m.npz")
    with pytest.raises(IsADirectoryError):
        check_writable(tmp_path)


def test_what_a_living_writer_has_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"

    def write(file) -> None:
        file.write(b"first")
        check_writable(path)  # of another one, which finds the file of this one
        write_atomically(path, lambda other: other.write(b"second"))
        assert path.read_bytes() == b"second"

    write_atomically(path, write)
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["m.npz"]


def test_a_file_that_is_cleaned_up_before_its_lock_holds_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, lock = [], _files._lock

    def late(file, wait: bool) -> bool:
        made.append(file.name)
        if len(made) == 1:
            os.remove(file.name)  # another run's check_writable was quicker
        return lock(file, wait)

    monkeypatch.setattr(_files, "_lock", late)
    write_atomically(tmp_path / "m", lambda file: file.write(b"x"))
    assert len(set(made)) == 2
    assert os.listdir(tmp_path) == ["m"] and (tmp_path / "m").read_bytes() == b"x"


@pytest.mark.parametrize("data", [b"half", b""])  # killed while it wrote, or before
def test_only_what_was_left_is_removed(tmp_path: Path, data: bytes) -> None:
    others = [".m.npz.0123456.tmp", ".m.npz.0123456g.tmp", ".n.npz.01234567.tmp", "m.npz.tmp"]
    for name in [*others, ".m.npz.01234567.tmp"]:
        (tmp_path / name).write_bytes(data)
    check_writable(tmp_path / "m.npz")
    assert sorted(os.listdir(tmp_path)) == sorted(others)


WRITER = """
import sys
from fastgrad._files import check_writable, write_atomically
path, letter = sys.argv[1], sys.argv[2].encode()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(150):
    check_writable(path)
    write_atomically(path, lambda file: [file.write(letter * 1000) for _ in range(300)])
"""


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"x" * 300_000)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for letter in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.close()
    seen = set()
    while any(writer.poll() is None for writer in writers):
        data = path.read_bytes()
        assert len(data) == 300_000 and len(set(data)) == 1
        seen.add(data[:1])
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()
    assert [writer.wait() for writer in writers] == [0, 0]  # neither took the other's file away
    assert {b"a", b"b"} <= seen and os.listdir(tmp_path) == ["m"]


# what is replaced keeps its mode, or is refused ---------------------------------------------------


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.fixture
def trained() -> MLP:
    return MLP((3, 2), seed=1)


@pytest.mark.parametrize("wanted", [0o600, 0o640, 0o664, 0o644])
def test_a_replaced_file_keeps_its_mode(trained: MLP, tmp_path: Path, wanted: int) -> None:
    """In the order in which people do it: save, make it private, train on, save again, resume."""
    path = tmp_path / "m.npz"
    trained.save(path)
    os.chmod(path, wanted)
    trained.save(path)
    assert mode(path) == wanted
    x, y = np.ones((4, 3), np.float32), np.zeros(4, int)
    trained.fit(x, y, 1, 2, progress=False, checkpoint=path)
    assert mode(path) == wanted and MLP.load(path).epochs == 1
    (tmp_path / "link").symlink_to(path)
    trained.save(tmp_path / "link")
    assert mode(path) == wanted and (tmp_path / "link").is_symlink()


def test_a_new_file_has_the_mode_of_new_files(trained: MLP, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    trained.save(tmp_path / "m.npz")
    assert mode(tmp_path / "m.npz") == mode(tmp_path / "other")


def test_half_of_a_private_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(b"old")
    os.chmod(path, 0o600)
    modes = []
    write_atomically(path, lambda file: modes.append(os.fstat(file.fileno()).st_mode & 0o777))
    assert modes == [0o600]


def test_a_read_only_file_is_refused(trained: MLP, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    trained.save(path)
    before = path.read_bytes()
    os.chmod(path, 0o444)
    x, y = np.ones((4, 3), np.float32), np.zeros(4, int)
    for call in (
        lambda: trained.save(path),
        lambda: trained.fit(x, y, 1, 2, progress=False, checkpoint=path),  # before any step
        lambda: check_writable(path),
    ):
        with pytest.raises(PermissionError, match="is read-only; allow writing or name another"):
            call()
    assert path.read_bytes() == before and trained.epochs == 0 and os.listdir(tmp_path) == ["m.npz"]


def test_a_read_only_file_behind_a_link_is_refused(trained: MLP, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    os.chmod(tmp_path / "there", 0o400)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(PermissionError):
        trained.save(tmp_path / "link")
    assert (tmp_path / "there").read_bytes() == b"mine"


def test_the_command_line_refuses_before_training(tmp_path: Path, capsys) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(b"mine")
    os.chmod(path, 0o444)
    assert main(["train", "--epochs", "1", "--save", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "cannot be written: is read-only; allow writing or name another" in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_what_is_no_file_is_not_replaced(trained: MLP, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a device or a pipe"):
        trained.save(tmp_path / "pipe")
    with pytest.raises(OSError):
        trained.save("/dev/null")
    assert Path("/dev/null").is_char_device() and (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root gives files away")
def test_a_replaced_file_keeps_its_owner(trained: MLP, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    trained.save(path)
    os.chown(path, 12345, 12346)
    os.chmod(path, 0o600)
    trained.save(path)
    status = path.stat()
    assert (status.st_uid, status.st_gid, mode(path)) == (12345, 12346, 0o600)
