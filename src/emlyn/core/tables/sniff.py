"""The dialect of a text file, found from a sample: delimiter, quote, header, decimal mark, lines to skip. Standard library only."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

DELIMITERS = "\t;|,"
RARE_DELIMITERS = "\x01^~¦:"
NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*\Z", re.ASCII)
COMMA_NUMBER = re.compile(r"\s*[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+\s*\Z", re.ASCII)
GROUPED = re.compile(r"\s*[+-]?\d{1,3}(?:,\d{3})+\s*\Z", re.ASCII)
CODE = re.compile(r"\s*(?:[+-]?0\d+|[+-]?\d{16,})\s*\Z", re.ASCII)
"""A number that would lose digits as a number: a leading zero, or sixteen digits and more."""
VOTERS = 500
"""Columns that say whether the first row is a header."""
DATE_LIKE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")


@dataclass(frozen=True)
class Dialect:
    """How a delimited text file is written."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    header: bool = True
    names: tuple[str, ...] = ()
    """The header's cells as written; empty without a header."""
    width: int = 1
    skip: int = 0
    """Lines before the header (or the first row): titles, comments, blank lines."""
    decimal: str = "."
    codes: frozenset[int] = field(default_factory=frozenset)
    """Columns (positions) whose cells must stay text: leading zeros, many digits."""
    row_names: bool = False
    """The header names one column fewer than the rows have: the first holds row names."""

    @property
    def spaces(self) -> bool:
        """Runs of blanks part the cells."""
        return self.delimiter == " "


def sniff(sample: str) -> Dialect:
    """The dialect of a text whose first whole lines are `sample`."""
    lines = re.split(r"\r\n|\n|\r", sample)
    lines = lines[:-1] if not lines[-1] else lines
    told = re.match(r"\s*sep=(.)\s*$", lines[0], re.IGNORECASE) if lines else None
    skip = 1 if told else 0
    while skip < len(lines) and (not lines[skip].strip() or (lines[skip].startswith("#") and not _heads_table(lines, skip))):
        skip += 1
    body = lines[skip:]
    quote = _quote(body)
    delimiter, title = (told.group(1), 0) if told else _delimiter(body, quote)
    skip, body = skip + title, body[title:]
    escape = "\\" if f"\\{quote}" in "\n".join(body[:200]) and f"{quote}{quote}" not in "\n".join(body[:200]) else ""
    rows = parse_lines(body[:500], delimiter, quote, escape)
    if not rows:
        return Dialect(delimiter=delimiter, quote=quote, skip=skip)
    width = Counter(len(r) for r in rows[1:] or rows).most_common(1)[0][0]
    header = has_header(rows, width)
    row_names = header and 2 <= len(rows[0]) == width - 1 and any(r[-1].strip() for r in rows[1:] if len(r) == width)
    width = max(width, len(rows[0])) if header and not row_names else width
    names = tuple(cell.lstrip("#").strip() if i == 0 else cell.strip() for i, cell in enumerate(rows[0])) if header else ()
    data = rows[1:] if header else rows
    codes = frozenset(i for row in data for i, cell in enumerate(row) if CODE.match(cell))
    return Dialect(delimiter, quote, escape, header, names, width, skip, _decimal(data, delimiter), codes, row_names)


def parse_lines(lines: Sequence[str], delimiter: str, quote: str, escape: str = "") -> list[list[str]]:
    """Lines as rows of cells, blank lines left out."""
    if delimiter == " ":
        return [line.split() for line in lines if line.strip()]
    csv.field_size_limit(1 << 30)  # the default refuses cells beyond 128 KiB
    found = csv.reader((line.replace("\0", "") + "\n" for line in lines), delimiter=delimiter, quotechar=quote, escapechar=escape or None)
    return [row for row in found if row and (len(row) > 1 or row[0].strip())]


