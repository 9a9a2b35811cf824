"""`{"instances": [...]}` in, `{"predictions": [...]}` out: KServe's V1 protocol, TensorFlow Serving's clients, and Vertex AI."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from emlyn.doors.server import bodies
from emlyn.doors.server.door import Call, Door, reply
from emlyn.doors.server.health import ready, trouble
from emlyn.doors.server.native import entry
from emlyn.doors.server.problems import Problem, as_v2_error
from emlyn.service.limits import Settings
from emlyn.service.service import Ask

EXPLAINED = 10
"""Reasons per row that `:explain` gives."""


async def predictions(call: Call, reasons: int = 0) -> list[dict[str, Any]]:
    """Answer the instances of a request, in order. Raises Problem for a body that cannot be read."""
    if call.content_type not in (bodies.JSON, ""):
        raise Problem(415, f"content type {call.content_type[:80]!r}", allowed=bodies.JSON)
    body = bodies.parse_object(call.body)
    if "instances" not in body:
        raise Problem(400, "the member 'instances' is missing", allowed='{"instances": [one object per row]}')
    name = call.path("model")
    scorer = call.service.pool.get(name).scorer
    rows = bodies.rows_of(body["instances"], "instances", scorer.contract, call.service.settings.limits.columns)
    told = await call.service.predict(Ask(rows, name, reasons=reasons))
    return [entry(told.ids[i], answer, told, i) for i, answer in enumerate(told.answers)]


async def predict(call: Call) -> Response:
    return reply({"predictions": await predictions(call)})


async def explain(call: Call) -> Response:
    """The same answers with the reasons of each row."""
    return reply({"explanations": await predictions(call, EXPLAINED)})


async def models(call: Call) -> Response:
    return reply({"models": list(call.service.pool.lanes)})


async def model(call: Call) -> Response:
    served = call.service.pool.get(call.path("model"))
    return reply({"name": served.name, "ready": not trouble(call.service)})


DOORS = (
    Door("GET", "/v1/models", models, "read", ("kserve",), as_v2_error, summary="KServe V1: names of the models"),
    Door("POST", "/v1/models/{model}:predict", predict, "predict", ("kserve",), as_v2_error, summary="KServe V1: predict"),
    Door("POST", "/v1/models/{model}:explain", explain, "predict", ("kserve",), as_v2_error, summary="KServe V1: explain"),
    Door("GET", "/v1/models/{model}", model, "read", ("kserve",), as_v2_error, summary="KServe V1: is the model ready"),
)


def vertex_doors(settings: Settings) -> tuple[Door, ...]:
    """The routes that Vertex AI names in `AIP_PREDICT_ROUTE` and `AIP_HEALTH_ROUTE`."""
    doors = []
    if settings.vertex_predict:
        doors.append(Door("POST", settings.vertex_predict, predict, "predict", ("vertex",), summary="Vertex AI: predict"))
    if settings.vertex_health:
        doors.append(Door("GET", settings.vertex_health, ready, "public", summary="Vertex AI: health"))
    return tuple(doors)
