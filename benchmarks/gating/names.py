"""The names and params of all benchmarks, a line each: they are how asv finds earlier results.

python benchmarks/gating/names.py            # prints them
python benchmarks/gating/names.py --write    # into benchmarks/names.txt, which is tested
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "names.txt"
KINDS = ("time_", "timeraw_", "track_", "peakmem_", "mem_")


def modules() -> Iterator[ModuleType]:
    """As asv lists them: without the compilation that comes before a run."""
    sys.path.insert(0, str(ROOT))
    sys.argv[1:] = ["discover"]
    package = importlib.import_module("benchmarks")
    for _, name, _ in pkgutil.iter_modules(package.__path__, "benchmarks."):
        yield importlib.import_module(name)


def benchmarks(module: ModuleType) -> Iterator[tuple[str, Any, Any]]:
    """name, the function or method, the class or module that has its attributes"""
    own = {n: v for n, v in vars(module).items() if not n.startswith("_")}
    short = module.__name__.partition(".")[2]
    for name, value in own.items():
        if inspect.isclass(value):
            for method, function in inspect.getmembers(value, inspect.isfunction):
                if method.startswith(KINDS):
                    yield f"{short}.{name}.{method}", function, value
        elif inspect.isfunction(value) and name.startswith(KINDS):
            yield f"{short}.{name}", value, module


def line(name: str, function: Any, owner: Any) -> str:
    """As in names.txt; raises ValueError for a benchmark without a version of its own."""

    def attribute(what: str, default: Any) -> Any:
        return getattr(function, what, getattr(owner, what, default))

    version = getattr(function, "version", vars(owner).get("version"))
    if not isinstance(version, str):
        raise ValueError(f'{name}: give it (or its class) a version = "1"')
    names, values = attribute("param_names", []), attribute("params", [])
    params = "; ".join(
        f"{key} = {', '.join(map(str, choices))}"
        for key, choices in zip(names, values, strict=True)
    )
    return f"{name} | version {version} | {params}".strip(" |")


def lines() -> list[str]:
    return sorted(line(*found) for module in modules() for found in benchmarks(module))


def absent() -> list[str]:
    """What a module says it needs and this checkout does not have: it would show n/a."""
    missing = []
    for module in modules():
        for name in getattr(module, "NEEDS", ()):
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                missing.append(f"{module.__name__}: {name}")
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    text = "".join(f"{entry}\n" for entry in lines())
    if write:
        FILE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
