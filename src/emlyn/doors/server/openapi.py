"""`GET /openapi.json`: OpenAPI 3.1, made from the table of routes and the contracts of the models, with an example for every column."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from emlyn import __version__
from emlyn.core.tables.contract_export import to_json_schema
from emlyn.doors.server.door import Call, Door, reply
from emlyn.doors.server.problems import as_v2_error
from emlyn.doors.server.v2 import DATATYPES
from emlyn.records.data_card import Contract
from emlyn.service.pool import Pool
from emlyn.service.scorer import example_row

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
NAME = {"type": ["string", "integer"], "maxLength": 512}


async def document(call: Call) -> Response:
    table = [guarded.app.door for guarded in call.request.app.routes]
    return reply(openapi(call.service.pool, table))


def openapi(pool: Pool, doors: list[Door]) -> dict[str, Any]:
    """The whole document. Rows are described by the default model's contract; every other model has a schema of its own."""
    contracts = {name: lane.versions[lane.champion].scorer.contract for name, lane in pool.lanes.items()}
    schemas: dict[str, Any] = {**SCHEMAS, **{f"Row_{name}": row_schema(contract) for name, contract in contracts.items()}}
    schemas["Row"] = {"$ref": f"#/components/schemas/Row_{pool.default}"} if contracts else {"type": "object"}
    paths: dict[str, Any] = {}
    for door in doors:
        paths.setdefault(door.path, {})[door.method.lower()] = operation(door, contracts.get(pool.default))
    return {
        "openapi": "3.1.0",
        "info": {"title": "emlyn", "version": __version__, "description": "Answers of: " + (", ".join(contracts) or "no model yet")},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}, "schemas": schemas},
    }


def operation(door: Door, contract: Contract | None) -> dict[str, Any]:
    names = [part.split("}")[0] for part in door.path.split("{")[1:]]
    ok: dict[str, Any] = {"description": "OK", "content": {OTHER_TYPES.get(door.path, "application/json"): {}}}
    if door.path in REPLIES:
        ok["content"] = {"application/json": {"schema": ref(REPLIES[door.path])}}
    if door.path == "/invocations":
        ok["content"] |= {kind: {"schema": TEXT} for kind in ("text/csv", "application/jsonlines")}
    failed: dict[str, Any] = {"description": "A problem document (RFC 9457)", "content": {"application/problem+json": {"schema": ref("Problem")}}}
    if door.error is as_v2_error:
        failed["content"]["application/json"] = {"schema": ref("V2Error")}
    found: dict[str, Any] = {
        "summary": door.summary,
        "operationId": f"{door.method.lower()}{re.sub(r'[^A-Za-z0-9]+', '_', door.path)}",
        "responses": {"200": ok, "4XX": failed, "5XX": failed},
    }
    if names:
        found["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[^/]+$"}} for name in names]
    found["security"] = [] if door.access == "public" else [{"bearer": []}]
    if door.access not in ("public", "known"):
        found["description"] = f"Needs a token with the scope `{door.access}`."
    body = body_of(door, contract)
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    return found


def body_of(door: Door, contract: Contract | None) -> dict[str, Any] | None:
    """Request media types of a route, with an example that the contract accepts."""
    if door.method not in ("POST", "PUT") or door.path.endswith("/refresh"):
        return None
    row = example_row(contract) if contract else {}
    rows = {"type": "array", "items": ref("Row")}
    if door.path == "/v1/predict":
        return _json(ref("Ask"), {"rows": [row], "reasons": False})
    if door.path == "/v1/feedback":
        return _json(ref("Feedback"), {"labels": [{"prediction_id": "0" * 32, "label": "yes"}]})
    if door.path.endswith("/routing"):
        return _json(ref("Routing"), {"canary": {"version": "2", "share": 0.05}, "shadow": None})
    if door.path.endswith("/infer"):
        inputs = [{"name": n, "shape": [1, 1], "datatype": datatype_of(v), "data": [v]} for n, v in row.items()]
        return _json(ref("Tensors"), {"inputs": inputs})
    schema = {"type": "object", "properties": {"instances": rows}, "required": ["instances"]}
    if door.path != "/invocations":
        return _json(schema, {"instances": [row]})
    csv = ",".join(str(row[n]) for n in row)
    return {**_json(forms(rows), {"dataframe_records": [row]}), "text/csv": {"schema": TEXT, "example": csv}}


