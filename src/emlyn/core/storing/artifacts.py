"""Files of the store: model files by content, scratch files of runs by name. Folders are written durably, anything else through fsspec."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emlyn.core.storing.durable import make_folder, write_durably, writing
from emlyn.errors import ModelError, WorkspaceError


class Artifacts:
    """Bytes by key under one folder or one fsspec URL. A key is a relative path made here, never taken from a client."""

    def __init__(self, url: str, cache: Path) -> None:
        """`cache` receives local copies where `url` is not a folder."""
        self._url, self._cache = url.removeprefix("file://").rstrip("/"), cache
        self._folder = None if "://" in self._url else Path(self._url)

    def put(self, data: bytes, suffix: str = "") -> str:
        """Store by content and return the key. The same bytes have the same key and are written once."""
        digest = hashlib.sha256(data).hexdigest()
        key = f"{digest[:2]}/{digest}{suffix}"
        if not (self._folder is not None and (self._folder / key).exists()):
            self.write(key, data)
        return key

    def write(self, key: str, data: bytes) -> None:
        """Store under a name; the whole file or nothing. Raises WorkspaceError."""
        if self._folder is not None:
            path = self._folder / key
            make_folder(path.parent)
            write_durably(path, data)
        else:
            with self._remote() as (files, root):
                files.pipe_file(f"{root}/{key}", data)

    def read(self, key: str, digest: str = "") -> bytes:
        """The bytes of a key, checked against their SHA-256 where it is given. Raises ModelError when they are gone or altered."""
        try:
            if self._folder is not None:
                data = (self._folder / key).read_bytes()
            else:
                with self._remote() as (files, root):
                    data = files.cat_file(f"{root}/{key}")
        except FileNotFoundError as error:
            raise self._broken(key, "is not in the artifact store any more") from error
        if digest and hashlib.sha256(data).hexdigest() != digest:
            raise self._broken(key, "is not what was stored: its digest differs")
        return data

    def where(self, key: str) -> str:
        """The path or URL of a key; nothing is fetched."""
        return str(self._folder / key) if self._folder is not None else f"{self._url}/{key}"

    def path(self, key: str) -> Path:
        """The file on this machine; fetched once into the cache where the store is elsewhere."""
        if self._folder is not None:
            return self._folder / key
        local = self._cache / key
        if not local.exists():
            make_folder(local.parent)
            write_durably(local, self.read(key))
        return local

    def remove(self, folder: str) -> None:
        """Delete the scratch files under one folder of keys; nothing happens when there are none."""
        if self._folder is not None:
            if (self._folder / folder).exists():
                with writing(self._folder / folder):
                    shutil.rmtree(self._folder / folder)
        else:
            with self._remote() as (files, root):
                if files.exists(f"{root}/{folder}"):
                    files.rm(f"{root}/{folder}", recursive=True)

    @contextlib.contextmanager
    def _remote(self) -> Iterator[tuple[Any, str]]:
        import fsspec

        try:
            yield fsspec.core.url_to_fs(self._url)
        except FileNotFoundError:
            raise
        except (OSError, ImportError, ValueError) as error:
            raise WorkspaceError(
                f"the artifact store cannot be used: {error}",
                where=self._url,
                allowed="a folder, or an fsspec URL whose driver and credentials are here (emlyn[aws], emlyn[gcp])",
                next_step="check EMLYN_ARTIFACTS, the network and the credentials",
            ) from error

    def _broken(self, key: str, why: str) -> ModelError:
        return ModelError(
            f"a stored file {why}",
            where=self.where(key),
            allowed="the file as it was registered",
            next_step="restore it from a backup, or train again (`emlyn models` shows how each version was made)",
        )
