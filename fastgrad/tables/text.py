"""Text of a table: its source and layout in; a pandas DataFrame out.

Columns are kept in the smallest type that holds them exactly, and one that is numbers in one part
of the file and texts in another is read again as texts. A large file is cut at line ends into
pieces, which threads check and read side by side; what is unusual in one of them, such as a quoted
cell of several lines, leaves the file to the one reader that says what, and where.
"""

from __future__ import annotations

import io
import re
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from .._ops.numbers import brief
from ..threads import get_num_threads
from .errors import DataError
from .layout import Layout, is_number
from .parts import Column, Part, parts_of
from .source import Source, widths

if TYPE_CHECKING:
    from concurrent.futures import Future

_CELLS, _ROWS = 1 << 20, 4096  # that are read at once; each part costs 50 us a column
LARGE = 1 << 23  # bytes of a file that is read by threads
_PIECE = 1 << 21  # bytes that one of them reads at a time
_PART = 1 << 17  # bytes that numpy compares at a time: the result stays in the cache
_THREADS = 4  # the most: then the memory, and the thread that cuts, are what limits


def read(pandas: Any, source: Source, found: Layout) -> Any:
    """The frame; a DataError for what is no text, for rows of other widths, for none."""
    columns = None
    if source.size >= LARGE and found.separator != " " and len(found.names) > 1:
        columns = _by_threads(pandas, source, found)
    if columns is None:
        has_quotes = source.check_bytes()
        rows = source.count_rows(found.separator, len(found.names), has_quotes) - found.header
        if rows < 1:
            raise DataError(f"{source.name}: no rows below the header")
        columns = _in_order(pandas, source, found, rows, {})
        mixed = {name: str for name, column in columns.items() if len(column.kinds) > 1}
        if mixed:
            del columns
            columns = _in_order(pandas, source, found, rows, mixed)
    if found.decimal != ".":
        for column in columns.values():
            column.rename(lambda text: _with_point(text, found.decimal))
    frame = pandas.DataFrame({n: c.values(pandas) for n, c in columns.items()}, copy=False)
    if "pyarrow" in sys.modules:  # pandas' texts were its; it keeps what was free, else
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    return frame


def _with_point(text: str, decimal: str) -> str:
    """A number in a column of texts, as Python reads it."""
    return text.replace(decimal, ".") if is_number(text, decimal) else text


def _in_order(
    pandas: Any, source: Source, found: Layout, rows: int, types: dict[str, Any]
) -> dict[str, Column]:
    names = list(found.names)
    columns = {name: Column(rows) for name in names}
    size = max(_ROWS, _CELLS // len(names))
    try:
        with (
            source.open() as stream,
            pandas.read_csv(
                stream, **_options(pandas, found, found.header, types), chunksize=size
            ) as reader,
        ):
            for frame in reader:
                for name, part in parts_of(pandas, frame).items():
                    columns[name].add(*part)
    except MemoryError:
        raise
    except (pandas.errors.ParserError, ValueError, OverflowError) as error:
        words = re.sub(r"^Error tokenizing data\. C error: ", "", str(error))
        raise DataError(f"{source.name}: not a table ({brief(words, 150)})") from None
    return columns


def _options(
    pandas: Any, found: Layout, has_header: bool, types: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Of pandas.read_csv, for a part of the file that begins with the header or not."""
    version = tuple(int(part) for part in pandas.__version__.split(".")[:2])
    # numbers are those that Python's float reads: since 3.1 they are anyway
    exact = {} if version >= (3, 1) else {"float_precision": "round_trip"}
    return exact | {
        "sep": r"\s+" if found.separator == " " else found.separator,
        "decimal": found.decimal,
        "header": 0 if has_header else None,
        "names": list(found.names),
        "index_col": False,
        "dtype": types,
        "na_values": ["?"],
        "skipinitialspace": True,
        "encoding": "utf-8",
        "low_memory": False,
    }


# large files --------------------------------------------------------------------------------------


def _by_threads(pandas: Any, source: Source, found: Layout) -> dict[str, Column] | None:
    """None where the one reader has to look, and to say what is there."""
    from concurrent.futures import ThreadPoolExecutor  # 3 ms, which `import fastgrad` need not take

    threads = min(get_num_threads(), _THREADS)
    columns = dict[str, Column]()
    running: deque[Future[dict[str, Part] | None]] = deque()
    pieces = source.pieces(_PIECE)
    with ThreadPoolExecutor(threads) as pool:
        while True:
            while len(running) <= threads and (lines := next(pieces, None)) is not None:
                has_header = found.header and not columns
                running.append(pool.submit(_parts, pandas, lines, found, has_header))
                if not columns:  # memory that no row is written to costs nothing
                    rows = source.size * (lines.count(b"\n") + 1) // len(lines)
                    columns = {name: Column(rows + rows // 8) for name in found.names}
            if not running:
                return columns if any(column.rows for column in columns.values()) else None
            parts = running.popleft().result()
            if parts is None or not _added(columns, parts):
                for future in running:
                    future.cancel()
                return None


def _added(columns: dict[str, Column], parts: dict[str, Part]) -> bool:
    """Whether each column is still of one kind."""
    for name, column in columns.items():
        column.add(*parts[name])
    return all(len(column.kinds) < 2 for column in columns.values())


def _parts(pandas: Any, lines: bytes, found: Layout, has_header: bool) -> dict[str, Part] | None:
    """Of lines that are all of one width, and rows of their own. numpy counts: it lets the other
    threads run."""
    codes = np.frombuffer(lines, np.uint8)
    parts = [codes[i : i + _PART] for i in range(0, len(codes), _PART)]

    def count(character: str) -> int:
        return sum(int(np.count_nonzero(part == ord(character))) for part in parts)

    if count("\0"):
        return None
    has_quotes = count('"') > 0
    options = _options(pandas, found, has_header)
    options["skipinitialspace"] = count(" ") > 0  # where there is none, a fifth faster
    try:
        if not lines.isascii():
            lines.decode()
        frame = pandas.read_csv(io.BytesIO(lines), **options)
    except MemoryError:
        raise
    except (pandas.errors.ParserError, ValueError, OverflowError):
        return None
    ends, marks = count("\n") + (not lines.endswith(b"\n")), len(found.names) - 1
    if len(frame) != ends - has_header:
        return None
    # a row that is too short has no last cell; without such rows none is too long
    is_sure = not has_quotes and count(found.separator) == ends * marks
    if not is_sure or frame.iloc[:, -1].isna().any():
        of_lines = widths(lines, found.separator, has_quotes)
        if of_lines is None or (of_lines[1] != marks).any():
            return None
    return parts_of(pandas, frame)
