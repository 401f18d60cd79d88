"""What a file of a table is found to be: separator, header, names; and what is refused, by line."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastgrad.tables import DataError, read_table, source
from fastgrad.tables import text as reader

pandas = pytest.importorskip("pandas")


def found(folder: Path, data: str | bytes, name: str = "d.csv", **options):
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_table(path, **options)


def refused(folder: Path, data: str | bytes, name: str = "d.csv", **options) -> str:
    with pytest.raises(DataError) as caught:
        found(folder, data, name, **options)
    text = str(caught.value)
    assert text.startswith(f"{folder / name}: ") and text.isprintable()
    return text.removeprefix(f"{folder / name}: ")


def zipped(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, "a,b\n1,2\n3,4\n")
    return data.getvalue()


def _without_bytes(value: object) -> str:
    """Packed files have the time of day in them, and workers of xdist want equal names."""
    return value if isinstance(value, str) else "data"


PLAIN = [[1, 2], [3, 4]]
READ = {  # a file -> its title after the name, its values
    "commas": ("a,b\n1,2\n3,4\n", "2 rows, 2 columns", PLAIN),
    "semicolons": ("a;b\n1;2\n3;4\n", "2 rows, 2 columns, separated by semicolons", PLAIN),
    "tabs": ("a\tb\n1\t2\n3\t4", "2 rows, 2 columns, separated by tabs", PLAIN),
    "pipes": ("a|b\n1|2\n3|4\n", "2 rows, 2 columns, separated by pipes", PLAIN),
    "blanks": ("a  b\n 1 2\n3   4\n", "2 rows, 2 columns, separated by spaces", PLAIN),
    "decimal commas": (
        "a;b\n1,5;2\n3;4,25\n",
        "2 rows, 2 columns, separated by semicolons, decimal commas",
        [[1.5, 2], [3, 4.25]],
    ),
    "commas in texts": (
        "a;b\n1.5;x,y\n3;z,x\n",
        "2 rows, 2 columns, separated by semicolons",
        [[1.5, "x,y"], [3, "z,x"]],
    ),
    "a point is decimal": (
        "a;b\n1.5;1,234\n3;2,000\n",
        "2 rows, 2 columns, separated by semicolons",
        [[1.5, "1,234"], [3, "2,000"]],
    ),
    "no header": ("1,2\n3,4\n", "2 rows, 2 columns, no header", PLAIN),
    "a gap in the first row": ("5.1,?,0\n1,2,1\n", "2 rows, 3 columns, no header", None),
    "an empty cell there": ("5.1,,0\n1,2,1\n", "2 rows, 3 columns, no header", None),
    "a number among texts": ("x,1\ny,2\n", "2 rows, 2 columns, no header", [["x", 1], ["y", 2]]),
    "letters": ("p,x\ne,x\np,y\n", "3 rows, 2 columns, no header", None),
    "texts below names": ("a,b\nx,y\nz,x\n", "2 rows, 2 columns", [["x", "y"], ["z", "x"]]),
    "CRLF": ("a,b\r\n1,2\r\n3,4\r\n", "2 rows, 2 columns", PLAIN),
    "CR": ("a,b\r1,2\r3,4\r", "2 rows, 2 columns", PLAIN),
    "BOM": ("\ufeffa,b\n1,2\n3,4\n", "2 rows, 2 columns", PLAIN),
    "UTF-16": ("a,b\n1,2\n3,4\n".encode("utf-16"), "2 rows, 2 columns, UTF-16", PLAIN),
    "blank lines": ("\na,b\n\n1,2\n \n3,4\n\n", "2 rows, 2 columns", PLAIN),
    "quotes": (
        '"a","b, c"\n1,"x ""y"""\n2,"of\ntwo lines"\n',
        "2 rows, 2 columns",
        [[1, 'x "y"'], [2, "of\ntwo lines"]],
    ),
    "quotes within": ("a,b\n5'10\",1\n6'2\",2\n", "2 rows, 2 columns", None),
    "blanks after commas": ("x, 1, y\nz, ?, y\n", "2 rows, 3 columns, no header", None),
    "bools": ("a,b\nTrue,1\nFalse,2\n", "2 rows, 2 columns", [["True", 1], ["False", 2]]),
    "no numbers of Python's": (
        "a,b\n1_000,1\n2,2\n",
        "2 rows, 2 columns",
        [["1_000", 1], ["2", 2]],
    ),
}


@pytest.mark.parametrize("case", READ)
def test_layout(case: str, tmp_path: Path) -> None:
    data, title, values = READ[case]
    table = found(tmp_path, data)
    assert table.title == f"{tmp_path / 'd.csv'}: {title}"
    assert table.header == ("no header" not in title)
    assert table.header or list(table.frame.columns[:2]) == ["1", "2"]
    if values is not None:
        assert table.frame.values.tolist() == values