def has_header(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether the first row names the columns: it differs in kind from the rows below, and does not occur among them."""
    first, below = rows[0], [r for r in rows[1:201] if len(r) == width]
    if any(cell.strip() and NUMBER.match(cell) for cell in first) and all(NUMBER.match(c) or not c.strip() for c in first):
        years = all(re.fullmatch(r"\s*(19|20)\d\d\s*", c) for c in first if c.strip())
        return years and bool(below) and not all(re.fullmatch(r"\s*(19|20)\d\d\s*", c) for c in below[0] if c.strip())
    votes = 0
    offset = 1 if len(first) == width - 1 else 0
    for i, cell in enumerate(first[:VOTERS]):
        column = [r[i + offset].strip() for r in below if i + offset < len(r) and r[i + offset].strip()]
        if not column:
            continue
        numeric = sum(bool(NUMBER.match(c) or COMMA_NUMBER.match(c) or DATE_LIKE.match(c)) for c in column) > 0.7 * len(column)
        written = bool(NUMBER.match(cell) or DATE_LIKE.match(cell))
        if numeric:
            votes += -1 if written or not cell.strip() else 1
        elif cell.strip() in column:
            votes -= 1
    return votes >= 0 if all(cell.strip() for cell in first) else votes > 0 or (votes == 0 and sum(bool(c.strip()) for c in first) >= len(first) - 1)


def _heads_table(lines: Sequence[str], at: int) -> bool:
    """Whether a line that starts with `#` is a header: as many cells as the next line, which does not start so."""
    following = lines[at + 1] if at + 1 < len(lines) else "#"
    return not following.startswith("#") and any(lines[at].count(d) == following.count(d) > 0 for d in DELIMITERS)


def _quote(lines: Sequence[str]) -> str:
    text = "\n".join(lines[:200])
    single = len(re.findall(r"(?:^|[,;\t|])\s*'[^'\n]*'(?=[,;\t|]|$)", text, re.MULTILINE))
    return "'" if single > 3 and '"' not in text else '"'


def _delimiter(lines: Sequence[str], quote: str) -> tuple[str, int]:
    """The delimiter under which rows agree best on their width, and how many title lines stand before the table."""
    lines = lines[:300]
    best: tuple[tuple[float, ...], str, int] | None = None
    for rank, delimiter in enumerate(DELIMITERS + RARE_DELIMITERS):
        if not any(delimiter in line for line in lines):
            continue
        widths = [len(r) for r in parse_lines(lines, delimiter, quote)]
        if not widths:
            continue
        width, agree = Counter(w for w in widths[min(1, len(widths) - 1) :]).most_common(1)[0]
        share = agree / max(1, len(widths) - 1)
        if width < 2 or share < 0.6:
            continue
        title = _title_lines(lines, widths, width, share)
        if widths[title] < 2 or (widths[title] not in (width, width - 1, width + 1) and share < 0.95):
            continue
        rare = delimiter in RARE_DELIMITERS
        if rare and (share < 0.95 or delimiter == ":"):
            share = 0.0 if share < 0.95 or _is_clock(lines) else share
        agrees = share > 0.9 and abs(widths[title] - width) <= 1 and (title == 0 or share > 0.95)
        score = (not rare, agrees, title == 0, widths[title] == width, round(share, 1), width if delimiter != "," else width // 2, -rank)
        if share and (best is None or score > best[0]):
            best = (score, delimiter, _line_of(lines, title))
    if best is not None:
        return best[1], best[2]
    if _is_spaced(lines):
        return " ", 0
    filled = [line for line in lines if line.strip()]
    often = [d for d in DELIMITERS if filled and d in filled[0] and sum(d in line for line in filled[1:]) >= 0.5 * len(filled[1:])]
    return next(iter(often), "," if not any("," in line for line in lines) else "\x1f"), 0


def _title_lines(lines: Sequence[str], widths: Sequence[int], width: int, share: float) -> int:
    """How many rows of one cell stand above the table; a lone word above two columns is a column's name, not a title."""
    title = 0
    while title < min(20, len(widths) - 2) and widths[title] == 1 and share > 0.5:
        title += 1
    words = lines[0].strip() if lines else ""
    return title if width > 2 or " " in words or (len(lines) > 1 and not lines[1].strip()) else 0


def _line_of(lines: Sequence[str], rows: int) -> int:
    """How many lines the first `rows` non-blank lines take."""
    at = 0
    while rows and at < len(lines):
        rows -= bool(lines[at].strip())
        at += 1
    return at


def _is_clock(lines: Sequence[str]) -> bool:
    return sum(bool(re.search(r"\d:\d\d|://", line)) for line in lines) > 0.5 * len(lines)


def _is_spaced(lines: Sequence[str]) -> bool:
    """Whether blanks part the cells: the same number on every line, most of them numbers."""
    rows = [line.split() for line in lines if line.strip()]
    if len(rows) < 2 or any("," in cell and not COMMA_NUMBER.match(cell) for r in rows[1:] for cell in r):
        return False
    width, agree = Counter(map(len, rows[1:])).most_common(1)[0]
    cells = [c for r in rows[1:] for c in r]
    return width > 1 and agree > 0.95 * (len(rows) - 1) and sum(bool(NUMBER.match(c)) for c in cells) > 0.5 * len(cells)


def _decimal(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    """`,` where more cells are numbers with a comma than with a point, and not all of them can be thousands."""
    commas = [c for r in rows for c in r if "," in c and COMMA_NUMBER.match(c)]
    if not commas:
        return "."
    points = sum(1 for r in rows for c in r if "." in c and NUMBER.match(c) and not re.fullmatch(r"\s*\d{1,3}\.\d{3}\s*", c))
    return "," if len(commas) > points and not all(GROUPED.match(c) for c in commas) else "."
