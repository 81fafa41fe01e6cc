"""Tables in plain text that fit the terminal: side by side where there is room, else one block per row."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

GAP = "  "


def terminal_width() -> int:
    """Columns of the terminal; COLUMNS, or 80, where there is none."""
    return shutil.get_terminal_size().columns


def wrapped(text: str, width: int, indent: str = "  ") -> list[str]:
    """Lines of at most `width` columns, all but the first indented; words, such as paths, stay whole."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lines of a table, the first column to the left, numbers to the right.

    Args:
        header: name of each column; that of the first may be empty.
        rows: cells, as many as the header has names.
        width: columns of the terminal. A table that is wider becomes a block per row: its first cell, then name and
            cell of the other columns below each other.
    """
    sizes = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    if sum(sizes) + len(GAP) * (len(sizes) - 1) <= width:
        return [
            GAP.join(
                [line[0].ljust(sizes[0]), *(c.rjust(n) for c, n in zip(line[1:], sizes[1:], strict=True))]
            ).rstrip()
            for line in (header, *rows)
        ]
    names = max(len(name) for name in header[1:])
    lines = []
    for row in rows:
        lines += wrapped(row[0], width)
        for name, cell in zip(header[1:], row[1:], strict=True):
            lines += wrapped(f"{GAP}{name.ljust(names)}{GAP}{cell}", width, " " * (names + 2 * len(GAP)))
    return lines