def forms(rows: dict[str, Any]) -> dict[str, Any]:
    """MLflow's four documents, one at a time, with TensorFlow Serving's columns of cells and SageMaker's features among them."""
    split = _object(["columns", "data"], columns={"type": "array", "items": TEXT}, data={"type": "array", "items": {"type": "array"}})
    named = {"oneOf": [rows, {"type": "array", "items": {"type": "array"}}, {"type": "object", "additionalProperties": {"type": "array"}}]}
    found = {"dataframe_split": split, "dataframe_records": rows, "instances": named, "inputs": named}
    return {**_object([], **found, params={}), "additionalProperties": False, "oneOf": [{"required": [form]} for form in found]}


def datatype_of(value: Any) -> str:
    return "BOOL" if isinstance(value, bool) else "FP64" if isinstance(value, int | float) else "BYTES"


def row_schema(contract: Contract) -> dict[str, Any]:
    """One row as a JSON schema, each column with an example that the contract accepts."""
    found = to_json_schema(contract)
    del found["$schema"]
    for name, cell in example_row(contract).items():
        found["properties"][name]["examples"] = [cell]
    return found


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": example}}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


WHO = {**NAME, "minLength": 1}
_SIDE = {"oneOf": [{"type": "null"}, _object(["version", "share"], version=TEXT, share={"type": "number", "minimum": 0, "maximum": 1})]}
_ISSUE = _object(["column", "problem", "allowed", "code"], column=TEXT, value=TEXT, problem=TEXT, allowed=TEXT, code=TEXT)
SCHEMAS: dict[str, Any] = {
    "Ask": {
        **_object(
            ["rows"],
            rows={"type": "array", "items": ref("Row")},
            model=NAME,
            version=NAME,
            keys={
                "type": "array",
                "items": {"type": ["string", "integer", "null"], "maxLength": 512},
                "description": "As many as there are rows: your own key of each, by which true labels may come later.",
            },
            reasons={"type": ["boolean", "integer"], "minimum": 0, "maximum": 50},
        ),
        "additionalProperties": False,
    },
    "Answer": _object(
        [],
        prediction_id=TEXT,
        prediction={"type": ["string", "number"]},
        probabilities={"type": "object", "additionalProperties": NUMBER},
        interval=_object(["low", "high"], low=NUMBER, high=NUMBER, level=NUMBER),
        model=TEXT,
        unusual={"type": "boolean", "description": "Some value lies outside everything that training saw."},
        notes={"type": "array", "items": _ISSUE},
        reasons={"type": "array", "items": _object(["column", "push"], column=TEXT, value={}, push=NUMBER)},
        error=_object(["row", "detail"], row={"type": "integer"}, detail=TEXT, errors={"type": "array", "items": _ISSUE}),
    ),
    "Answers": _object(["model", "predictions"], model=TEXT, predictions={"type": "array", "items": ref("Answer")}),
    "Predictions": _object(["predictions"], predictions={"type": "array", "items": ref("Answer")}),
    "Feedback": _object(
        ["labels"],
        labels={
            "type": "array",
            "items": {
                **_object(["label"], prediction_id=WHO, key=WHO, model=NAME, label={"type": ["string", "number", "boolean"]}),
                "oneOf": [{"required": ["prediction_id"]}, {"required": ["key"]}],
            },
        },
    ),
    "Accepted": _object(["accepted", "unknown"], accepted={"type": "integer"}, unknown={"type": "array", "items": TEXT}),
    "Routing": _object([], canary=_SIDE, shadow=_SIDE),
    "Tensors": _object(
        ["inputs"], id=TEXT, inputs={"type": "array", "items": ref("Tensor"), "minItems": 1}, outputs={"type": "array", "items": {"type": "object"}}
    ),
    "Tensor": _object(
        ["name", "shape", "datatype", "data"],
        name=TEXT,
        shape={"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        datatype={"enum": sorted(DATATYPES)},
        data={"type": "array"},
    ),
    "Inferred": _object(["model_name", "outputs"], model_name=TEXT, model_version=TEXT, id=TEXT, outputs={"type": "array", "items": ref("Tensor")}),
    "V2Error": _object(["error"], error=TEXT),
    "Problem": _object(["type", "title", "status"], type=TEXT, title=TEXT, status={"type": "integer"}, detail=TEXT, allowed=TEXT, next=TEXT),
}
OTHER_TYPES = {"/metrics": "text/plain", "/version": "text/plain", "/docs": "text/html"}
REPLIES = {
    "/v1/predict": "Answers",
    "/v1/feedback": "Accepted",
    "/invocations": "Predictions",
    "/v1/models/{model}:predict": "Predictions",
    "/v2/models/{model}/infer": "Inferred",
    "/v2/models/{model}/versions/{version}/infer": "Inferred",
}

DOORS = (Door("GET", "/openapi.json", document, "read", browser=True, summary="This document"),)
