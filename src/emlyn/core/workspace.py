"""Where a project's database, artifacts, reports and keys live: `./.emlyn`, or the folder that `EMLYN_HOME` names.

>>> from emlyn.core.workspace import Workspace
>>> store = Workspace.find().open_store()        # makes the workspace when there is none
>>> store.put("note", "first", {"text": "hello"})  # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from emlyn.errors import WorkspaceError

if TYPE_CHECKING:
    from emlyn.core.store import Store

FOLDER = ".emlyn"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@dataclass(frozen=True)
class Workspace:
    """A folder; its database and artifacts may live elsewhere (PostgreSQL, an object store)."""

    root: Path
    database: str
    """A SQLAlchemy URL."""
    artifacts: str
    """A folder, or an fsspec URL such as `s3://bucket/emlyn`."""

    @classmethod
    def find(cls, home: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Workspace:
        """The workspace at `home`, else at `EMLYN_HOME`, else `./.emlyn`; `EMLYN_DATABASE` and `EMLYN_ARTIFACTS` move its parts. Touches nothing."""
        root = Path(home or environ.get("EMLYN_HOME") or FOLDER).expanduser().absolute()
        database = environ.get("EMLYN_DATABASE") or f"sqlite:///{quote(str(root / 'emlyn.db'))}"
        return cls(root, database, environ.get("EMLYN_ARTIFACTS") or str(root / "artifacts"))

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    def open_store(self) -> Store:
        """The store in this workspace, made when it is not there yet. Raises WorkspaceError when it cannot be made, read or understood."""
        from emlyn.core.store import Store

        make_folder(self.root)
        if not (ignore := self.root / ".gitignore").exists() and may_write(self.root):
            write_durably(ignore, b"*\n")
        return Store(self.database, self.root, self.artifacts)


def make_folder(path: Path) -> Path:
    """The folder, made with its parents where it is missing. Raises WorkspaceError."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_durably(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """The whole file or nothing, still there after a power cut: temporary file beside it, fsync, rename, fsync of the folder.

    Raises WorkspaceError when the disk is full or may not be written; what was at `path` before is then untouched.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.part")
    with writing(path):
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def may_write(path: Path) -> bool:
    """Whether this user may change the file and make files beside it (a database needs both); for a folder, files in it."""
    return os.access(path, os.W_OK) and (path.is_dir() or os.access(path.parent, os.W_OK))


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Whatever the operating system refuses while writing at `path`, said as a WorkspaceError."""
    try:
        yield
    except OSError as error:
        raise refusal(error, path) from error


def refusal(error: OSError, path: Path | str) -> WorkspaceError:
    """What the operating system refused, in four parts."""
    if error.errno in FULL:
        return full(path)
    if error.errno in FORBIDDEN:
        return read_only(path)
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return WorkspaceError(
            "the workspace must be a folder, and something else stands in its place",
            where=str(path),
            allowed="a folder, or a path where nothing is yet",
            next_step="move the file away, or set EMLYN_HOME to another folder",
        )
    return WorkspaceError(
        f"the workspace cannot be written: {error.strerror or error}",
        where=str(path),
        allowed="a folder on a disk that works",
        next_step="look at the disk, or set EMLYN_HOME to another folder",
    )


def full(path: Path | str) -> WorkspaceError:
    return WorkspaceError(
        "the disk is full; nothing was written",
        where=str(path),
        allowed="a disk with free space (and a quota that leaves some)",
        next_step="free some space and run the same command again, or set EMLYN_HOME to a folder on another disk",
    )


def read_only(path: Path | str) -> WorkspaceError:
    return WorkspaceError(
        "the workspace is read-only",
        where=str(path),
        allowed="a folder this user may write",
        next_step="change its permissions, or set EMLYN_HOME to a folder you may write",
    )


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; systems that cannot open folders (Windows) do it on their own."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
