"""`GET /docs`: one page that draws `/openapi.json` and tries it out. Nothing is loaded from anywhere else."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

from starlette.responses import Response

from emlyn.doors.server.door import Call, Door

CLOSED = "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"


@functools.cache
def page() -> tuple[bytes, str]:
    """The page, and the policy that lets a browser run exactly its own script and style."""
    folder = resources.files("emlyn.doors.server") / "pages"
    script, style = (folder / "docs.js").read_text("utf-8"), (folder / "docs.css").read_text("utf-8")
    html = (folder / "docs.html").read_text("utf-8").replace("/*style*/", style).replace("/*script*/", script)
    policy = f"default-src 'none'; connect-src 'self'; script-src {_hash(script)}; style-src {_hash(style)}; {CLOSED}"
    return html.encode(), policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


async def docs(call: Call) -> Response:
    html, policy = page()
    return Response(html, headers={"Content-Security-Policy": policy}, media_type="text/html")


DOORS = (Door("GET", "/docs", docs, "read", browser=True, summary="A page to read and try the routes"),)
