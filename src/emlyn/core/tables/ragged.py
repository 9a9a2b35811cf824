"""Rows of delimited text made even: every row gets the number of cells that the header has. Standard library only."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any

from emlyn.core.tables.sniff import Dialect

LONGEST = 100
"""Lines that one quoted cell may span; a quote still open after them was never meant as one."""
_END = "\x1eend"


@dataclass
class Evened:
    """The rows again, and what had to be done to them."""

    data: bytes = b""
    rows: int = 0
    short: int = 0
    long: int = 0
    unclosed: int = 0
    comments: int = 0
    first: str = ""
    """The first row that was changed, for an error's message: it is never stored."""
    first_row: int = 0

    def remember(self, row: int, text: str) -> None:
        if not self.first_row:
            self.first_row, self.first = row, f"row {row}: {text[:60]!r}"

    @property
    def changed(self) -> int:
        return self.short + self.long + self.unclosed

    def notes(self) -> list[str]:
        """What was done, one sentence per kind."""
        notes = [f"{self.comments} comment lines left out"] if self.comments else []
        if self.short or self.long:
            how = f"{self.short} filled up, {self.long} joined at the end"
            notes.append(
                f"{self.short + self.long} of {self.rows} rows had another number of cells than the header: {how} (the first is row {self.first_row})"
            )
        if self.unclosed:
            notes.append(f"{self.unclosed} rows had a quote that was never closed; it was left out (the first is row {self.first_row})")
        return notes


def summed(parts: list[Evened]) -> Evened:
    """What had to be done to several parts of one file, one below the other; their data stays where it is."""
    total = Evened()
    for part in parts:
        if part.first_row and not total.first_row:
            total.first_row = total.rows + part.first_row
            total.first = f"row {total.first_row}: {part.first.partition(': ')[2]}"
        for what in ("rows", "short", "long", "unclosed", "comments"):
            setattr(total, what, getattr(total, what) + getattr(part, what))
    return total


def even(data: Any, width: int, dialect: Dialect) -> Evened:
    """Rows of `width` cells: short ones filled, the surplus of long ones joined into the last cell, stray quotes taken off."""
    raw = bytes(data)
    lines = raw.split(b"\n") if b"\n" in raw else raw.split(b"\r")
    if lines and not lines[-1]:
        lines.pop()
    delimiter, quote, escape = dialect.delimiter.encode(), dialect.quote.encode(), dialect.escape.encode()
    found, out, at = Evened(), [], 0
    while at < len(lines):
        line = lines[at].rstrip(b"\r")
        at += 1
        if not line and width > 1:
            continue
        if quote not in line and not (escape and escape in line):
            if line.count(delimiter) == width - 1:
                found.rows += 1
                out.append(line)
                continue
            if line.startswith(b"#") and delimiter not in line:
                found.comments += 1
                continue
            cells = line.decode("utf-8", "surrogateescape").split(dialect.delimiter)
        else:
            cells, taken = _quoted(lines, at - 1, width, dialect, found)
            at += taken - 1
        found.rows += 1
        out.append(_fitted(cells, width, dialect, found))
    found.data = b"\n".join(out) + b"\n"
    return found


def swallowed(levels: Any, width: int, delimiter: str) -> bool:
    """Whether a text looks as if it held whole rows, as it does between two quotes that were never closed."""
    return width > 1 and any("\n" in t and any(line.count(delimiter) == width - 1 for line in t.split("\n")[1:]) for t in levels.tolist())


def _quoted(lines: list[bytes], at: int, width: int, dialect: Dialect, found: Evened) -> tuple[list[str], int]:
    """The cells of a record that begins at line `at` and holds quotes, and how many lines it takes."""
    texts: list[str] = []
    for line in lines[at : at + LONGEST]:
        texts.append(line.decode("utf-8", "surrogateescape").rstrip("\r"))
        if not texts[-1].count(dialect.quote) and len(texts) > 1:
            continue
        if (cells := _record(texts, dialect)) is not None:
            proper = len(texts) == 1 or (len(cells) == width and _record(texts, dialect, strict=True) is not None)
            if proper or len(texts[0].split(dialect.delimiter)) != width:
                return cells, len(texts)
            break
    found.unclosed += 1
    found.remember(found.rows + 1, texts[0])
    return [cell.strip().strip(dialect.quote) for cell in texts[0].split(dialect.delimiter)], 1


def _record(texts: list[str], dialect: Dialect, *, strict: bool = False) -> list[str] | None:
    """The cells of these lines as one record; None while a quote is open (or, strict, where one closes in the middle of a cell)."""
    lines = [t + "\n" for t in texts] + [_END]
    escape = dialect.escape or None
    try:
        rows = list(csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote, escapechar=escape, strict=strict))
    except csv.Error:
        return None
    return rows[0] if len(rows) > 1 and rows[-1] == [_END] else None


def _fitted(cells: list[str], width: int, dialect: Dialect, found: Evened) -> bytes:
    if len(cells) != width:
        text = dialect.delimiter.join(cells)
        if len(cells) < width:
            found.short += 1
            found.remember(found.rows, text)
            cells = cells + [""] * (width - len(cells))
        elif any(cell.strip() for cell in cells[width:]):
            found.long += 1
            found.remember(found.rows, text)
            cells = [*cells[: width - 1], dialect.delimiter.join(cells[width - 1 :])]
        else:
            cells = cells[:width]
    return dialect.delimiter.join(_written(cell, dialect) for cell in cells).encode("utf-8", "surrogateescape")


def _written(cell: str, dialect: Dialect) -> str:
    if any(mark in cell for mark in (dialect.delimiter, dialect.quote, "\n", "\r")):
        return dialect.quote + cell.replace(dialect.quote, dialect.quote * 2) + dialect.quote
    return cell
