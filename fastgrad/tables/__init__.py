"""Tables as people have them: .csv, .tsv, .parquet, .feather in; x, y and what was learned out.

pandas reads them (``pip install pandas``); to import this imports no pandas.
"""

from __future__ import annotations

from .errors import DataError
from .read import Read, is_table, read_table
from .table import Table

__all__ = ["DataError", "Read", "Table", "is_table", "read_table"]