REFUSED = {
    "empty": ("", "empty; there is no table in it"),
    "blank": ("\n \n", "empty; there is no table in it"),
    "header alone": ("a,b\n", "no rows below the header"),
    "one column": ("a\n1\n2\n", "one column, 'a'; a table has a column to learn and one or more"),
    "an index": (",a,b\n0,1,2\n", "the first column has no name: an index, as pandas' to_csv"),
    "trailing commas": ("a,b,\n1,2,\n", "column 3 has no name and no values: is there a separator"),
    "trailing in rows": ("a,b\n1,2,\n", "line 2 has 3 columns but the first row has 2"),
    "title above": ("By 2020,,\na,b,c\n1,2,3\n4,5,6\n", "line 1 has one value, 'By 2020', but the"),
    "comment": ("# by hand\na;b\n1;2\n3;4\n", "line 1 has one value, '# by hand', but the lines b"),
    "of Excel": ("sep=;\na;b;c\n1;2;3\n4;5;6\n", "line 1 has one value, 'sep=', but the lines bel"),
    "row names": ("a,b\nx,1,2\ny,3,4\n", "line 1 has 2 columns but the lines below have 3; if the"),
    "all trail": ("a,b\n1,2,\n3,4,\n", "line 1 has 2 columns but the lines below have 3; its last"),
    "counts": ("0,1,2\n5,6,7\n8,9,9\n", "line 1 counts 0 to 2; pass --header if it names the colu"),
    "counts up": ("1,2,3\n5,6,7\n8,9,9\n", "line 1 counts 1 to 3; pass --header if it names the c"),
    "years": ("land,2019,2020\nDE,1,2\nFR,1,3\nDE,2,2\nFR,3,4\n", "line 1 has '2019' in it and so"),
    "single quotes": ("'a','b'\n'1','2'\n'3','4'\n", "names are in single quotes; use double quot"),
    "nameless": ("a,,b\n1,2,3\n", "line 1 has a gap in it and so is no header, but 'a' above"),
    "two of a name": ("a,b,a\n1,2,3\n", "columns 1 and 3 are both called 'a'; rename one, or"),
    "short": ("a,b,c\n1,2,3\n\n4,5\n", "line 4 has 2 columns but the first row has 3"),
    "long": ("a,b\n1,2\n3,4,5\n", "line 3 has 3 columns but the first row has 2"),
    "short and long": ("a,b,c\n1,2\n1,2,3,4\n", "line 2 has 2 columns but the first row has 3"),
    "numbers as names": ("0,1,y\n1,2,0\n", "line 1 has '0' in it and so is no header, but 'y' abo"),
    "NUL": ("a,b\n1,2\n3,\0\n", "line 3 holds a NUL byte; not a text file, or one that is dam"),
    "latin-1": (b"a,b\n1,2\n\xe9,4\n", "line 3 is not text in UTF-8; save it as UTF-8"),
    "no UTF-16": (b"\xff\xfea,b\n1,2", "begins as UTF-16 but is none; save it as UTF-8"),
    "open in line 3": ("a,b\n1,x\n2,\"y\n" + "3,z\n" * 150, "line 3: a quote is opened there and"),
    "open, others closed": ('a,b\n1,"x\n' + '2,"y"\n' * 99, "line 2: a quote is opened there and"),
    "two open": ('a,b,c\n1,"x,0\n2,"y,1\n', "line 2: a quote is opened there and never closed"),
    "open at the end": ('a,b\n1,2\n3,"', "line 3: a quote is opened there and never closed"),
    "short with quotes": ('a,b,c\n1,"x,y"\n', "line 2 has 2 columns but the first row has 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    data, words = REFUSED[case]
    assert refused(tmp_path, data).startswith(words)


def test_what_is_said_can_be_set(tmp_path: Path) -> None:
    table = found(tmp_path, "0,1,y\n1,2,0\n", header=True)
    assert list(table.frame.columns) == ["0", "1", "y"] and len(table.frame) == 1
    assert len(found(tmp_path, "a,b\nx,y\n", header=False).frame) == 2
    text = refused(tmp_path, "a b\n1 2\n3\n", separator=" ")
    assert text == "line 3 has 1 column but the first row has 2"
    assert found(tmp_path, "a#b\n1#2\n", separator="#").frame.values.tolist() == [[1, 2]]
    table = found(tmp_path, "a;b\n1,5;2\n", decimal=".")
    assert table.frame.values.tolist() == [["1,5", 2]]
    table = found(tmp_path, ",a\n0,1\n", drop=["Unnamed: 0"])
    assert list(table.frame.columns) == ["Unnamed: 0", "a"]
    assert found(tmp_path, "a\n1\n2\n", least=1).frame.shape == (2, 1)
    assert found(tmp_path, "0,1\n1,2\n", known=["0", "1"]).frame.shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("d.csv.gz", gzip.compress(b"a,b\n1,2\n3,4\n")),
        ("d.gz", gzip.compress(b"a\tb\n1\t2\n3\t4\n")),
        ("d.zip", zipped("inner.csv")),
        ("d.csv.zip", zipped("x/", "x/inner.csv", "__MACOSX/y")),
        ("d.tsv", b"a\tb\n1\t2\n3\t4\n"),
        ("D.DATA", b"a,b\n1,2\n3,4\n"),
    ],
    ids=_without_bytes,
)
def test_packed(name: str, data: bytes, tmp_path: Path) -> None:
    assert found(tmp_path, data, name).frame.values.tolist() == PLAIN


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("d.gz", b"a,b\n1,2\n", "not a whole .gz file"),
        ("d.gz", gzip.compress(b"a,b\n1,2\n")[:-9], "not a whole .gz file"),
        ("d.zip", b"a,b\n1,2\n", "not a whole .zip file"),
        ("d.zip", zipped("a.csv", "b.csv"), "holds 2 files; it must be one"),
        ("d.zip", zipped(), "holds 0 files; it must be one"),
        ("d.parquet", b"a,b\n1,2\n", "not a whole .parquet file"),
        ("d.feather", b"a,b\n1,2\n", "not a whole .feather file"),
        ("d.xlsx", b"", "no table; .csv, .tsv, .txt, .data, .gz, .zip, .parquet, .feather can"),
    ],
    ids=_without_bytes,
)
def test_damaged(name: str, data: bytes, words: str, tmp_path: Path) -> None:
    if name.endswith((".parquet", ".feather")):
        pytest.importorskip("pyarrow")
    assert refused(tmp_path, data, name).startswith(words)


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 1 << 16)
    data = gzip.compress(b"1,2\n" * 20_000)
    assert "more than 65536 bytes unpacked" in refused(tmp_path, data, "d.gz")


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_the_index_of_pandas(kind: str, tmp_path: Path) -> None:
    """One that counts rows is left out; columns that rows were indexed by come back."""
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [0.5, 1.5]})
    for name, given, names in (
        ("plain", frame, ["a", "b", "c"]),
        ("named", frame.rename_axis("Id"), ["a", "b", "c"]),
        ("column", frame.set_index("b"), ["b", "a", "c"]),
        ("two", frame.set_index(["b", "a"]), ["b", "a", "c"]),
    ):
        if kind == "feather" and name in ("column", "two", "named"):
            continue  # pandas writes none
        getattr(given, f"to_{kind}")(tmp_path / f"{name}.{kind}")
        assert read_table(tmp_path / f"{name}.{kind}").frame.columns.tolist() == names


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_columns_have_types(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": [True, False]})
    frame["d"] = pandas.array([1, None], dtype="Int64")
    getattr(frame, f"to_{kind}")(tmp_path / f"d.{kind}")
    table = read_table(tmp_path / f"d.{kind}")
    assert table.title.endswith(f"d.{kind}: 2 rows, 4 columns") and table.where(1) == "row 1"
    assert table.frame["a"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("cells", "kind", "some"),
    [
        (["1"] * 300 + ["x"] + ["2"] * 300, "text", ["1", "x", "2"]),
        ([""] * 300 + ["x"] + [""] * 300, "text", ["x"]),
        ([""] * 300 + ["5"] + [""] * 300, "float64", None),
        (["1"] * 300 + ["40000"] + ["-2"] * 300, "int32", None),
        (["1"] * 300 + ["0.5"] + ["3"] * 300, "float64", None),
        (["True"] * 300 + ["maybe"] + [""] * 300, "text", ["True", "maybe"]),
        (["007"] * 300 + ["x7"] + ["007"] * 300, "text", ["007", "x7"]),
    ],
)
def test_parts_of_a_file_agree(cells, kind, some, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reader, "_CELLS", 512)
    monkeypatch.setattr(reader, "_ROWS", 100)
    text = "a,b\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells))
    column = found(tmp_path, text).frame["a"]
    if kind != "text":
        assert column.dtype == kind
        expected = np.array([float(cell or "nan") for cell in cells])
        np.testing.assert_array_equal(column, expected)
    else:
        assert sorted(column.cat.categories) == sorted(some)
        assert [c if isinstance(c, str) else "" for c in column] == cells


def test_numbers_are_those_that_float_reads(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.standard_normal(5000) * 10.0 ** rng.integers(-300, 300, 5000)
    text = "a,b\n" + "".join(f"{v!r},1\n" for v in values.tolist())
    assert np.array_equal(found(tmp_path, text).frame["a"], values)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a;b\n1;2\n3;x\n")))
    table = read_table("-")
    assert table.title == "standard input: 2 rows, 2 columns, separated by semicolons"
    assert table.remarks == ("separated by semicolons",) and table.where(1) == "line 3"


def test_lines_of_rows(tmp_path: Path) -> None:
    table = found(tmp_path, '\na,b\n1,2\n\n3,"x\ny"\n5,6\n')
    assert [table.where(row) for row in range(3)] == ["line 3", "line 5", "line 7"]


def test_pandas_is_imported_for_a_table_alone() -> None:
    code = (
        "import sys, fastgrad, fastgrad.cli, fastgrad.tables, fastgrad.datasets; "
        "fastgrad.cli.main(['info']); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_without_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    text = refused(tmp_path, "a,b\n1,2\n")
    assert text == "to read tables takes pandas: pip install pandas"


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Files of any size are read by threads, 64 bytes at a time -> whether each could be."""
    monkeypatch.setattr(reader, "LARGE", 0)
    monkeypatch.setattr(reader, "_PIECE", 64)
    seen, by_threads = list[bool](), reader._by_threads

    def watched(*args):
        columns = by_threads(*args)
        seen.append(columns is not None)
        return columns

    monkeypatch.setattr(reader, "_by_threads", watched)
    return seen


def as_texts(frame):
    """The order of its categories is that of the parts it was read in, and says nothing."""
    texts = [name for name in frame.columns if frame[name].dtype == "category"]
    return frame.astype(dict.fromkeys(texts, object))


CELLS = {
    "numbers": lambda i: f"{i},{i / 7!r},{i * 3000}",
    "texts": lambda i: f"{i},é{i % 5},{i % 2 == 0}",
    "gaps": lambda i: f"{i},{'' if i % 3 else 0.5},{'' if i % 4 else '?'}",
    "quotes": lambda i: f'"a, {i % 4}","say ""{i % 3}""",{i}',
    "quoted numbers": lambda i: f'"{i}","{i / 3!r}","{"xy"[i % 2]}"',
    "many texts": lambda i: f"{i},t{i * 7 % 83},{'ab'[i % 2]}{'' if i % 5 else i}",
    "dates": lambda i: f"2020-01-{1 + i % 28:02},2020-03-{1 + i % 28:02} {i % 24:02}:00,{i}",
    "spaces": lambda i: f" {i}, {i % 3} x,  {i}",
}


@pytest.mark.parametrize("ends", ["\n", "\r\n", ""])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_threads_read_what_one_does(
    kind: str, header: bool, ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [CELLS[kind](i) for i in range(100)]
    data = (ends or "\n").join((["a,b,c"] if header else []) + rows) + ends
    one = found(tmp_path, data, header=header)
    seen = small_pieces(monkeypatch)
    many = found(tmp_path, data, header=header)
    assert seen == [True] and many.title == one.title and many.where(50) == one.where(50)
    pandas.testing.assert_frame_equal(as_texts(one.frame), as_texts(many.frame))


@pytest.mark.parametrize(
    "rows",
    [
        ["1,2"] * 50 + ["1,2,3", "1"] + ["3,4"] * 50,  # as many separators as there should be
        ["1,2"] * 50 + ["1,2,3"] + ["3,4"] * 50,
        ["1,2"] * 50 + ["1"] + ["3,4"] * 50,
        ["1,2"] * 50 + [""] + ["3,4"] * 50,
        ["1,2"] * 50 + ["x,4"] + ["3,4"] * 50,
        ["1,2"] * 50 + ['"3",4'] + ["3,4"] * 50,
        ["1,2"] * 50 + ['"3,4","5'] + ['",4'] + ["3,4"] * 50,
        ["1,2"] * 50 + ['3"x,y",4'] + ["3,4"] * 50,
        ["x,2"] * 50 + ["1,2"] * 50,
        ["x,2"] * 50 + ["TRUE,2"] * 50,
        ["x,2"] * 50 + ["007,2"] * 50 + [",2"] * 50,
        ["1,2"] * 50 + ['"3', '3",4'] + ["3,4"] * 50,
        ["1,2"] * 50 + ['"3,4'] + ["3,4"] * 50,
        ["1,2"] * 50 + ["\0,4"] + ["3,4"] * 50,
        ["1,2"] * 50 + ["1" * 400 + ",4"] + ["3,4"] * 50,
        ["1,2"] * 50 + ["\udce9,4"] + ["3,4"] * 50,
    ],
)
def test_threads_leave_what_is_unusual(
    rows: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ("a,b\n" + "".join(row + "\n" for row in rows)).encode("utf-8", "surrogateescape")

    def outcome():
        try:
            return found(tmp_path, data).frame
        except DataError as error:
            return str(error)

    one = outcome()
    small_pieces(monkeypatch)
    many = outcome()
    if isinstance(one, str):
        assert many == one
    else:
        pandas.testing.assert_frame_equal(as_texts(one), as_texts(many))
