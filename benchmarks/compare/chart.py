"""README's chart: the measured steps in, an SVG of bars out, readable on light and dark pages.

Text is text, so that it follows the reader's fonts; the ground is drawn, so that it does not matter
what is behind it. A bar that is longer than the picture is cut and says so.
"""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 760, 150, 90, 74, 22, 10
LONGEST = 6  # times the second shortest bar: what is longer is cut
NAMES = {
    "numpy": "numpy, by hand",
    "torch": "PyTorch",
    "torch compiled": "PyTorch, compiled",
    "jax": "JAX",
}
STYLE = """
  svg { color-scheme: light dark; font: 14px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
  .ground { fill: #ffffff; stroke: #d8dee4; } .text { fill: #1f2328; } .small { fill: #59636e; font-size: 12px; }
  .title { font-size: 17px; font-weight: 600; } .ours { fill: #1f6feb; } .other { fill: #afb8c1; } .cut { stroke: #ffffff; }
  @media (prefers-color-scheme: dark) {
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
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(', '.join(f'{name} {us:.0f} µs' for name, us in lines))}</desc>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="text title" x="20" y="32">{escape(title)}</text>',
        f'<text class="small" x="20" y="54">{escape(what)}</text>',
    ]
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
    where = f"{found['cpu']}; {found['date'][:10]}; python benchmarks/compare/steps.py"
    parts += [f'<text class="small" x="20" y="{height - 14}">{escape(where)}</text>', "</svg>"]
    return "\n".join(parts) + "\n"
