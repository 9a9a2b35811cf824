"""Where bytes come from: local files, object stores, compressed files. Knows what a file is by its first bytes, never by its name alone."""

from __future__ import annotations

import difflib
import glob
import mmap
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emlyn.errors import DataError, Unavailable

Sort = Literal["delimited", "parquet", "arrow", "json", "excel", "sqlite", "folder", "glob", "database", "missing", "other"]

ALLOWED = "CSV, TSV, Parquet, JSON lines, Excel (also .gz, .zst), a folder or glob of them, DBURL::table-or-query, a dataframe"
ENDINGS = (
    ".csv",
    ".tsv",
    ".txt",
    ".tab",
    ".data",
    ".dat",
    ".psv",
    ".parquet",
    ".pq",
    ".json",
    ".jsonl",
    ".ndjson",
    ".xlsx",
    ".xlsm",
    ".feather",
    ".arrow",
)
PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
HEAD = 65_536

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file (.xls, .doc)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy array file"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"RDX", "an R data file"),
)
_COMPRESSED: tuple[tuple[bytes, str], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bz2"), (b"\xfd7zXZ", "xz"))
_EXTRAS = {"s3": "aws", "s3a": "aws", "gs": "gcp", "gcs": "gcp"}
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_PASSWORD = re.compile(r"(://[^:/@\s]*):[^@/\s]*@")


@dataclass(frozen=True, eq=False)
class Content:
    """The whole of a file, decompressed."""

    data: Any
    """bytes, or an mmap of a local file that is not compressed."""
    compression: str = ""


def is_name(source: Any) -> bool:
    """True for what could name a file, folder, glob or database."""
    return isinstance(source, str | os.PathLike)


def sort_of(source: Any) -> Sort:
    """What kind of thing a path, glob or URL names, by its first bytes. Raises DataError where it cannot be opened."""
    if not is_name(source):
        return "other"
    name = os.fspath(source)
    if "\n" in name or "\0" in name:
        return "missing"
    base, found, _ = name.partition("::")
    if found and (_URL.match(base) and base.partition("://")[0] not in (*_EXTRAS, "file", "http", "https", "memory")):
        return "database"
    if found and os.path.exists(base):
        name = base
    if not is_remote(name):
        path = local(name)
        if os.path.isdir(path):
            return "folder"
        if not os.path.exists(path):
            return "glob" if glob.has_magic(path) else "missing"
        if not os.path.isfile(path):
            return "other"
    elif _URL.match(name) and name.partition("://")[0].partition("+")[0] in (
        "sqlite",
        "postgresql",
        "postgres",
        "mysql",
        "mariadb",
        "oracle",
        "mssql",
        "duckdb",
        "snowflake",
    ):
        return "database"
    elif glob.has_magic(name):
        return "glob"
    elif name.endswith("/"):
        return "folder"
    return _sort_of_head(name, head(name))


def _sort_of_head(name: str, first: bytes) -> Sort:
    if first.startswith((b"PAR1", b"PARE")):
        return "parquet"
    if first.startswith(b"ARROW1"):
        return "arrow"
    if first.startswith(b"SQLite format 3"):
        return "sqlite"
    if first.startswith(b"PK\x03\x04") and (b"xl/" in first or b"[Content_Types].xml" in first or name.lower().endswith((".xlsx", ".xlsm"))):
        return "excel"
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] == b"{" or (text[:1] == b"[" and (re.match(rb"\[\s*[\[{\]]", text) or text.rstrip()[-1:] == b"]" or ".json" in name.lower())):
        return "json"
    return "delimited"


def refuse_foreign(name: str, first: bytes) -> None:
    """Raises DataError when the first bytes are those of something that holds no table."""
    for magic, what in _MAGIC:
        if first.startswith(magic) and not (
            magic in (b"MZ", b"ORC", b"RDX", b"BZh") and first[:200].isascii() and first[:200].decode().isprintable()
        ):
            raise DataError(
                f"this is {what}, whatever its name says", where=shown(name), allowed=ALLOWED, next_step="export the table itself, for example as CSV"
            )
    if re.match(rb"\s*(<!doctype html|<html|<\?xml)", first[:200], re.IGNORECASE):
        raise DataError(
            "this is a web page or XML, not a table", where=shown(name), allowed=ALLOWED,
            next_step="download the file itself; a saved log-in or error page often looks like this",
        )  # fmt: skip


def is_remote(name: str) -> bool:
    return bool(_URL.match(name)) and not name.startswith("file://")


def local(name: str) -> str:
    """A local path: `file://` and `~` resolved."""
    return os.path.expanduser(name.removeprefix("file://"))


def shown(source: Any) -> str:
    """A source as it may be shown: passwords removed."""
    return _PASSWORD.sub(r"\1:***@", str(source))


