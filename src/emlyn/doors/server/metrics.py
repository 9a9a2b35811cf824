"""`GET /metrics` in Prometheus' exposition format."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from emlyn.doors.server.door import Call, Door


async def metrics(call: Call) -> Response:
    return Response(call.service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


DOORS = (Door("GET", "/metrics", metrics, "read", summary="Counters for Prometheus"),)
