"""Files that are whole or not there: killed writers, writers at once, what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastgrad._files import check_writable, write_atomically

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


def test_only_what_was_left_is_removed(tmp_path: Path) -> None:
    others = [".m.npz.0123456.tmp", ".m.npz.0123456g.tmp", ".n.npz.01234567.tmp", "m.npz.tmp"]
    for name in [*others, ".m.npz.01234567.tmp"]:
        (tmp_path / name).write_bytes(b"half")
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
