"""The parts of a self-contained page: its frame, cards, pictures, tables."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from dntk_fast.report.cells import Cells

__all__ = ["cards", "document", "picture", "table"]

# A cell with more characters is no number.
LONG = 24
CSS = """
:root { color-scheme: light; --ink:#222; --soft:#666; --line:#ddd; --card:#f6f7f9; --accent:#0072B2; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background:#fff; }
body { margin: 0 auto; max-width: 1080px; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; }
p { max-width: 75ch; } .soft { color: var(--soft); font-size: .92rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.card { background: var(--card); border-radius: 8px; padding: .7rem .9rem; }
.card b { display:block; font-size: 1.35rem; color: var(--accent); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); }
th, td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { font-weight: 600; border-bottom-color: #999; } th:first-child, td:first-child { text-align: left; }
th.words, td.words { text-align: left; white-space: normal; min-width: 14ch; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } img.pixels { image-rendering: pixelated; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; } h4 { font-size: .92rem; margin: .9rem 0 .3rem; font-weight: 600; }
.asked { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; } .asked div { flex: 1 1 16rem; }
.asked p { margin: 0 0 .4rem; } .strip { display: flex; flex-wrap: wrap; gap: .6rem; } .strip figure { margin: 0; }
.strip figcaption { max-width: 6.4rem; }
.strip figure { text-align: center; font-size: .78rem; color: var(--soft); } section { break-inside: avoid; }
.strip img, .asked img { border: 1px solid var(--line); }
code { background: var(--card); padding: 0 .25em; border-radius: 3px; }
@media print { h2 { break-after: avoid; } img, table { break-inside: avoid; } }
"""


def document(subject: str, body: Iterable[str]) -> str:
    """Return a whole page that loads nothing from elsewhere."""
    title = f"Distilled neural tangent kernel: {subject}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{CSS}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def cards(*pairs: tuple[str, str]) -> str:
    """Return numbers to be seen first, each with its label."""
    inner = "".join(f'<div class="card"><b>{escape(value)}</b>{escape(label)}</div>' for value, label in pairs)
    return f'<div class="cards">{inner}</div>'


def picture(uri: str, alt: str, kind: str = "") -> str:
    """Return a picture that is part of the page."""
    return f'<figure><img class="{kind}" alt="{escape(alt)}" src="{uri}"></figure>'


def table(cells: Cells) -> str:
    """Return a table, all columns; a column of long texts is broken into lines, so that nothing leaves the page."""
    places = range(len(cells.head))
    longest = [max((len(row[place]) for row in cells.rows), default=0) for place in places]
    kinds = [' class="words"' if place and longest[place] > LONG else "" for place in places]

    def line(tag: str, texts: Iterable[str]) -> str:
        inner = (f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(line("td", row) for row in cells.rows)
    return f'<div class="scroll"><table><thead>{line("th", cells.head)}</thead><tbody>{body}</tbody></table></div>'
