"""Charts of steps: the measured steps in, SVG out, readable on light and dark pages.

``bars``: a net, a bar a library; README's. ``dots``: every net, a mark a library.

Text is text, so that it follows the reader's fonts; the ground is drawn, so that it does not matter
what is behind it. A bar that is longer than the picture is cut and says so.
"""

from __future__ import annotations

import math
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 760, 150, 90, 74, 22, 10
LONGEST = 6  # times the second shortest bar: what is longer is cut
ROW, AXIS, NET_RIGHT = 26, 112, 64  # dots: a row a net, the axis' top, room for our own time
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
MARKS = {  # a colour and a path around 0, 0, so that no mark is told by its colour alone
    "numpy": ("#d97706", "M-5 0 a5 5 0 1 0 10 0 a5 5 0 1 0 -10 0 z"),
    "jax": ("#0d9488", "M0 -6 L6 0 L0 6 L-6 0 z"),
    "torch": ("#e5484d", "M-5 -5 H5 V5 H-5 z"),
    "torch compiled": ("#9b5de5", "M0 -6 L6 5 H-6 z"),
    "scikit-learn": ("#768390", "M-5 -2 H-2 V-5 H2 V-2 H5 V2 H2 V5 H-2 V2 H-5 z"),
}
NAMES = {
    "numpy": "numpy, by hand",
    "torch": "PyTorch",
    "torch compiled": "PyTorch, compiled",
    "jax": "JAX",
}
STYLE = """
  svg { color-scheme: light dark; font: 14px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
  .grid { stroke: #d8dee4; } .one { stroke: #1f6feb; stroke-width: 2; }
  .ground { fill: #ffffff; stroke: #d8dee4; } .text { fill: #1f2328; } .small { fill: #59636e; font-size: 12px; }
  .title { font-size: 17px; font-weight: 600; } .ours { fill: #1f6feb; } .other { fill: #afb8c1; } .cut { stroke: #ffffff; }
  @media (prefers-color-scheme: dark) {
    .grid { stroke: #30363d; } .one { stroke: #4493f8; }
    .ground { fill: #0d1117; stroke: #30363d; } .text { fill: #f0f6fc; } .small { fill: #9198a1; }
    .ours { fill: #4493f8; } .other { fill: #57606a; } .cut { stroke: #0d1117; }
  }
"""  # noqa: E501


def bars(found: dict[str, Any], net: str) -> str:
    """A bar a library, fastgrad's first, the rest by their time."""
    row = next(row for row in found["nets"] if row["net"] == net)
    others = sorted(row["others"].items(), key=lambda other: other[1]["us"])
    lines = [("fastgrad", row["us"]), *((NAMES.get(n, n), o["us"]) for n, o in others)]
    limit = min(max(us for _, us in lines), LONGEST * lines[1][1])
    height = TOP + len(lines) * (BAR + GAP) + 34
    ours, second = lines[0][1], lines[1][1]
    title = f"A training step of a small net: {ours:.0f} µs, the next library {second:.0f} µs"
    what = (
        f"{net.replace(' b', ', batch ')}, float32, {found['threads']} threads; shorter is better"
    )
    about = ", ".join(f"{name} {us:.0f} µs" for name, us in lines)
    parts = _head(height, title, about, what)
    for number, (name, us) in enumerate(lines):
        y = TOP + number * (BAR + GAP)
        length = (WIDTH - LEFT - RIGHT) * min(us, limit) / limit
        kind, end = "other" if number else "ours", LEFT - 10
        parts += [
            f'<text class="text" x="{end}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3"/>',
            f'<text class="text" x="{LEFT + length + 8:.1f}" y="{y + 16}">{us:,.0f} µs</text>',
        ]
        if us > limit:  # a gap across it
            line = f"M{LEFT + length - 40} {y + BAR + 2} l10 -{BAR + 4}"
            parts.append(f'<path class="cut" d="{line}" stroke-width="5" fill="none"/>')
    return "\n".join([*parts, *_foot(found, height)]) + "\n"


def dots(found: dict[str, Any]) -> str:
    """A row a net; along it, on a scale of powers, each library's time over fastgrad's."""
    nets = found["nets"]
    ratios = [other["ratio"] for row in nets for other in row["others"].values()]
    height, bottom = AXIS + len(nets) * ROW + 50, AXIS + len(nets) * ROW
    title = f"Training steps: the others take {min(ratios):.2g} to {max(ratios):.0f} times as long"
    what = f"time / fastgrad's, float32, {found['threads']} threads; at the right fastgrad's own"
    parts = _head(height, title, f"{len(nets)} nets, {what}", what)
    room = WIDTH - LEFT - NET_RIGHT - 40

    def at(ratio: float) -> float:
        return LEFT + 10 + room * math.log(ratio) / math.log(TICKS[-1])

    x = 20.0
    for name, (colour, path) in MARKS.items():
        shown = NAMES.get(name, name).replace(", by hand", "")
        parts += [
            f'<path d="{path}" transform="translate({x + 6:.0f} 76)" fill="{colour}"/>',
            f'<text class="small" x="{x + 17:.0f}" y="80">{escape(shown)}</text>',
        ]
        x += 40 + 7 * len(shown)
    for tick in TICKS:
        kind, place = "one" if tick == 1 else "grid", f"{at(tick):.1f}"
        parts += [
            f'<path class="{kind}" d="M{place} {AXIS - 8} V{bottom - 8}"/>',
            f'<text class="small" x="{place}" y="{AXIS - 12}" text-anchor="middle">{tick}</text>',
        ]
    for number, row in enumerate(nets):
        y = AXIS + number * ROW + 4
        own = f"{row['us']:.3g} µs" if row["us"] < 1e3 else f"{row['us'] / 1e3:.3g} ms"
        net = row["net"].replace(" b", ", ")
        parts += [
            f'<text class="text small" x="{LEFT - 4}" y="{y + 4}" text-anchor="end">{net}</text>',
            f'<text class="text small" x="{WIDTH - 16}" y="{y + 4}" text-anchor="end">{own}</text>',
        ]
        for name, other in row["others"].items():
            colour, path = MARKS[name]
            move = f"translate({at(other['ratio']):.1f} {y})"
            parts.append(
                f'<path d="{path}" transform="{move}" fill="{colour}"><title>'
                f"{escape(NAMES.get(name, name))} {other['ratio']:.3g}</title></path>"
            )
    return "\n".join([*parts, *_foot(found, height)]) + "\n"


def _head(height: int, title: str, about: str, what: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(about)}</desc>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="text title" x="20" y="32">{escape(title)}</text>',
        f'<text class="small" x="20" y="54">{escape(what)}</text>',
    ]


def _foot(found: dict[str, Any], height: int) -> list[str]:
    where = f"{found['cpu']}; {found['date'][:10]}; python benchmarks/compare/steps.py"
    return [f'<text class="small" x="20" y="{height - 14}">{escape(where)}</text>', "</svg>"]
