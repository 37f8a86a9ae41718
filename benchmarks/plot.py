"""Bars as SVG: a panel for each figure, a bar for each subject."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Bar = tuple[str, float | None, str]
"""Whose, how long, and what is written at its end."""

WIDTH, LABEL, ROW, HEAD, GAP, COLUMNS = 1_000, 110, 18, 26, 16, 2
STYLE = """text { font: 12px sans-serif; fill: #24292f } .head { font-weight: bold } .absent { fill: #6e7781 }
rect { fill: #8c959f } .ours { fill: #1a7f37 } .limit { fill: #d0d7de } .page { fill: #fff }"""


def draw(panels: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """All panels, two side by side."""
    width = WIDTH / COLUMNS
    height = max(len(bars) for _, bars in panels) * ROW + HEAD + GAP
    rows = -(-len(panels) // COLUMNS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {rows * height + GAP}" role="img">',
        "<title>How fast each is</title>",
        f"<style>{STYLE}</style>",
        '<rect class="page" width="100%" height="100%"/>',
    ]
    for number, (title, bars) in enumerate(panels):
        left, top = number % COLUMNS * width + GAP, number // COLUMNS * height + GAP
        parts.append(f'<text class="head" x="{left}" y="{top + 12}">{escape(title)}</text>')
        # The limit is off the scale of everybody else.
        longest = max((value for name, value, _ in bars if value and not _is_limit(name)), default=1.0)
        for row, (name, value, note) in enumerate(bars):
            parts += _bar(left, top + HEAD + row * ROW, width - LABEL - 90, name, value, longest, note)
    return "\n".join([*parts, "</svg>", ""])


def _is_limit(name: str) -> bool:
    return name == "the limit"


def _bar(x: float, y: float, room: float, name: str, value: float | None, longest: float, note: str) -> list[str]:
    long = room * min(1.0, (value or 0) / longest)
    kind = "ours" if name == "ours" else "limit" if _is_limit(name) else "peer"
    words, end = "absent" if value is None else "value", x + LABEL + long + 4
    return [
        f'<text x="{x}" y="{y + 12}">{escape(name)}</text>',
        f'<rect class="{kind}" x="{x + LABEL}" y="{y + 2}" width="{long:.1f}" height="{ROW - 5}"/>',
        f'<text class="{words}" x="{end:.1f}" y="{y + 12}">{escape(note)}</text>',
    ]
