"""Files that are nearly right: whole ones and a seed in, a damaged one out. For fuzz_readers.py."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from typing import Any

import numpy as np

LIMIT = 1 << 24  # bytes that a reader may unpack

_NUMBERS = (
    0, 1, 2, 7, 8, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40,
    2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip


def damaged(data: bytes, draw: random.Random, other: bytes = b"") -> bytes:
    """A few changes of bytes."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        at, size = draw.randrange(len(out) + 1), draw.choice((1, 2, 4, 8, 30, 100))
        way = draw.randrange(8)
        if way == 0 and at < len(out):
            out[at] ^= 1 << draw.randrange(8)
        elif way == 1:
            width = draw.choice((1, 2, 4, 8))
            number = draw.choice(_NUMBERS) + draw.choice((-1, 0, 0, 1))
            out[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
        elif way == 2:
            del out[at : at + size]
        elif way == 3:
            out[at:at] = out[at : at + size]
        elif way == 4:
            out[at:at] = draw.randbytes(size)
        elif way == 5 and draw.random() < 0.3:
            del out[at:]
        elif way == 6 and other:
            start = draw.randrange(len(other))
            out[at : at + size] = other[start : start + size]
        else:
            start = draw.randrange(len(out) + 1)
            piece = out[start : start + size]
            out[at : at + len(piece)] = piece
    return bytes(out)


_DESCRS = (
    "'<f4'", "'<f8'", "'|u1'", "'>i2'", "'|b1'", "'|O'", "'<U3'", "'<c8'", "'|V8'", "'<f16'", "'f'",
    "[('a', '<f8')]", "[]", "''", "None", "7", "'<f8' * 9", '"<f8"', "b'<f4'", "'<M8[s]'",
    "__import__('os').abort()", "(" * 900, "'" + "<" * 5000 + "'",
)  # fmt: skip
_SHAPES = (
    "(6, 4)", "(6,)", "()", "(24,)", "(0, 4)", "(4, 0)", "(6, 2, 2)", "(6, 1)", "(-6, -4)",
    "(6.0,)", "(1000000, 1000000)", "(4294967296, 4294967296)", "(4294967296, 4294967296, 0)",
    "(True, 6)", "(281474976710656,)", "(18446744073709551616,)", "(" + "9" * 5000 + ",)",
    "(1, " * 40 + ")" * 40, "(" + "1, " * 33 + ")", "(" + "1, " * 3000 + ")", "6", "[6, 4]",
    "(6L, 4L)", "(,)", "(6 4)", "''",
)  # fmt: skip


def npy(draw: random.Random, data: bytes) -> bytes:
    """A member: a header that may lie over data."""
    keys = [
        ("descr", draw.choice(_DESCRS[:5] if draw.random() < 0.7 else _DESCRS)),
        ("fortran_order", draw.choice(("False", "False", "True", "0", "None", "'x'"))),
        ("shape", draw.choice(_SHAPES[:8] if draw.random() < 0.6 else _SHAPES)),
    ]
    if draw.random() < 0.1:
        draw.shuffle(keys)
        keys += keys[: draw.randrange(3)]
        del keys[: draw.randrange(3)]
    text = "{" + ", ".join(f"'{k}': {v}" for k, v in keys) + ", }"
    if draw.random() < 0.05:
        text = damaged(text.encode(), draw).decode("latin-1")
    version = draw.choice((1, 1, 1, 2, 3, 0, 9))
    line = text.encode("latin-1").ljust(draw.choice((0, 118, 4000))) + b"\n"
    length = len(line) if draw.random() < 0.9 else draw.choice(_NUMBERS)
    width = 2 if version == 1 else 4
    size = (length % 2 ** (8 * width)).to_bytes(width, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + line + data


_NAMES = (
    "x.npy", "y.npy", "x", "x.npy.npy", "../x.npy", "/x.npy", "x.npy/", "a\nb.npy", "\0.npy",
    ".npy", "\u2028\udcff.npy".encode("utf-8", "replace").decode(), "n" * 5000 + ".npy",
    "meta.npy", "weight_0.npy", "history_loss.npy",
)  # fmt: skip
_METHODS = (
    zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA,
)  # fmt: skip


def rebuilt(data: bytes, draw: random.Random, kind: str) -> bytes:
    """The archive with members changed, under check sums that are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        members = [(name, old.read(name)) for name in old.namelist()]
    for _ in range(draw.choice((1, 1, 2, 4))):
        i = draw.randrange(len(members))
        name, content = members[i]
        way = draw.randrange(9)
        if way == 0:
            content = damaged(content, draw)
        elif way == 1:
            content = npy(draw, draw.choice((content[128:], bytes(96), bytes(draw.randrange(300)))))
        elif way == 2:
            name = draw.choice(_NAMES)
        elif way == 3:
            members.append((draw.choice(_NAMES), content))
        elif way == 4:
            content = data  # an archive in the archive
        elif way == 5:
            is_bomb = draw.random() < 0.1
            content = npy(draw, bytes(draw.choice((LIMIT, LIMIT + 1) if is_bomb else (1 << 16,))))
        elif way == 6 and len(members) > 1:
            j = draw.randrange(len(members))
            content = members[j][1]
        elif way == 7 and len(members) > 1:
            del members[draw.randrange(len(members))]
            continue
        elif kind == "model" and name == "meta.npy":
            content = _settings(content, draw)
        members[i] = (name, content)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw.choice(_METHODS)) as new:
        for name, content in members:
            method = zipfile.ZIP_DEFLATED if len(content) > 5000 else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names that are there twice
                new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, method)
    out = buffer.getvalue()
    return damaged(out, draw) if draw.random() < 0.2 else out


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 5, 10**9, 2**31, 2**63, 2**64, 2**70, 10**400, 0.5, -0.5,
    1e300, float("nan"), float("inf"), "", "x", "mse", "relu", "SGD", "Adam", "float64", ">f4",
    "f4,f4", "V9", [], [1], [4, 5, 3], ["loss"], [[]], {}, {"lr": 0.1}, {"lr": None}, {"self": 1},
    "\n\u2028", "y" * 9999, [1] * 5000, [4] + [5] * 2000 + [3], {"lr": 0.1, "betas": [0.9, 0.99]},
)  # fmt: skip


def _settings(content: bytes, draw: random.Random) -> bytes:
    """Settings of a saved model, with some that are wrong."""
    start = 10 + int.from_bytes(content[8:10], "little")
    try:
        meta = json.loads(content[start:])
    except ValueError:  # it has been changed before
        return content
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = meta
        if draw.random() < 0.2:
            at = draw.choice([v for v in meta.values() if isinstance(v, dict)] or [meta])
        key = draw.choice([*at, "x"])
        if draw.random() < 0.15:
            at.pop(key, None)
        else:
            at[key] = draw.choice(_VALUES)
    text = json.dumps(meta).encode()
    if draw.random() < 0.1:
        deep = draw.choice((b"[", b'{"a":', b'[{"":')) * draw.choice((900, 20_000))
        text = draw.choice((damaged(text, draw), deep, text.replace(b"null", deep)))
    buffer = io.BytesIO()
    np.save(buffer, np.frombuffer(text, np.uint8))
    return buffer.getvalue()


_CELLS = (
    "1", "0", "2", "-1", "0.5", "1e5", "1e39", "1e999", "nan", "inf", "1_0", "", " ", "x",
    "label", "y", "a", '"1"', '"1\n"', '"', '""', "\0", "\r", "\ufeff", "\u0661", "0x1",
    "1" * 400, "9" * 140_000, "+", "65535", "65536", "1.", "\udcff", "\x1a", "'1'", "é" * 70,
    "\n" * 50, '"' + "1\n" * 90 + '"',
)  # fmt: skip


def table(draw: random.Random) -> bytes:
    """Text that is nearly a table."""
    columns = draw.choice((1, 2, 3, 3, 3, 4, 2000))
    usual = _CELLS[:6] if draw.random() < 0.7 or columns > 4 else _CELLS
    rows = [",".join(draw.choice(("a", "b", "y", "label", *_CELLS[:3])) for _ in range(columns))]
    for _ in range(draw.choice((0, 1, 2, 5))):
        width = columns if draw.random() < 0.9 else columns + draw.choice((-1, 1))
        rows.append(",".join(draw.choice(usual) for _ in range(width)))
    text = draw.choice(("\n", "\n", "\r\n", "\r")).join(rows) + draw.choice(("", "\n"))
    return text.encode("utf-8", "surrogatepass" if draw.random() < 0.5 else "replace")


def changed(files: dict[str, list[bytes]], draw: random.Random) -> tuple[str, bytes]:
    """One more file."""
    kind = draw.choice(("npz", "csv", "model"))
    data = draw.choice(files[kind])
    if draw.random() < 0.4:
        return kind, damaged(data, draw, draw.choice(files[kind]))
    return kind, table(draw) if kind == "csv" else rebuilt(data, draw, kind)
