"""The .npz files of strangers: headers that lie, bombs, damage: one line, and little memory."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastgrad.datasets import DataError, load_npz
from fastgrad.datasets._npz import NpzReader


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
    with pytest.raises(ValueError, match="a list of members of .* is the limit"):
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
    with pytest.raises(DataError, match="damaged.*CRC"):
        load_npz(tmp_path / "d.npz")
