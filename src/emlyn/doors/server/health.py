"""Health: is the process up, can it answer. No token, and nothing about models or data."""

from __future__ import annotations

from starlette.responses import Response

from emlyn import __version__
from emlyn.doors.server.door import Call, Door, reply
from emlyn.doors.server.problems import Problem
from emlyn.service.service import Service


def trouble(service: Service) -> str:
    """Why this server cannot answer, or nothing: a model is loaded and warm, and the prediction log can be written."""
    if not service.pool.lanes:
        return "no model is loaded yet"
    if service.log is not None and service.settings.log.acknowledge and not service.log.works():
        return "the prediction log cannot be written"
    return ""


async def live(call: Call) -> Response:
    return reply({"live": True})


async def ready(call: Call) -> Response:
    if why := trouble(call.service):
        raise Problem(503, why, headers={"Retry-After": "2"})
    return reply({"live": True, "ready": True})


async def ping(call: Call) -> Response:
    """SageMaker's and MLflow's health check: 200 with (almost) nothing in it."""
    if trouble(call.service):
        return Response(b"\n", 503)
    return Response(b"\n", 200, media_type="application/json")


async def version(call: Call) -> Response:
    """What MLflow's client asks for: the version of what answers."""
    return Response(__version__, media_type="text/plain")


DOORS = (
    Door("GET", "/livez", live, "public", summary="The process is up"),
    Door("GET", "/readyz", ready, "public", summary="A model is loaded and the log can be written"),
    Door("GET", "/healthz", ready, "public", summary="The same as /readyz"),
    Door("GET", "/startupz", ready, "public", summary="The same as /readyz"),
    Door("GET", "/ping", ping, "public", summary="SageMaker's and MLflow's health check"),
    Door("GET", "/health", ping, "public", summary="MLflow's health check"),
    Door("GET", "/version", version, "read", ("mlflow",), summary="The version of emlyn, where MLflow's client asks for one"),
)
