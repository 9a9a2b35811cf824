"""The Open Inference Protocol, version 2: one input tensor per column, answers as output tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from emlyn import __version__
from emlyn.doors.server import bodies
from emlyn.doors.server.door import Call, Door, reply
from emlyn.doors.server.health import live, ready, trouble
from emlyn.doors.server.native import issues, summary
from emlyn.doors.server.problems import Problem, as_v2_error
from emlyn.records.data_card import Contract
from emlyn.service.pool import Served
from emlyn.service.service import Ask, Told

INTEGERS = {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
DATATYPES = {"BOOL", "BYTES", "FP16", "FP32", "FP64", *INTEGERS}
KINDS = {"number": "FP64", "boolean": "BOOL", "date": "BYTES", "category": "BYTES", "text": "BYTES"}
EXPLAINED = 10


async def server(call: Call) -> Response:
    return reply({"name": "emlyn", "version": __version__, "extensions": []})


async def metadata(call: Call) -> Response:
    """The model's columns as inputs, and the outputs it can be asked for."""
    served = _served(call)
    versions = list(call.service.pool.lanes[served.name].versions)
    return reply(
        {"name": served.name, "versions": versions, "platform": "emlyn", "inputs": inputs_of(served.scorer.contract), "outputs": outputs_of(served)}
    )


async def model_ready(call: Call) -> Response:
    served = _served(call)
    why = trouble(call.service)
    return reply({"name": served.name, "ready": not why}, 503 if why else 200)


async def infer(call: Call) -> Response:
    """Answer every row, or none: tensors have no place for the error of one row, so it becomes the error of the request."""
    if call.content_type not in (bodies.JSON, ""):
        raise Problem(415, f"content type {call.content_type[:80]!r}", allowed=bodies.JSON)
    body = bodies.parse_object(call.body)
    served = _served(call)
    identity = body.get("id", "")
    if not isinstance(identity, str) or len(identity) > 512:
        raise Problem(400, "'id' is not a text of at most 512 characters")
    wanted = wanted_outputs(body.get("outputs"), served)
    rows = rows_of_inputs(body.get("inputs"), call.service.settings.limits.columns)
    ids = [identity] if identity and len(rows) == 1 else [f"{identity}:{i}" for i in range(len(rows))] if identity else ()
    reasons = EXPLAINED if "explain" in wanted else 0
    told = await call.service.predict(Ask(rows, served.name, call.path("version"), reasons=reasons, ids=ids))
    if any(answer.refused for answer in told.answers):
        raise Problem(400, summary(told.answers))
    found: dict[str, Any] = {"model_name": told.served.name, "model_version": told.served.version}
    if identity:
        found["id"] = identity
    return reply({**found, "outputs": [_output(name, told) for name in wanted]})


def rows_of_inputs(inputs: Any, columns: int) -> bodies.Records:
    """Input tensors of shape [n] or [n, 1], one per column, as rows. Raises Problem 400 naming the tensor that cannot be read."""
    if not isinstance(inputs, list) or not inputs:
        raise Problem(400, "'inputs' is not a list of tensors", allowed='[{"name", "shape", "datatype", "data"}], one per column')
    if len(inputs) > columns:
        raise Problem(413, f"{len(inputs):,} input tensors", allowed=f"at most {columns:,}")
    tensors: dict[str, list[Any]] = {}
    for i, tensor in enumerate(inputs):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise Problem(400, f"inputs[{i}] is not a tensor with a name")
        if tensor["name"] in tensors:
            raise Problem(400, f"the input {tensor['name'][:80]!r} comes twice")
        tensors[tensor["name"]] = _cells(tensor)
    lengths = {len(cells) for cells in tensors.values()}
    if len(lengths) != 1:
        raise Problem(400, f"the inputs have different lengths: {sorted(lengths)[:5]}", allowed="one value per row in every input")
    return [dict(zip(tensors, cells, strict=True)) for cells in zip(*tensors.values(), strict=True)]


def _cells(tensor: Mapping[str, Any]) -> list[Any]:
    name, shape, kind, data = str(tensor["name"])[:80], tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    if kind not in DATATYPES:
        raise Problem(400, f"input {name!r} has the datatype {str(kind)[:40]!r}", allowed=", ".join(sorted(DATATYPES)))
    if (
        not isinstance(shape, list)
        or len(shape) not in (1, 2)
        or not all(type(s) is int and s >= 0 for s in shape)
        or (len(shape) == 2 and shape[1] != 1)
    ):
        raise Problem(400, f"input {name!r} has the shape {str(shape)[:60]}", allowed="[rows] or [rows, 1]: one tensor per column")
    if not isinstance(data, list):
        raise Problem(400, f"input {name!r} has no list of data", allowed="JSON data, flat or nested; binary tensors are not read here")
    flat = [cell[0] if isinstance(cell, list) and len(cell) == 1 else cell for cell in data]
    if len(flat) != shape[0]:
        raise Problem(400, f"input {name!r} has {len(flat)} values", allowed=f"{shape[0]}, as its shape says")
    for cell in flat:
        if not _fits(cell, str(kind)):
            raise Problem(
                400, f"input {name!r}: {str(cell)[:60]!r} is not of the datatype {kind}", allowed="values of the datatype, or null for no value"
            )
    return flat


