"""A source of rows as tables of bounded size in order, so that what is larger than memory can be scored.

Files of a glob come one by one, Parquet by batches of its row groups, databases as their rows arrive, large texts in parts, whether they lie
on a disk or in an object store. Compressed files, JSON arrays, workbooks and folders are read whole.
"""

from __future__ import annotations

import glob
import hashlib
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
from emlyn.errors import DataError, NoRows

LARGE = 256 * 1024 * 1024
"""Bytes of a text file from which it is read in parts."""
PART = 64 * 1024 * 1024
SAMPLE = 1 << 18


def blocks(source: Any) -> Iterator[Table]:
    """The rows of a source, in its order, as one table or several with the same columns. Raises DataError."""
    kind = sources.sort_of(source) if sources.is_name(source) else "other"
    if kind == "glob":
        for name in _files(os.fspath(source)):
            for table in blocks(name):
                yield _with_partitions(table, name, os.fspath(source))
    elif kind in ("delimited", "json") and _large_text(os.fspath(source), kind):
        yield from _parts(os.fspath(source), kind)
    else:
        try:
            yield from reader.blocks(source)
        except NoRows as empty:  # nothing to score is no mistake: an empty file in, an empty file out
            yield Table({name: text_column([]) for name in empty.columns}, rows=0)


def stamp(source: Any) -> str:
    """What changes when the rows of a source may have changed; empty where nobody can tell: tables in memory, databases behind a URL."""
    kind = sources.sort_of(source) if sources.is_name(source) else "other"
    if kind in ("other", "database"):
        return ""
    name = os.fspath(source)
    if kind == "glob":
        facts: Any = [(file, stamp(file)) for file in _files(name)]
    elif kind == "folder" and not sources.is_remote(name):
        facts = [(str(path), _facts(path)) for path in sorted(Path(sources.local(name)).rglob("*"))]
    elif sources.is_remote(name):
        import fsspec

        system, path = fsspec.core.url_to_fs(name)
        facts = system.find(path) if kind == "folder" else system.ukey(path)
    else:
        base = Path(sources.local(name if os.path.exists(sources.local(name)) else name.partition("::")[0]))
        facts = [_facts(base), _facts(base.with_name(base.name + "-wal"))]
    return hashlib.sha256(repr((name, facts)).encode("utf-8", "surrogateescape")).hexdigest()


def _facts(path: Path) -> tuple[int, int]:
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (0, 0)


def _files(name: str) -> list[str]:
    """The files of a glob by name, local or in an object store. Raises DataError when there is none."""
    if not sources.is_remote(name):
        found = [file for file in glob.glob(sources.local(name), recursive=True) if os.path.isfile(file)]
    else:
        import fsspec

        system, path = fsspec.core.url_to_fs(name)
        found = [system.unstrip_protocol(file) for file in system.glob(path)]
    if not found:
        raise DataError("no file matches", where=sources.shown(name), allowed=sources.ALLOWED, next_step="check the folder and the files' endings")
    return sorted(found)


def _with_partitions(table: Table, file: str, pattern: str) -> Table:
    """Folders named `key=value` are columns, as they were when the same glob was learned from."""
    pairs = [part.split("=", 1) for part in Path(file).parent.parts if "=" in part and part not in Path(pattern).parts]
    extra = {key: text_column([value] * table.rows) for key, value in pairs if key not in table}
    return table.with_columns(extra) if extra else table


def _large_text(name: str, kind: str) -> bool:
    """A large file of plain 8-bit text that can be cut between rows: compressed and 16-bit files, and JSON arrays, are read whole."""
    with sources.open_raw(name) as file:
        if file.seek(0, os.SEEK_END) < LARGE:
            return False
        file.seek(0)
        first = file.read(SAMPLE)
    lines = kind == "delimited" or (first.lstrip()[:1] == b"{" and b"}\n" in first.replace(b"\r\n", b"\n"))
    return lines and b"\0" not in first and first[:64] == sources.head(name)[:64]


def _parts(name: str, kind: str) -> Iterator[Table]:
    """Parts of a large file, each read as a file of its own behind the same header. No part ends inside a quoted cell."""
    with sources.open_raw(name) as file, tempfile.TemporaryDirectory(prefix="emlyn-") as folder:
        head, quote, part = b"", b"", Path(folder) / f"part.{'csv' if kind == 'delimited' else 'jsonl'}"
        if kind == "delimited":
            sample = file.read(SAMPLE)
            dialect = sniff(decode(sample[: sample.rfind(b"\n") + 1 or None]))
            quote = dialect.quote.encode()
            file.seek(0)
            for _ in range(dialect.skip):
                file.readline()
            while dialect.header and not head.strip():
                head = file.readline()
        while _copy(file, part, head, quote):
            yield reader.read(part).table


def _copy(file: IO[bytes], part: Path, head: bytes, quote: bytes) -> bool:
    """Copy whole rows, about `PART` bytes of them; False at the end of the file."""
    body = file.read(PART)
    if not body.strip():
        return False
    odd = bool(quote) and body.count(quote) % 2 == 1
    while True:  # on to the end of a line that is not inside quotes
        line = file.readline()
        body += line
        odd ^= bool(quote) and line.count(quote) % 2 == 1
        if not line or not odd:
            break
    part.write_bytes(head + body)
    return True
