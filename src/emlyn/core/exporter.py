"""What an exporter is: it writes what another system needs to run a model, and says how to use it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from emlyn.core.storing.durable import make_folder, write_durably
from emlyn.core.table import Table
from emlyn.errors import ModelError
from emlyn.records.run import ModelVersion


@dataclass(frozen=True, eq=False)
class Exportable:
    """A model version, opened."""

    model: Any
    """A `core.model.Model`."""
    version: ModelVersion
    """With `path`: where its `.emlyn` file is on this machine."""
    rows: Table | None = None
    """The user's own rows, raw: formats that compute the answers anew are compared with the model on them."""

    @property
    def label(self) -> str:
        return f"{self.version.name}:{self.version.version}"


@dataclass(frozen=True)
class Exported:
    """What was written, the commands that use it, and what one should know."""

    files: tuple[str, ...]
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    checks: dict[str, Any] = field(default_factory=dict)
    """Figures of the parity check: `rows`, `largest_difference`, `same_labels`."""


class Exporter(Protocol):
    """Writes one target."""

    name: str
    about: str
    """One line for `emlyn export --help`."""

    def export(self, what: Exportable, out: Path) -> Exported:
        """Write into the folder `out`.

        Raises ModelError with the reason where this model cannot be exported this way, Unavailable for a missing library.
        """


def write_all(out: Path, files: Mapping[str, bytes | str]) -> tuple[str, ...]:
    """Write files below a folder, made where it is missing, and return their paths. Raises WorkspaceError."""
    for name, content in files.items():
        path = out / name
        make_folder(path.parent)
        write_durably(path, content.encode() if isinstance(content, str) else content)
    return tuple(str(out / name) for name in files)


def cannot(what: Exportable, target: str, why: str, instead: str) -> ModelError:
    """The refusal of an exporter: the reason, and what can be done instead."""
    return ModelError(f"{what.label} cannot be exported as {target}: {why}", next_step=instead)
