"""Delimited text of any dialect: CSV, TSV and their relatives. pyarrow reads; the dialect is found by `core.sniff`.

Why pyarrow and not DuckDB: docs/decisions/0001-csv-engine.md.
"""

from __future__ import annotations

import codecs
import contextlib
import mmap
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emlyn.core.reader import Read
from emlyn.core.table import Column, Table
from emlyn.core.tables import sources
from emlyn.core.tables.blocks import Blocks, told
from emlyn.core.tables.parse import decode, unique_names
from emlyn.core.tables.ragged import Evened, even, summed, swallowed
from emlyn.core.tables.sniff import CODE, Dialect, parse_lines, sniff
from emlyn.errors import DataError, NoRows
from emlyn.plugins import hook

SAMPLE = 1 << 18
BLOCK, BLOCKS = 1 << 23, 1 << 26
"""Bytes that pyarrow parses at a time, and bytes of text that are in memory at a time."""
WINDOW, WINDOWS = 1 << 16, 64
DICTIONARY = 100_000
"""Most levels for which pyarrow builds the dictionary while it reads; beyond, it is built afterwards."""
NULLS = [
    "",
    "NA",
    "N/A",
    "n/a",
    "na",
    "nan",
    "NaN",
    "-nan",
    "-NaN",
    "null",
    "NULL",
    "Null",
    "#N/A",
    "#NA",
    "<NA>",
    "#N/A N/A",
    "1.#IND",
    "-1.#IND",
    "1.#QNAN",
    "-1.#QNAN",
]


