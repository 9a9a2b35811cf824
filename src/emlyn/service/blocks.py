"""A source of rows as a few tables in order, so that what is larger than memory can be scored.

The files of a glob come one by one, large texts in parts.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from emlyn.core import reader
from emlyn.core.table import Table, text_column
from emlyn.core.tables import sources
from emlyn.core.tables.parse import decode
from emlyn.core.tables.sniff import sniff
from emlyn.errors import NoRows

LARGE = 256 * 1024 * 1024
"""Bytes of a text file from which it is read in parts."""
PART = 64 * 1024 * 1024
SAMPLE = 1 << 18


def blocks(source: Any) -> Iterator[Table]:
    """The rows of a source, in its order, as one table or several with the same columns. Raises DataError."""
    kind = sources.sort_of(source) if sources.is_name(source) else "other"
    if kind == "glob":
        for name in sorted(glob.glob(sources.local(os.fspath(source)), recursive=True)):
            yield from blocks(name)
    elif kind == "delimited" and _large_text(Path(sources.local(os.fspath(source)))):
        yield from _parts(Path(sources.local(os.fspath(source))))
    else:
        try:
            yield reader.read(source).table
        except NoRows as empty:  # nothing to score is no mistake: an empty file in, an empty file out
            yield Table({name: text_column([]) for name in empty.columns}, rows=0)


def _large_text(path: Path) -> bool:
    """A large local file of plain 8-bit text: compressed and 16-bit files are read whole."""
    if not path.is_file() or path.stat().st_size < LARGE:
        return False
    with path.open("rb") as file:
        first = file.read(SAMPLE)
    return b"\0" not in first and first[:64] == sources.head(str(path))[:64]


def _parts(path: Path) -> Iterator[Table]:
    """Parts of a large file, each read as a file of its own behind the same header. No part ends inside a quoted cell."""
    with path.open("rb") as file, tempfile.TemporaryDirectory(prefix="emlyn-") as folder:
        sample = file.read(SAMPLE)
        dialect = sniff(decode(sample[: sample.rfind(b"\n") + 1 or None]))
        file.seek(0)
        for _ in range(dialect.skip):
            file.readline()
        head = b""
        while dialect.header and not head.strip():
            head = file.readline()
        part = Path(folder) / "part.csv"
        while _copy(file, part, head, dialect.quote.encode()):
            yield reader.read(part).table


def _copy(file: IO[bytes], part: Path, head: bytes, quote: bytes) -> bool:
    """Copy whole rows, about `PART` bytes of them; False at the end of the file."""
    body = file.read(PART)
    if not body.strip():
        return False
    odd = body.count(quote) % 2 == 1
    while True:  # on to the end of a line that is not inside quotes
        line = file.readline()
        body += line
        odd ^= line.count(quote) % 2 == 1
        if not line or not odd:
            break
    part.write_bytes(head + body)
    return True
