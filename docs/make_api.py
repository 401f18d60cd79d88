"""docs/api.md from the docstrings of what fastgrad exports, by topic, and docs/api_examples.txt.

python docs/make_api.py            # writes it; tests/docs/test_api.py says when it is stale
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastgrad

PATH = Path(__file__).with_name("api.md")
HEAD = """\
# The public functions

Written by `docs/make_api.py` from the docstrings; not edited by hand. The tests run
the examples, from top to bottom as one program.

What holds for all functions:

- Results have the dtype of the arrays: float32 or float64. Integers and bools become floats.
- Arrays may have any layout: strides, alignment, leading dimensions, dimensions of size 0.
- `out=` is written and returned; any strides will do. `accumulate=True` adds to what is there.
- A wrong argument raises ValueError or TypeError, one line, before anything is written.
- Calls release the GIL where they are long. Arrays must not change meanwhile.

Which bits they give stands in [the contract](contract.md).
"""
CONSTANTS = {
    "KC": (
        ", ".join(f'`"{name}"`: {k}' for name, k in fastgrad.KC.items()),
        "Steps of k in one chain of the contract; also by dtype, `KC[x.dtype]`. Micro-batches of "
        "multiples of KC rows add up to the bits of the whole batch.",
    ),
    "BITS_VERSION": (str(fastgrad.BITS_VERSION), "The number of the formula that results follow."),
    "__version__": ("a string", "The version of the package."),
}
STAR = re.compile(r"(?<![\w)*])(\*\w+\*)(?![\w*])|\*")
EXAMPLES = PATH.with_name("api_examples.txt")
EXAMPLE = re.compile(r"^# (fastgrad\.[\w.]+)\n(.*?)(?:\n(?=\n# )|\Z)", re.M | re.S)
DIRECTIVE = re.compile(r"  # doctest: \S+")
TOPICS = {
    "Products": ("matmul", "matmul_nt", "matmul_tn"),
    "Layers": ("linear_forward", "linear_backward", "LinearGrads", "activation"),
    "Losses": ("softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse", "softmax"),
    "Optimizers": ("SGD", "Adam", "AdamW", "sgd_step", "adam_step", "clip_grad_norm"),
    "Learning rates": ("cosine_schedule", "step_schedule"),
    "The model": ("MLP",),
    "Threads": ("set_num_threads", "get_num_threads", "num_threads"),
    "The process": ("warmup", "show_config"),
}
MODULES = ("reference", "testing", "datasets", "tables")  # their own functions, in the end


def page() -> str:
    shown = examples()
    contents = [*TOPICS, "Constants", *(f"fastgrad.{name}" for name in MODULES)]
    parts = [
        HEAD,
        " · ".join(f"[{t}](#{t.lower().replace(' ', '-').replace('.', '')})" for t in contents)
        + "\n",
    ]
    for topic, names in TOPICS.items():
        parts.append(f"## {topic}\n")
        for name in names:
            parts += entries(f"fastgrad.{name}", getattr(fastgrad, name), shown)
    parts.append(constants())
    for name in MODULES:
        module = importlib.import_module(f"fastgrad.{name}")
        parts.append(f"## fastgrad.{name}\n\n{text(module)}\n")
        for member in public(module):
            parts += entries(f"fastgrad.{name}.{member}", getattr(module, member), shown)
    return "\n".join(parts)


def examples() -> dict[str, str]:
    """The name of a function -> its example."""
    return dict(EXAMPLE.findall(EXAMPLES.read_text(encoding="utf-8")))


def constants() -> str:
    """What is exported and is no function, with its value."""
    rows = ["## Constants\n\n| name | value | what it is |\n|---|---|---|"]
    for name, (shown, what) in CONSTANTS.items():
        rows.append(f"| `fastgrad.{name}` | {shown} | {what} |")
    return "\n".join(rows) + "\n"


def entries(name: str, what: Any, shown: dict[str, str], level: str = "###") -> Iterator[str]:
    """The heading, signature, docstring and example of a function; of a class also its methods."""
    if inspect.ismodule(what) or not callable(what):
        return
    yield f"{level} {name}\n\n```python\n{signature(name, what)}\n```\n\n{text(what)}\n"
    if name in shown:
        yield f"```pycon\n{DIRECTIVE.sub('', shown[name]).strip()}\n```\n"
    if inspect.isclass(what):
        for method, value in vars(what).items():
            function = getattr(value, "__func__", value)
            if inspect.isfunction(function) and not method.startswith("_") and function.__doc__:
                yield from entries(f"{name}.{method}", function, shown, level + "#")
        attributes = {
            attribute: value
            for kind in reversed(what.__mro__)  # those of a base of ours too
            if kind.__module__.startswith("fastgrad")
            for attribute, value in vars(kind).items()
            if isinstance(value, property) and value.__doc__
        }
        if attributes:
            yield f"{level}# Attributes of {name}\n"
            lines = (
                f"- `{a}`: {text(value)}".replace("\n", "\n  ") for a, value in attributes.items()
            )
            yield "\n".join(lines) + "\n"


def public(module: Any) -> list[str]:
    """What a module defines itself, or lists."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


def signature(name: str, what: Any) -> str:
    """As it is written, defaults by their names, a parameter a line where it is long."""
    try:
        found = inspect.signature(what)
    except ValueError:
        return name
    parts, seen_star = [], False
    for p in found.parameters.values():
        if p.name in ("self", "cls", "_cls"):
            continue
        if p.kind is p.KEYWORD_ONLY and not seen_star:
            parts.append("*")
            seen_star = True
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = "" if p.default is p.empty else f"={value(p.default)}"
        parts.append(star + p.name + default)
    short = name.rpartition(".")[2]
    line = f"{short}({', '.join(parts)})"
    if len(line) > 100:
        line = f"{short}(\n    " + ",\n    ".join(parts) + ",\n)"
    return line


def value(default: Any) -> str:
    return default.__name__ if inspect.isclass(default) else repr(default)


def text(what: Any) -> str:
    """The docstring: examples in fences, and outside of code stars that multiply, or stress."""
    lines, is_example = [], False
    for line in [*(inspect.getdoc(what) or "").splitlines(), ""]:
        if line.startswith(">>>") and not is_example:
            lines.append("```pycon")
            is_example = True
        elif is_example and not line:
            lines.append("```")
            is_example = False
        is_code = is_example or line.startswith("    ")
        lines.append(line if is_code else STAR.sub(lambda star: star[1] or "\\*", line))
    return "\n".join(lines).strip()


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
    print(f"written: {PATH.name}")
