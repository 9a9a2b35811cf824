"""`POST /invocations`, where SageMaker and MLflow knock on the same door: the body's type and its one key say which form it has."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response

from emlyn.doors.server import bodies
from emlyn.doors.server.door import Call, Door, reply
from emlyn.doors.server.native import entry, one_line
from emlyn.doors.server.problems import Problem
from emlyn.records.data_card import Contract
from emlyn.service.scorer import Answer
from emlyn.service.service import Ask, Told

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
TYPES = (bodies.JSON, bodies.CSV, *bodies.JSON_LINES, *bodies.PARQUET)
ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"


async def invocations(call: Call) -> Response:
    """Rows in any of the forms of SageMaker's and MLflow's clients; the answer in the form the Accept header asks for."""
    served = call.service.pool.get()
    rows = read_rows(call, served.scorer.contract)
    told = await call.service.predict(Ask(rows, ids=inference_ids(call, len(rows))))
    response = written(told, call)
    if attributes := call.headers.get(ATTRIBUTES):
        response.headers[ATTRIBUTES] = _header_safe(attributes)
    return response


def read_rows(call: Call, contract: Contract) -> bodies.Records:
    """Raises Problem 415 for a content type, 400 for a body that cannot be read."""
    limits, kind = call.service.settings.limits, call.content_type
    if kind == bodies.CSV:
        return bodies.parse_csv(call.body, contract, limits.columns)
    if kind in bodies.JSON_LINES:
        return bodies.parse_json_lines(call.body, contract, limits.columns)
    if kind in bodies.PARQUET:
        return bodies.parse_parquet(call.body, limits)
    if kind != bodies.JSON:
        raise Problem(415, f"content type {kind[:80]!r}", allowed=", ".join(TYPES))
    return rows_of_document(bodies.parse_object(call.body), contract, limits.columns)


def rows_of_document(body: dict[str, Any], contract: Contract, columns: int) -> bodies.Records:
    """A JSON document with exactly one of MLflow's four forms; `params` is accepted and means nothing here."""
    forms = [name for name in body if name in FORMS]
    unknown = [name for name in body if name not in (*FORMS, "params")]
    if len(forms) != 1 or unknown:
        raise Problem(400, f"the body holds {', '.join(list(body)[:8]) or 'nothing'}", allowed=f"exactly one of {', '.join(FORMS)}")
    form, value = forms[0], body[forms[0]]
    if form == "dataframe_split":
        return _split(value)
    if form == "dataframe_records":
        return bodies.named_rows(value, form)
    if isinstance(value, dict):
        return _by_column(value, form)
    return bodies.rows_of(value, form, contract, columns)


def _split(value: Any) -> bodies.Records:
    if not isinstance(value, dict) or not isinstance(value.get("columns"), list) or not isinstance(value.get("data"), list):
        raise Problem(400, "dataframe_split cannot be read", allowed='{"columns": [names], "data": [[cells], …]}')
    names = value["columns"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise Problem(400, "the columns of dataframe_split are not different texts")
    rows: bodies.Records = []
    for i, cells in enumerate(value["data"]):
        if not isinstance(cells, list):
            raise Problem(400, f"dataframe_split data[{i}] is not a list")
        rows.append(bodies.by_place(cells, names, f"data[{i}]"))
    return rows


def _by_column(value: dict[str, Any], form: str) -> bodies.Records:
    """TensorFlow Serving's column form: column name to list of cells."""
    lengths = {len(cells) if isinstance(cells, list) else -1 for cells in value.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise Problem(
            400,
            f"{form} is an object whose members are not lists of one length",
            allowed="column name to list of cells, or a list with one entry per row",
        )
    return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]


def inference_ids(call: Call, rows: int) -> Sequence[str]:
    """SageMaker's Inference-Id as prediction id; with several rows each gets its number behind it."""
    given = call.headers.get("x-amzn-sagemaker-inference-id", "")
    if not given:
        return ()
    if not re.fullmatch(r"[\x21-\x7e]{1,64}", given):
        raise Problem(400, "the Inference-Id is not usable", allowed="1 to 64 printable ASCII characters")
    return [given] if rows == 1 else [f"{given}:{i}" for i in range(rows)]


def written(told: Told, call: Call) -> Response:
    """JSON unless the Accept header asks for CSV or JSON lines; the n-th entry answers the n-th row, refused rows included."""
    accept = call.headers.get("accept", "").lower()
    if bodies.CSV in accept:
        return Response(as_csv(told), media_type=bodies.CSV)
    entries = [entry(told.ids[i], answer, told, i) for i, answer in enumerate(told.answers)]
    wanted = next((kind for kind in bodies.JSON_LINES if kind in accept), "")
    if wanted:
        return Response(b"".join(orjson.dumps(e) + b"\n" for e in entries), media_type=wanted)
    return reply({"predictions": entries})


def as_csv(told: Told) -> str:
    """One line per row without a header: prediction, then one probability per class (or low and high of the interval), then the error."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    scorer = told.served.scorer
    width = len(scorer.classes) or (2 if scorer.margin else 0)
    for answer in told.answers:
        writer.writerow([*_cells(answer, width), one_line(answer.issues) if answer.refused else ""])
    return out.getvalue()


def _cells(answer: Answer, width: int) -> list[Any]:
    if answer.refused:
        return [""] * (1 + width)
    return [answer.prediction, *((answer.probabilities or {}).values() or answer.interval or ())]


async def execution_parameters(call: Call) -> Response:
    """What SageMaker's batch transform may do with this container."""
    most = call.service.settings.limits.body // (1024 * 1024)
    return reply(
        {
            "MaxConcurrentTransforms": max(1, min(os.cpu_count() or 1, 100 // max(1, most))),
            "BatchStrategy": "MULTI_RECORD",
            "MaxPayloadInMB": max(1, most),
        }
    )


def _header_safe(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "", text)[:1024]


DOORS = (
    Door("POST", "/invocations", invocations, "predict", ("sagemaker", "mlflow"), summary="SageMaker and MLflow scoring"),
    Door("GET", "/execution-parameters", execution_parameters, "read", ("sagemaker",), summary="SageMaker batch transform's parameters"),
)
