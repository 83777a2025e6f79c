"""Bar charts as SVG, a few lines of it: no library draws here."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

OURS: Final = "#0f766e"
THEIRS: Final = "#94a3b8"
_LEFT, _WIDTH, _ROW = 250, 460, 30


def bars(path: Path, title: str, entries: list[tuple[str, float, bool]], unit: str, *, digits: int = 2) -> None:
    """A horizontal bar chart, shorter is better. `entries`: label, value, whether it is ours."""
    most = max((value for _, value, _ in entries), default=1.0) or 1.0
    height = 54 + _ROW * len(entries)
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 120}" height="{height}" '
            'font-family="sans-serif" font-size="13">'
        ),
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="12" y="26" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for at, (name, value, ours) in enumerate(entries):
        y, long = 42 + at * _ROW, max(2.0, _WIDTH * value / most)
        lines.append(f'<text x="{_LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect x="{_LEFT}" y="{y}" width="{long:.1f}" height="20" rx="3" fill="{OURS if ours else THEIRS}"/>')
        lines.append(f'<text x="{_LEFT + long + 8:.1f}" y="{y + 15}">{value:,.{digits}f} {escape(unit)}</text>')
    path.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")
