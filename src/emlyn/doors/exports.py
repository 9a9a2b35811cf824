"""`emlyn export`: every exporter plug-in, and the OpenAPI document, which only the server's table of routes can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emlyn import plugins
from emlyn.core import registry
from emlyn.core.exporter import Exportable, Exported, Exporter, write_all
from emlyn.core.model import Model
from emlyn.core.reader import read
from emlyn.core.store import Store
from emlyn.errors import OptionError
from emlyn.records.codec import to_json


class OpenAPI:
    """The document that a server of this model answers at `/openapi.json`."""

    name = "openapi"
    about = "the OpenAPI 3.1 document of the service"

    def export(self, what: Exportable, out: Path) -> Exported:
        from emlyn.doors.server.app import doors
        from emlyn.doors.server.openapi import openapi
        from emlyn.service.limits import Settings
        from emlyn.service.pool import Pool, Served
        from emlyn.service.scorer import Scorer

        pool = Pool()
        pool.put(Served(what.version.name, str(what.version.version), Scorer(what.model)))
        return Exported(
            write_all(out, {"openapi.json": to_json(openapi(pool, list(doors(Settings()))), indent=1)}), (f"emlyn serve {what.version.name}",)
        )


def exporters() -> dict[str, Exporter]:
    """Every exporter by name."""
    return {e.name: e for e in [*plugins.collect("exporters"), OpenAPI()]}


def export(store: Store | None, model: str, to: str, out: str | None = None, rows: Any = None) -> dict[str, Any]:
    """Write what another system needs to run a model; `rows` (any source) are the rows that parity is checked on.

    Returns `model`, `to`, `out`, `files`, `commands`, `notes`, `checks`. Raises OptionError for an unknown target, ModelError where this
    model cannot be exported that way, Unavailable for a missing library.
    """
    known = exporters()
    if to not in known:
        raise OptionError(f"nothing exports to {to!r}", where="--to", allowed=", ".join(known))
    version = registry.resolve(store, model)
    opened = Model.load(registry.load(version).under("model/"))
    folder = Path(out or f"{version.name}-{version.version}-{to}")
    found = known[to].export(Exportable(opened, version, None if rows is None else read(rows).table), folder)
    return {
        "model": f"{version.name}:{version.version}",
        "to": to,
        "out": str(folder),
        "files": list(found.files),
        "commands": list(found.commands),
        "notes": list(found.notes),
        "checks": found.checks,
    }
