"""`docker`: an image that serves the model over every protocol."""

from __future__ import annotations

from pathlib import Path

from emlyn.core.exporter import Exportable, Exported, Exporter, write_all
from emlyn.exporters._image import context, log_note, quoted, slug
from emlyn.plugins import hook


class Docker:
    """A build context: Dockerfile, pinned packages, this emlyn as a wheel, the model."""

    name = "docker"
    about = "a Dockerfile and its context: small, not root, read-only"

    def export(self, what: Exportable, out: Path) -> Exported:
        image = f"{slug(what.version.name)}:{what.version.version}"
        files = context(what)
        return Exported(
            write_all(out, files),
            (
                f"docker build -t {image} {quoted(out)}",
                f"docker run --rm --read-only --tmpfs /tmp --cap-drop ALL -p 127.0.0.1:8080:8080 -e EMLYN_TOKEN=$(openssl rand -hex 32) {image}",
            ),
            (
                "Without EMLYN_TOKEN a token is made at each start and printed.",
                log_note(files),
            ),
        )


@hook
def emlyn_exporters() -> list[Exporter]:
    return [Docker()]
