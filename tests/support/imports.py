"""Who imports whom in the package: sources in, edges between modules out.

Every import counts, also one inside a function or under TYPE_CHECKING. ``from . import x`` is an
edge to the module x where there is one, else to the package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

Edges = dict[str, set[str]]


def modules(package: Path) -> dict[str, Path]:
    """By their names: fastgrad, fastgrad._mlp, fastgrad._mlp.fit, ..."""
    return {_name(path, package.parent): path for path in sorted(package.rglob("*.py"))}


def edges(found: Mapping[str, Path]) -> Edges:
    return {name: set(_imported(name, path, found)) - {name} for name, path in found.items()}


def cycles(graph: Edges) -> list[list[str]]:
    """A way round for each module from which there is one."""
    return [way for start in graph if (way := _way_back(graph, start))]


def _way_back(graph: Edges, start: str) -> list[str]:
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop()
        for name in sorted(graph[way[-1]]):
            if name == start:
                return [*way, name]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def _name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(name: str, path: Path, found: Mapping[str, Path]) -> Iterator[str]:
    """Modules of ``found`` that the source names."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in found)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                if whole in found or base in found:
                    yield whole if whole in found else base