class DelimitedReader:
    """Reads delimited text files, compressed or not, local or in an object store."""

    name = "delimited"

    def accepts(self, source: Any) -> bool:
        return sources.is_name(source) and sources.sort_of(source) in ("delimited", "missing")

    def read(self, source: Any) -> Read:
        return self.read_within(source, 0)

    def read_within(self, source: Any, memory: int) -> Read:
        """The same; an evenly drawn share of the rows where all of them would take too much of `memory` bytes (0: as many as there are)."""
        name = os.fspath(source)
        if sources.sort_of(source) == "missing":
            raise sources.missing(source)
        whole = sources.content(source)
        data, encoding, notes = _as_utf8(name, whole.data)
        if not bytes(data[:SAMPLE]).strip():
            raise DataError(
                "this file is empty", where=sources.shown(name), allowed="a header line and at least one row", next_step="export it again"
            )
        dialect = sniff(decode(_sample(data)))
        if dialect.spaces:
            data = re.sub(rb"[ \t]+", b" ", re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", bytes(data)))
        start = _data_start(data, dialect)
        names, renamed = unique_names(_names(dialect))
        if not bytes(data[start : start + SAMPLE]).strip():
            what = "this file holds a header and no rows" if dialect.header else "this file holds no rows"
            empty = NoRows(what, where=sources.shown(name), allowed="at least one row", next_step="export it again with its rows")
            empty.columns = tuple(names)
            raise empty
        dialect = replace(dialect, codes=dialect.codes | _codes_further_on(data, start, dialect))
        table, more = _parse(name, data, start, names, dialect, memory)
        hollow = [n for n, given in zip(names, _names(dialect), strict=True) if not given.strip() and table[n].missing.all()]
        if hollow:
            table, renamed = table.drop(hollow), [r for r in renamed if not any(f" {h} " in r for h in hollow)]
            more.append(f"{len(hollow)} column{'s' * (len(hollow) > 1)} without a name and without a cell left out")
        if any("UTF-8" in note for note in more):
            encoding = "cp1252"
        described = {
            "format": "delimited", "delimiter": {"\t": "tab", "\x1f": "none"}.get(dialect.delimiter, dialect.delimiter), "quote": dialect.quote,
            "encoding": encoding, "decimal": dialect.decimal, "header": "yes" if dialect.header else "no",
        }  # fmt: skip
        described |= {"compression": whole.compression} if whole.compression else {}
        if dialect.skip:
            notes.append(f"{dialect.skip} line{'s' * (dialect.skip > 1)} before the table skipped (title, comment or blank)")
        if not dialect.header:
            notes.append("the file has no header; its columns are called column_1, column_2, …")
        return Read(table, sources.shown(name), described, (*notes, *renamed, *more))


def _names(dialect: Dialect) -> list[str]:
    names = list(dialect.names)
    if dialect.row_names:
        names = ["row_name", *names]
    return [names[i] if i < len(names) else "" if dialect.header else f"column_{i + 1}" for i in range(max(dialect.width, len(names)))]


def _sample(data: Any) -> bytes:
    """The first whole lines: 256 KiB of them, more where lines are long."""
    size = SAMPLE
    while size < len(data):
        part = bytes(data[:size])
        if part.count(b"\n") >= 20 or (b"\n" not in part and part.count(b"\r") >= 20):
            return part[: max(part.rfind(b"\n"), part.rfind(b"\r")) + 1]
        size *= 4
    return bytes(data)


def _as_utf8(name: str, data: Any) -> tuple[Any, str, list[str]]:
    """The text as UTF-8 bytes (or bytes of some 8-bit code page), its encoding, and notes. Raises DataError for what is no text."""
    first = bytes(data[:4096])
    sources.refuse_foreign(name, first)
    for bom, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if first.startswith(bom):
            return (memoryview(data)[3:] if encoding == "utf-8-sig" else _recode(name, data, encoding)), encoding, []
    even, odd = first[0::2].count(0), first[1::2].count(0)
    if len(first) > 8 and max(even, odd) > 0.3 * len(first) / 2 and min(even, odd) < 0.05 * len(first) / 2:
        encoding = "utf-16-le" if odd > even else "utf-16-be"
        return _recode(name, data, encoding), encoding, []
    strange = sum(b < 9 or 13 < b < 32 for b in first) - first.count(0) - first.count(1)
    if first and (strange > 0.02 * len(first) or first.count(0) > 0.3 * len(first)):
        raise DataError(
            "this is a binary file, not text",
            where=sources.shown(name),
            allowed=sources.ALLOWED,
            next_step="export the table as CSV, or name the file by its real format",
        )
    if _holds_nul(data):
        whole = bytes(data)
        return whole.replace(b"\0", b""), "utf-8", [f"{whole.count(0)} NUL bytes removed"]
    return memoryview(data), "utf-8", []


def _holds_nul(data: Any) -> bool:
    if not hasattr(data, "find"):
        return False
    for at in range(0, len(data), BLOCKS):
        if data.find(b"\0", at, at + BLOCKS) >= 0:
            return True
        _let_go(data)
    return False


def _recode(name: str, data: Any, encoding: str) -> bytes:
    try:
        return bytes(data).decode(encoding).encode("utf-8", "surrogatepass").replace(b"\0", b"")
    except UnicodeDecodeError as error:
        raise DataError(
            f"this file says it is {encoding} and is not: {error.reason}",
            where=f"{sources.shown(name)}, byte {error.start}",
            next_step="save it again as UTF-8",
        ) from None


def _data_start(data: Any, dialect: Dialect) -> int:
    """The byte where the first row begins: after what is skipped and the header, whose quoted cells may hold line ends."""
    at, quote = 0, dialect.quote.encode()
    for _ in range(dialect.skip):
        at = _line_end(data, at)
    if not dialect.header:
        return at
    while at < len(data) and not bytes(data[at : (end := _line_end(data, at))]).strip():
        at = end
    end = _line_end(data, at)
    while bytes(data[at:end]).count(quote) % 2 and end < len(data):
        end = _line_end(data, end)
    return end


def _line_end(data: Any, at: int) -> int:
    """The position after the line that begins at `at` (its end is \\n, \\r\\n or \\r)."""
    step = 1 << 16
    while at < len(data):
        block = bytes(data[at : at + step])
        found = re.search(rb"\r\n|\n|\r", block)
        if found is not None and not (found.group() == b"\r" and found.end() == len(block) < len(data) - at):
            return int(at + found.end())
        at += len(block) - (1 if block.endswith(b"\r") and len(block) > 1 else 0)
        if len(block) < step:
            break
    return len(data)


def _codes_further_on(data: Any, start: int, dialect: Dialect) -> frozenset[int]:
    """Columns with leading zeros or very long digits: in all of a file up to 4 MiB, in 64 evenly spread windows of a larger one."""
    size = len(data) - start
    windows = (
        [(start, len(data))]
        if size <= WINDOWS * WINDOW
        else [(start + size * k // WINDOWS, start + size * k // WINDOWS + WINDOW) for k in range(WINDOWS)]
    )
    mark = re.escape(dialect.delimiter.encode()) + b"\n\r" + re.escape(dialect.quote.encode())
    suspect = re.compile(rb"[" + mark + rb"][+-]?0\d|\d{16}")
    found: set[int] = set()
    for low, high in windows:
        block = bytes(data[max(0, low - 1) : high])
        at = 0
        for _ in range(200):
            hit = suspect.search(block, at)
            if hit is None:
                break
            begin, end = block.rfind(b"\n", 0, hit.start() + 1) + 1, block.find(b"\n", hit.end())
            at = end if end > 0 else len(block)
            for row in parse_lines([decode(block[begin:at]).strip("\r\n")], dialect.delimiter, dialect.quote, dialect.escape):
                found.update(i for i, cell in enumerate(row) if len(row) == dialect.width and CODE.match(cell))
    return frozenset(found)


def _parse(name: str, data: Any, start: int, names: list[str], dialect: Dialect, memory: int) -> tuple[Table, list[str]]:
    """The rows as a table, and notes. Raises DataError when rows disagree so often that the dialect must be wrong."""
    import pyarrow as pa

    buffer = pa.py_buffer(data).slice(start)
    quotes = _count(buffer, dialect.quote, data)
    ranges = _ranges(buffer, dialect, quoted=quotes > 0)
    straight = None
    if quotes % 2 == 0:
        with contextlib.suppress(pa.ArrowInvalid):  # rows of different lengths: they are made even below
            text = _Text(lambda k: buffer.slice(ranges[k][0], ranges[k][1] - ranges[k][0]), [end - at for at, end in ranges], data)
            straight = _table_of(text, names, dialect, memory)
    if straight is not None and not (quotes and _swallowed_rows(straight[0], dialect)):
        return straight
    tally = [Evened() for _ in ranges]

    def evened(k: int) -> Any:
        tally[k] = even(buffer.slice(ranges[k][0], ranges[k][1] - ranges[k][0]), len(names), dialect)
        return pa.py_buffer(tally[k].data)

    try:
        again = _table_of(_Text(evened, [end - at for at, end in ranges], data), names, replace(dialect, escape=""), memory)
    except pa.ArrowInvalid as error:
        said = f"this file cannot be read as delimited text: {str(error)[:200]}"
        raise DataError(said, where=sources.shown(name), next_step="look at that line in a text editor") from None
    found = summed(tally)
    if straight is not None and not found.unclosed:
        return straight
    if found.changed > 0.5 * found.rows and found.rows > 2:
        raise DataError(
            f"{found.changed} of {found.rows} rows do not have the {len(names)} cells of the header",
            where=f"{sources.shown(name)}, {found.first}",
            allowed="one delimiter, the same number of cells on every line",
            next_step="check the delimiter and the quotes",
        )
    return again[0], found.notes() + again[1]


def _swallowed_rows(table: Table, dialect: Dialect) -> bool:
    return any(swallowed(c.levels, len(table), dialect.delimiter) for c in table.values() if c.levels is not None)


@dataclass(frozen=True)
class _Text:
    """Delimited text in blocks of whole rows."""

    block: Callable[[int], Any]
    sizes: list[int]
    source: Any


def _table_of(text: _Text, names: list[str], dialect: Dialect, memory: int) -> tuple[Table, list[str]]:
    """Block by block, the text of each given back once it is typed. A column on whose type they do not agree is text: read again where it was not."""
    blocks, firsts = Blocks(len(names), memory), []
    for k, size in enumerate(text.sizes):
        firsts.append(blocks.seen)
        as_text = replace(dialect, codes=dialect.codes | blocks.texts())
        blocks.add(_arrow(text.block(k), names, as_text), size / sum(text.sizes))
        _let_go(text.source)
    torn = blocks.torn()
    for k in sorted({k for again in torn.values() for k in again}):
        columns = [i for i, again in torn.items() if k in again]
        written = _arrow(text.block(k), names, replace(dialect, codes=frozenset(columns)), only=[names[i] for i in columns])
        blocks.replace(k, columns, written, firsts[k])
        _let_go(text.source)
    notes = ["some bytes are not UTF-8; they were read as Windows-1252"] if blocks.binary() else []
    table = Table({name: _without_empty(blocks.take_column(i)) for i, name in enumerate(names)})
    return table, notes + ([told(table.rows, blocks.every, blocks.seen)] if blocks.every > 1 else [])


def _ranges(buffer: Any, dialect: Dialect, *, quoted: bool) -> list[tuple[int, int]]:
    """Where the blocks begin and end: at line ends outside quotes. One block where quotes are escaped, or lines end otherwise."""
    if quoted and dialect.escape:
        return [(0, buffer.size)]
    view, at, size = memoryview(buffer), 0, BLOCKS
    found: list[tuple[int, int]] = []
    while at < len(view):
        part = bytes(view[at : at + size])
        end = len(part) if at + size >= len(view) else _row_end(part, dialect.quote.encode() if quoted else b"")
        if not end:
            size *= 2
            continue
        if found and not part[:end].strip():  # blank lines at the end
            found[-1] = (found[-1][0], at + end)
        else:
            found.append((at, at + end))
        at, size = at + end, BLOCKS
    return found


def _row_end(part: bytes, quote: bytes) -> int:
    """The position after the last line end before which quotes come in pairs; 0 when there is none."""
    end = part.rfind(b"\n") + 1
    odd = quote and part.count(quote, 0, end) % 2
    while end and odd:
        before = part.rfind(b"\n", 0, part.rfind(quote, 0, end)) + 1
        odd = (odd + part.count(quote, before, end)) % 2
        end = before
    return end


def _let_go(data: Any) -> None:
    """Pages of a mapped file need not stay: they can be read again."""
    mapped = getattr(data, "obj", data)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _without_empty(column: Column) -> Column:
    """The empty cell is no value, whatever the column holds."""
    empty = np.flatnonzero(column.levels == "") if column.levels is not None else np.empty(0)
    return Column(column.kind, np.where(column.values == empty[0], np.int32(-1), column.values), column.levels) if len(empty) else column


def _arrow(buffer: Any, names: list[str], dialect: Dialect, *, only: list[str] | None = None, words: str = "string") -> Any:
    """One block as an Arrow table, typed by its own cells; columns in `dialect.codes` as text, `only` these where given."""
    import pyarrow as pa
    import pyarrow.csv as pc

    quoted = bool(dialect.quote) and _count(buffer, dialect.quote) > 0
    coded = pa.dictionary(pa.int32(), pa.type_for_alias(words))
    parse = pc.ParseOptions(
        delimiter=dialect.delimiter, quote_char=dialect.quote if quoted else False, escape_char=dialect.escape or False, newlines_in_values=quoted,
        ignore_empty_lines=len(names) > 1,
    )  # fmt: skip
    convert = pc.ConvertOptions(
        auto_dict_encode=True, auto_dict_max_cardinality=DICTIONARY, true_values=[], false_values=[], null_values=NULLS, include_columns=only,
        decimal_point=dialect.decimal, column_types={names[i]: coded for i in dialect.codes if i < len(names)},
    )  # fmt: skip
    try:
        found = _parsed(buffer, pc.ReadOptions(column_names=names, block_size=BLOCK), parse, convert)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error) or words != "string":
            raise
        return _arrow(buffer, names, dialect, only=only, words="binary")
    times = {i for i, field in enumerate(found.schema) if pa.types.is_time(field.type)}
    if times:  # 10:30 would come back as 10:30:00; read again, those columns as written
        return _arrow(buffer, names, replace(dialect, codes=dialect.codes | times), only=only, words=words)
    return found


def _parsed(buffer: Any, reading: Any, parse: Any, convert: Any) -> Any:
    """What pyarrow makes of the text; a cell longer than a block asks for larger blocks."""
    import pyarrow as pa
    import pyarrow.csv as pc

    try:
        return pc.read_csv(pa.BufferReader(buffer), read_options=reading, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid as error:
        if "straddling" not in str(error) or reading.block_size >= buffer.size:
            raise
        reading.block_size = min(buffer.size + 1024, 2**31 - 1)
        return _parsed(buffer, reading, parse, convert)


def _count(buffer: Any, quote: str, source: Any = None) -> int:
    """How many quotes there are, slice by slice so that a mapped file is not copied whole."""
    view, mark, step, total = memoryview(buffer), quote.encode(), 1 << 24, 0
    for at in range(0, len(view), step):
        total += bytes(view[at : at + step]).count(mark)
        _let_go(source)
    return total


@hook
def emlyn_readers() -> list[Any]:
    return [DelimitedReader()]
