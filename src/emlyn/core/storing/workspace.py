"""Where a project's database, artifacts, reports and keys live: `./.emlyn`, or the folder that `EMLYN_HOME` names.

>>> from emlyn.core.storing.workspace import Workspace
>>> store = Workspace.find().open_store()        # makes the workspace when there is none
>>> store.put("note", "first", {"text": "hello"})  # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from emlyn.core.storing.durable import make_folder, may_write, write_durably

if TYPE_CHECKING:
    from emlyn.core.storing.store import Store

FOLDER = ".emlyn"


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
        from emlyn.core.storing.store import Store

        make_folder(self.root)
        if not (ignore := self.root / ".gitignore").exists() and may_write(self.root):
            write_durably(ignore, b"*\n")
        return Store(self.database, self.root, self.artifacts)
