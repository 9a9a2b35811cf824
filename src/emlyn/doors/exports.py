"""`emlyn export`: every exporter plug-in, and the OpenAPI document, which only the server's table of routes can tell."""

from __future__ import annotations

from pathlib import Path

from emlyn import plugins
from emlyn.core.exporter import Exportable, Exported, Exporter, write_all
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