def missing(source: Any) -> DataError:
    """The error for a path that is not there, with the nearest names in its folder."""
    path = Path(local(os.fspath(source)))
    folder = path.parent
    if not os.path.isdir(folder):
        return DataError("no such folder", where=shown(folder), allowed=ALLOWED, next_step=f"check the path {str(path)!r}")
    names = [entry.name for entry in os.scandir(folder)]
    near = (
        difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
        or [n for n in names if Path(n).stem.split(".")[0] == path.stem.split(".")[0]][:3]
    )
    step = "did you mean " + " or ".join(repr(n) for n in near) + "?" if near else f"the folder holds {len(names)} files, none with a name like this"
    return DataError(f"no such file: {path.name[:200]!r}", where=str(folder), allowed=ALLOWED, next_step=step)


def head(name: str, size: int = HEAD) -> bytes:
    """The first bytes, decompressed. Raises DataError where they cannot be read."""
    with open_raw(name) as file:
        try:
            first = file.read(size)
        except OSError as error:
            raise DataError(f"this file cannot be read: {error.strerror or error}", where=shown(name)) from None
    for magic, compression in _COMPRESSED:
        if first.startswith(magic):
            try:
                return b"".join(_inflate(compression, first, size))[:size]
            except _BROKEN as error:
                raise _damaged(name, compression, error) from None
    return bytes(first)


def open_raw(name: str) -> Any:
    """A binary file object, local or through fsspec. Raises DataError, or Unavailable where a library for the scheme is missing."""
    if not is_remote(name):
        try:
            return open(local(name), "rb")
        except FileNotFoundError:
            raise missing(name) from None
        except PermissionError:
            raise DataError(
                "this file may not be read", where=shown(name), next_step="give yourself the right to read it (chmod +r), or copy it"
            ) from None
        except OSError as error:
            raise DataError(
                f"this file cannot be read: {error.strerror or error}", where=shown(name), next_step="copy it to a local disk and try again"
            ) from None
    import fsspec

    scheme = name.partition("://")[0]
    try:
        return fsspec.open(name, "rb").open()
    except ImportError as error:
        if scheme in _EXTRAS:
            raise Unavailable(f"reading {scheme}:// needs a library that is not installed", _EXTRAS[scheme]) from None
        raise DataError(
            f"reading {scheme}:// needs a library that is not installed: {error}", where=shown(name), next_step="download the file first"
        ) from None
    except ValueError:
        raise DataError(f"{scheme}:// is not a kind of place that can be read", where=shown(name), allowed=ALLOWED) from None
    except OSError as error:
        raise DataError(f"cannot be opened: {error}", where=shown(name), next_step="check the address and your credentials") from None


def content(source: Any) -> Content:
    """The whole file, decompressed by its first bytes. Raises DataError for a damaged or truncated one."""
    name = os.fspath(source)
    with open_raw(name) as file:
        first = file.read(8)
        file.seek(0)
        for magic, compression in _COMPRESSED:
            if first.startswith(magic):
                try:
                    return Content(b"".join(_inflate(compression, file.read())), compression)
                except _BROKEN as error:
                    raise _damaged(name, compression, error) from None
        if first.startswith(b"PK\x03\x04"):
            return Content(_unzip(name, file), "zip")
        if is_remote(name) or not first or not os.path.isfile(local(name)):
            return Content(file.read())
        return Content(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


_BROKEN = (OSError, EOFError, zlib.error, ValueError, RuntimeError)


def _damaged(name: str, compression: str, error: Exception) -> DataError:
    return DataError(
        f"the {compression} compression of this file is damaged or cut off", where=f"{shown(name)} ({error or type(error).__name__})",
        next_step="copy or download it again, then check its size",
    )  # fmt: skip


def _inflate(compression: str, packed: bytes, most: int | None = None) -> Iterator[bytes]:
    """Decompressed parts, one per frame; with `most`, only the beginning of a possibly cut-off input. Raises one of _BROKEN."""
    import bz2
    import lzma

    rest = packed
    while rest:
        machine: Any
        if compression == "zstd":
            import zstandard

            machine = zstandard.ZstdDecompressor().decompressobj()
        else:
            machine = zlib.decompressobj(31) if compression == "gzip" else bz2.BZ2Decompressor() if compression == "bz2" else lzma.LZMADecompressor()
        try:
            yield machine.decompress(rest, most) if most is not None and compression != "zstd" else machine.decompress(rest)
        except _codec_errors(compression) as error:
            raise ValueError(str(error)) from None
        if most is not None:
            return
        if not machine.eof:
            raise EOFError("it ends in the middle")
        rest = machine.unused_data.lstrip(b"\0")


def _codec_errors(compression: str) -> type[Exception]:
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdError
    import lzma

    return lzma.LZMAError if compression == "xz" else zlib.error


def _unzip(name: str, file: Any) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [m for m in archive.namelist() if not m.endswith("/") and not m.startswith("__MACOSX") and not Path(m).name.startswith(".")]
            if len(members) != 1:
                raise DataError(
                    f"this archive holds {len(members)} files: {', '.join(members[:5])}", where=shown(name), allowed="an archive of one file",
                    next_step="unpack it and name the file you mean, or the folder when all are parts of one table",
                )  # fmt: skip
            return archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise _damaged(name, "zip", error) from None
