"""The .npz files of strangers: headers that lie, bombs, damage: one line, and little memory."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgrad import MLP
from fastgrad._npz import NpzReader
from fastgrad.datasets import DataError, load_csv, load_npz, readers
from fastgrad.tables import source
from support import damaged_files, fuzz_readers
from support.programs import environment


def good() -> dict[str, np.ndarray]:
    return {"x": np.ones((4, 3)), "y": np.array([0, 1, 0, 1])}


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["FASTGRAD_TRAP"],)


def test_npz_never_unpickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGRAD_TRAP", str(tmp_path / "sprung"))
    np.savez(tmp_path / "d.npz", x=np.array([[Trap()]], object), y=np.zeros(1))
    with pytest.raises(DataError, match="not plain numbers"):
        load_npz(tmp_path / "d.npz")
    assert not (tmp_path / "sprung").exists()


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text + data


HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': %s}"
LIES = {
    "shape beyond the data": npy(HEADER % ("<f8", "(1000000, 1000000)"), bytes(80)),
    "shape short of the data": npy(HEADER % ("<f8", "(2, 2)"), bytes(80)),
    "overflowing shape": npy(HEADER % ("<f8", "(4294967296, 4294967296, 4)"), bytes(80)),
    "endless integer": npy(HEADER % ("<f8", "(" + "9" * 300 + ",)"), bytes(80)),
    "negative shape": npy(HEADER % ("<f8", "(-2, -5)"), bytes(80)),
    "bool shape": npy(HEADER % ("<f8", "(True, 10)"), bytes(80)),
    "shape of text": npy(HEADER % ("<f8", "'ab'"), bytes(80)),
    "object": npy(HEADER % ("|O", "(10,)"), bytes(80)),
    "structure": npy(HEADER % ("<f8,<f8", "(5,)"), bytes(80)),
    "list of fields": npy(
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (10,)}", bytes(80)
    ),
    "a call": npy("__import__('os').abort()"),
    "a call as descr": npy(HEADER.replace("'%s'", "%s") % ("exit()", "(10,)"), bytes(80)),
    "a call as shape": npy(HEADER % ("<f8", "(exit(),)"), bytes(80)),
    "number that is no tuple": npy(HEADER % ("<f8", "(10)"), bytes(80)),
    "no comma": npy(HEADER % ("<f8", "(2 5)"), bytes(80)),
    "more behind": npy(HEADER % ("<f8", "(10,)") + " 1", bytes(80)),
    "33 dimensions": npy(HEADER % ("|u1", "(" + "1, " * 33 + ")"), bytes(1)),
    "deep nesting": npy("(" * 4000),
    "no key": npy("{'descr': '<f8'}", bytes(80)),
    "no dict": npy("7", bytes(80)),
    "order is no bool": npy("{'descr': '<f8', 'fortran_order': 7, 'shape': (10,)}", bytes(80)),
    "header beyond the file": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "future version": npy(HEADER % ("<f8", "(10,)"), bytes(80), version=9),
    "no magic": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("case", LIES)
def test_npz_headers_that_lie(case: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", LIES[case])
    with NpzReader(buffer) as file, pytest.raises(ValueError, match="array 'x'") as caught:
        file.read("x")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_npz_bomb_is_bounded() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy(HEADER % ("|u1", "(20000000,)"), bytes(20_000_000)))
    assert len(buffer.getvalue()) < 30_000
    with NpzReader(buffer, max_bytes=1 << 20) as file, pytest.raises(ValueError, match="the limit"):
        file.read("x")
    # The directory of the archive lies about the size: no more than that is ever unpacked.
    data = buffer.getvalue()
    small = data.replace(struct.pack("<I", 20_000_000 + 68 + 10), struct.pack("<I", 100))
    with NpzReader(io.BytesIO(small), max_bytes=1 << 20) as file, pytest.raises(ValueError):
        file.read("x")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_npz_packed_otherwise_is_not_unpacked(method: int) -> None:
    """zipfile unpacks a whole piece of these at once, whatever the file says its size is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("x.npy", npy(HEADER % ("|u1", "(9,)"), bytes(9)))
    with NpzReader(buffer) as file, pytest.raises(ValueError, match="'x' is packed by method"):
        file.read("x")


def test_npz_with_an_endless_list_of_members_is_not_listed(tmp_path: Path) -> None:
    name = tmp_path / "d.npz"
    np.savez(name, **{f"a{i}": np.zeros(1) for i in range(3000)})  # more than anybody has layers
    with NpzReader(name) as file:
        assert len(file.names) == 3000
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, *([0] * 13), 0, 0) + b""
    count = (1 << 21) // len(entry) + 1
    size = count * len(entry)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, 0, 0)
    name.write_bytes(entry * count + end)
    with pytest.raises(ValueError, match=r"a list of members of .* is the limit"):
        NpzReader(name)


