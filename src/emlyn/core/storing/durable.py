"""Files that are there whole or not at all, also after a power cut, and what the operating system refuses said in four parts."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from emlyn.errors import WorkspaceError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
MOUNTS = Path("/proc/self/mounts")
NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse")


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


def on_network(path: Path) -> bool:
    """Whether the path lies on a file system that several machines may share; False where the system does not tell."""
    if not MOUNTS.exists():
        return False
    rows = [line.split(" ") for line in MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()]
    over = [(len(at), kind) for _, at, kind, *_ in rows if path.resolve().is_relative_to(at.replace("\\040", " "))]
    return max(over, default=(0, ""))[1].startswith(NETWORK)


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
