"""A table as text, for the terminal, for the page and for plain output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Cells"]


@dataclass(frozen=True)
class Cells:
    """A table as text: title, headings, rows; the first column is words, the others numbers.

    `narrow` says which columns a terminal of 80 characters shows, and under which heading; the page shows all.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    narrow: Mapping[str, str]

    def __rich__(self) -> Table:
        """Show it in a terminal."""
        from rich.box import SIMPLE  # here, for a machine without it prints plain text
        from rich.table import Table

        table = Table(title=self.title, box=SIMPLE, show_edge=False, pad_edge=False, collapse_padding=True)
        places = [self.head.index(heading) for heading in self.narrow]
        for place, heading in zip(places, self.narrow.values(), strict=True):
            table.add_column(heading, justify="left" if place == 0 else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(row[place] for place in places))
        return table

    def __str__(self) -> str:
        """All columns as plain text.

        >>> print(Cells("sums", ("of", "is"), (("1 + 1", "2"), ("5 + 5", "10")), {}))
        sums
        of     is
        1 + 1   2
        5 + 5  10
        """
        lines = (self.head, *self.rows)
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.head))]
        aligned = ([cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
        texts = ("  ".join([line[0].ljust(widths[0]), *cells[1:]]) for line, cells in zip(lines, aligned, strict=True))
        return "\n".join([self.title, *texts])