def test_npz_limit_of_one_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros(10))
    with NpzReader(tmp_path / "d.npz") as file:
        with pytest.raises(ValueError, match="'x' has 208 bytes; 207 is the limit"):
            file.read("x", 207)
        assert file.read("x", 208).shape == (10,)


def test_npz_damage_is_always_one_line(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", **good())
    whole = (tmp_path / "d.npz").read_bytes()
    load_npz(tmp_path / "d.npz")
    rng = np.random.default_rng(0)
    refused = 0
    for cut in range(0, len(whole), 7):
        (tmp_path / "c.npz").write_bytes(whole[:cut])
        with pytest.raises(DataError):
            load_npz(tmp_path / "c.npz")
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        (tmp_path / "c.npz").write_bytes(damaged)
        try:
            load_npz(tmp_path / "c.npz")
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100  # the rest hits dates, names of nothing, and unused flags


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_check_sum_is_compared(tmp_path: Path, save) -> None:
    save(tmp_path / "d.npz", **good())
    data = bytearray((tmp_path / "d.npz").read_bytes())
    data[data.index(b"PK\x01\x02") + 16] ^= 1  # the sum, in the archive's directory
    (tmp_path / "d.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"damaged.*CRC"):
        load_npz(tmp_path / "d.npz")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "|u1", "?", "<i2"])
def test_npz_reads_what_numpy_writes(dtype: str, version: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    arrays = {
        f"{i}{order}": np.ones(shape, dtype, order=order)
        for i, shape in enumerate(((), (0,), (3,), (3, 4), (1, 2, 3, 4), (10**9, 0)))
        for order in "CF"
    }
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, version)
    with NpzReader(buffer) as file:
        for name, array in arrays.items():
            found = file.read(name)
            assert found.shape == array.shape and found.flags.c_contiguous
            assert found.dtype == np.dtype(dtype).newbyteorder("=") and np.array_equal(found, array)