def _fits(cell: Any, kind: str) -> bool:
    if cell is None:
        return True
    if kind == "BOOL":
        return isinstance(cell, bool)
    if kind == "BYTES":
        return isinstance(cell, str)
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return False
    return kind not in INTEGERS or isinstance(cell, int)


def inputs_of(contract: Contract) -> list[dict[str, Any]]:
    return [{"name": rule.name, "datatype": KINDS[rule.kind], "shape": [-1, 1]} for rule in contract.columns]


def outputs_of(served: Served) -> list[dict[str, Any]]:
    classes = served.scorer.classes
    found: list[dict[str, Any]] = [{"name": "predict", "datatype": "BYTES" if classes else "FP64", "shape": [-1, 1]}]
    if classes:
        found.append(
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, len(classes)], "parameters": {"classes": orjson.dumps(classes).decode()}}
        )
    elif served.scorer.margin:
        found.append({"name": "interval", "datatype": "FP64", "shape": [-1, 2]})
    found.append({"name": "prediction_id", "datatype": "BYTES", "shape": [-1, 1]})
    if served.scorer.explain is not None:
        found.append({"name": "explain", "datatype": "BYTES", "shape": [-1, 1]})
    return found


def wanted_outputs(outputs: Any, served: Served) -> list[str]:
    """The outputs asked for, or all but the reasons. Raises Problem 400 for one that this model does not have."""
    offered = [output["name"] for output in outputs_of(served)]
    if outputs is None or outputs == []:
        return [name for name in offered if name != "explain"]
    names = [o.get("name") if isinstance(o, dict) else None for o in outputs] if isinstance(outputs, list) else [None]
    unknown = [name for name in names if name not in offered]
    if unknown:
        raise Problem(400, f"there is no output {str(unknown[0])[:80]!r}", allowed=", ".join(offered))
    return [str(name) for name in dict.fromkeys(names)]


def _output(name: str, told: Told) -> dict[str, Any]:
    classes, n = told.served.scorer.classes, len(told.answers)
    answers = told.answers
    if name == "predict":
        kind = {"parameters": {"content_type": "str"}} if classes else {}
        return {"name": name, "datatype": "BYTES" if classes else "FP64", "shape": [n, 1], **kind, "data": [a.prediction for a in answers]}
    if name == "predict_proba":
        flat = [p for a in answers for p in (a.probabilities or {}).values()]
        return {"name": name, "datatype": "FP64", "shape": [n, len(classes)], "parameters": {"classes": orjson.dumps(classes).decode()}, "data": flat}
    if name == "interval":
        return {"name": name, "datatype": "FP64", "shape": [n, 2], "data": [end for a in answers for end in a.interval or (math.nan, math.nan)]}
    texts: Sequence[str] = told.ids
    if name == "explain":
        reasons = ([{"column": r.column, "value": r.value, "push": r.push} for r in a.reasons] for a in answers)
        texts = [orjson.dumps({"reasons": list(why), "notes": issues(a.issues)}).decode() for why, a in zip(reasons, answers, strict=True)]
    return {"name": name, "datatype": "BYTES", "shape": [n, 1], "parameters": {"content_type": "str"}, "data": list(texts)}


def _served(call: Call) -> Served:
    return call.service.pool.get(call.path("model"), call.path("version"))


def _door(method: str, path: str, handler: Any, access: Any, summary: str) -> Door:
    return Door(method, path, handler, access, ("kserve",), as_v2_error, summary=f"V2: {summary}")


DOORS = (
    _door("GET", "/v2", server, "read", "server metadata"),
    _door("GET", "/v2/", server, "read", "server metadata, as the specification's OpenAPI document writes the path"),
    _door("GET", "/v2/health/live", live, "public", "the server is alive"),
    _door("GET", "/v2/health/ready", ready, "public", "every model is ready"),
    _door("POST", "/v2/models/{model}/infer", infer, "predict", "infer"),
    _door("POST", "/v2/models/{model}/versions/{version}/infer", infer, "predict", "infer with one version"),
    _door("GET", "/v2/models/{model}/ready", model_ready, "read", "is the model ready"),
    _door("GET", "/v2/models/{model}/versions/{version}/ready", model_ready, "read", "is the version ready"),
    _door("GET", "/v2/models/{model}", metadata, "read", "model metadata"),
    _door("GET", "/v2/models/{model}/versions/{version}", metadata, "read", "metadata of a version"),
)