def test_a_header_nested_deep_is_no_end_of_a_thread() -> None:
    """Python's parser, even of literals, overflows a small stack: that ends the process."""
    program = (
        "import io, threading, zipfile\n"
        "from fastgrad._npz import NpzReader\n"
        "def read(text):\n"
        "    file = io.BytesIO()\n"
        "    with zipfile.ZipFile(file, 'w') as archive:\n"
        "        size = len(text).to_bytes(2, 'little')\n"
        "        archive.writestr('x.npy', b'\\x93NUMPY\\1\\0' + size + text)\n"
        "    with NpzReader(file) as file:\n"
        "        try:\n"
        "            file.read('x')\n"
        "        except ValueError as error:\n"
        "            print(error)\n"
        "threading.stack_size(1 << 18)\n"
        "for text in (b'(' * 9000, b'-' * 9000 + b'1', b'{1:' * 3000, b'[' * 9000):\n"
        "    thread = threading.Thread(target=read, args=(text,))\n"
        "    thread.start()\n"
        "    thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "array 'x': its header cannot be read\n" * 4


def test_names_of_members_are_shown_in_one_short_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("a\n\x1b[2J\u2028" + "b" * 9999 + ".npy", b"")
    with pytest.raises(DataError) as caught:
        load_npz(tmp_path / "d.npz")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200 + len(str(tmp_path))
    with pytest.warns(UserWarning, match="Duplicate"):
        with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
            archive.writestr("x.npy", b"")
            archive.writestr("x.npy", b"")
    with pytest.raises(DataError, match=r"2 arrays named 'x'$"):
        load_npz(tmp_path / "d.npz")


def test_npz_limit_is_also_that_of_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of zeros that are packed becomes 1 GiB of bytes, and would be 4 of float32."""
    monkeypatch.setattr(readers, "MAX_BYTES", 1 << 16)
    x, y = np.zeros((128, 128), np.uint8), np.zeros(128, np.uint8)
    np.savez_compressed(tmp_path / "d.npz", x=x, y=y)
    with pytest.raises(DataError, match=r"x \(128, 128\) is 65536 bytes as float32; the limit"):
        monkeypatch.setattr(readers, "MAX_BYTES", (1 << 16) - 1)
        load_npz(tmp_path / "d.npz")
    monkeypatch.setattr(readers, "MAX_BYTES", 1 << 16)
    assert load_npz(tmp_path / "d.npz")[0].nbytes == 1 << 16


def test_csv_rows_of_many_lines_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within quotes a row goes on, and its cells take 30 times the memory of their text."""
    monkeypatch.setattr(source, "MAX_LINE", 1000)
    monkeypatch.setattr(source, "_PIECE", 100)
    path = tmp_path / "d.csv"
    path.write_text("a,y\n" + '1,"1\n"\n' * 300)
    assert load_csv(path)[0].shape == (300, 1)
    path.write_text("a,y\n" + '1,"1\n",' * 300)
    with pytest.raises(DataError, match=r"line 2 begins a row longer than 1000 characters"):
        load_csv(path)
    path.write_text("a,y\n" + "1," * 600)
    with pytest.raises(DataError, match="line 2 is longer than 1000"):
        load_csv(path)


def test_places_that_are_not_finite_are_found_in_any_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_PIECE", 8)
    for row, column in ((0, 0), (4, 2), (9, 1)):
        x = np.zeros((10, 3))
        x[row, column] = np.inf
        x[row + 1 :, 0] = np.nan
        np.savez(tmp_path / "d.npz", x=x, y=np.zeros(10))
        with pytest.raises(DataError, match=f"x row {row}, column {column}: inf is not"):
            load_npz(tmp_path / "d.npz")


# Fuzzed; see fuzz_readers.py ----------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_fuzzed_files() -> None:
    """In a process of its own, whose memory is limited, and which hears of every call outside."""
    command = [sys.executable, str(Path(fuzz_readers.__file__)), "--count", "1000", "--seed", "7"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for kind in ("csv", "model", "npz"):  # neither all nor none can be read
        assert f"'{kind} read'" in done.stdout and f"'{kind} refused'" in done.stdout


@pytest.mark.fuzz
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_many_fuzzed_files() -> None:
    command = [sys.executable, str(Path(fuzz_readers.__file__)), "--count", "6000", "--seed", "11"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


class TestTheJudge:
    """The judge of the fuzzed files sees what it looks for."""

    @pytest.fixture
    def judge(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fuzz_readers.Judge:
        monkeypatch.setattr(sys, "addaudithook", lambda hook: None)  # none can be removed
        return fuzz_readers.Judge(tmp_path)

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (KeyError("x"), "KeyError"),
            (DataError("of no file"), "not of which file"),
            (DataError("two\nlines"), "two.*lines"),
            (ValueError("plain"), "ValueError"),
            (MemoryError(), "MemoryError"),
            (TimeoutError("more"), "TimeoutError"),
        ],
    )
    def test_errors(self, judge, error, words, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(path: str) -> None:
            raise error

        monkeypatch.setitem(fuzz_readers.READ, "npz", fail)
        with pytest.raises(fuzz_readers.Failed, match=words):
            judge("npz", b"")

    def test_calls(self, judge, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(fuzz_readers.READ, "npz", lambda path: judge._hear("exec", ()))
        with pytest.raises(fuzz_readers.Failed, match="'exec'"):
            judge("npz", b"")
        judge._hear("exec", ())
        monkeypatch.setitem(fuzz_readers.READ, "npz", lambda path: judge._hear("open", ()))
        assert judge("npz", b"") is True

    def test_whole_files_are_read(self, judge, tmp_path: Path) -> None:
        for kind, files in fuzz_readers.whole_files(tmp_path).items():
            assert files and all(judge(kind, data) for data in files)

    def test_files_differ(self, tmp_path: Path) -> None:
        whole = fuzz_readers.whole_files(tmp_path)
        draws = [damaged_files.changed(whole, random.Random(i)) for i in range(200)]
        assert len(set(draws)) > 150
        assert draws == [damaged_files.changed(whole, random.Random(i)) for i in range(200)]


@settings(max_examples=60)
@given(st.binary(max_size=300), st.sampled_from([".npz", ".csv", ""]))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(data)
    load = {".npz": load_npz, ".csv": load_csv, "": MLP.load}[suffix]
    with pytest.raises(ValueError) as caught:
        load(path)
    assert str(caught.value).isprintable() and str(path) in str(caught.value)


CELLS = st.text(st.characters(codec="utf-8", exclude_characters='",\r\n'), max_size=6)


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(CELLS | st.floats().map(str) | st.integers(0, 3).map(str)),
        max_size=5,
    )
)
def test_any_table(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    """What is read is what Python reads."""
    path = tmp_path_factory.getbasetemp() / "table.csv"
    lines = [",".join(row) for row in ([["a", "b", "c"], *rows])]
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace", newline="")
    try:
        x, y = load_csv(path, np.float64)
    except DataError as error:
        assert str(error).isprintable() and str(path) in str(error)
    else:
        found = [[float(cell) for cell in row] for row in rows if row not in ([], [""])]
        assert [[*row, label] for row, label in zip(x.tolist(), y.tolist(), strict=True)] == found
