"""emlyn's own protocol: `POST /v1/predict`, `POST /v1/feedback`, and what is being served."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from emlyn.core.tables.contract import Issue
from emlyn.doors.server.bodies import JSON, named_rows, parse_object
from emlyn.doors.server.door import Call, Door, reply
from emlyn.doors.server.problems import Problem
from emlyn.service.prediction_log import Label, Reply
from emlyn.service.scorer import Answer
from emlyn.service.service import Ask, Told

MOST_REASONS = 50
FIELDS = ("rows", "model", "version", "keys", "reasons")


async def predict(call: Call) -> Response:
    """Rows in, answers out. With an Idempotency-Key the same request gets the same reply, and is recorded once."""
    if call.content_type != JSON:
        raise Problem(415, f"content type {call.content_type[:80]!r}", allowed=JSON)
    ask = ask_of(call)
    key = call.headers.get("idempotency-key", "")
    if not key:
        told = await call.service.predict(ask)
        return answer_reply(told, call.service.settings.limits.rows)
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", key):
        raise Problem(400, "the Idempotency-Key is not usable", allowed="1 to 200 printable ASCII characters")
    return await _once(call, ask, f"{call.caller}/{key}")


def ask_of(call: Call) -> Ask:
    body = parse_object(call.body)
    unknown = sorted(set(body) - set(FIELDS))
    if unknown or "rows" not in body:
        raise Problem(400, f"unknown member {unknown[0][:80]!r}" if unknown else "the member 'rows' is missing", allowed=", ".join(FIELDS))
    rows = named_rows(body["rows"], "rows")
    columns = call.service.settings.limits.columns
    if any(len(row) > columns for row in rows):
        raise Problem(413, "a row has too many columns", allowed=f"at most {columns:,}")
    return Ask(rows, _text(body, "model"), _text(body, "version"), _reasons(body.get("reasons", False)), _keys(body.get("keys"), len(rows)))


async def _once(call: Call, ask: Ask, key: str) -> Response:
    """Answer a keyed request once: the stored reply for a repetition, 409 while the first is running, 422 for another body under the same key."""
    running: set[str] = call.request.app.state.running
    digest = hashlib.sha256(call.body).hexdigest()
    if key in running:
        raise Problem(409, "a request with this Idempotency-Key is being answered", headers={"Retry-After": "1"})
    running.add(key)
    try:
        log = call.service.log
        known = await asyncio.to_thread(log.reply, key) if log else None
        if known is not None:
            if known.request != digest:
                raise Problem(422, "this Idempotency-Key was used for another request", allowed="a new key for each new request")
            return Response(known.reply, 200, {"Idempotent-Replay": "true"}, JSON)
        kept: list[Response] = []

        def keep(told: Told) -> Reply:
            kept.append(answer_reply(told, call.service.settings.limits.rows))
            return Reply(key, time.time(), digest, bytes(kept[0].body))

        await call.service.predict(ask, keep=keep)
        return kept[0]
    finally:
        running.discard(key)


def answer_reply(told: Told, most: int) -> Response:
    """200 with one entry per row; 422 when not a single row could be answered."""
    if told.answers and all(answer.refused for answer in told.answers):
        errors = [{"row": i, "errors": issues(answer.issues)} for i, answer in enumerate(told.answers[: min(most, 100)])]
        raise Problem(422, summary(told.answers), rows=errors)
    label = told.served.label
    predictions = [entry(told.ids[i], answer, told, i) for i, answer in enumerate(told.answers)]
    return reply({"model": label, "predictions": predictions})


def entry(prediction_id: str, answer: Answer, told: Told, row: int) -> dict[str, Any]:
    """What is said about one row."""
    if answer.refused:
        return {"error": {"row": row, "detail": one_line(answer.issues), "errors": issues(answer.issues)}}
    found = {"prediction_id": prediction_id, **answer.core(), "model": told.served.label}
    if answer.interval is not None and told.served.scorer.margin is not None:
        found["interval"]["level"] = told.served.scorer.margin.level
    found["unusual"] = answer.unusual
    if answer.issues:
        found["notes"] = issues(answer.issues)
    if answer.reasons:
        found["reasons"] = [{"column": r.column, "value": r.value, "push": r.push} for r in answer.reasons]
    return found


def issues(found: Sequence[Issue]) -> list[dict[str, str]]:
    return [{"column": i.column, "value": i.value, "problem": i.problem, "allowed": i.allowed, "code": i.code} for i in found]


def one_line(found: Sequence[Issue]) -> str:
    """The first issue as a sentence, and how many more there are."""
    if not found:
        return "the row cannot be answered"
    first = found[0]
    value = f" {first.value!r}" if first.value else ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"column {first.column!r}:{value} {first.problem}; allowed: {first.allowed}{more}"


def summary(answers: Sequence[Answer]) -> str:
    bad = [(i, answer) for i, answer in enumerate(answers) if answer.refused]
    return f"row {bad[0][0]}: {one_line(bad[0][1].issues)}" + (f"; {len(bad) - 1} more rows are refused" if len(bad) > 1 else "")


async def feedback(call: Call) -> Response:
    """True labels that came later, by prediction id or by the caller's own key. The reply says which ids were never given out."""
    if call.content_type != JSON:
        raise Problem(415, f"content type {call.content_type[:80]!r}", allowed=JSON)
    body = parse_object(call.body)
    entries = named_rows(body.get("labels"), "labels")
    if call.service.log is None:
        raise Problem(503, "this server keeps no prediction log, so labels cannot be joined")
    if len(entries) > call.service.settings.limits.rows:
        raise Problem(413, f"{len(entries):,} labels in one request", allowed=f"at most {call.service.settings.limits.rows:,}")
    now = time.time()
    labels = [_label(item, i, now, call.caller) for i, item in enumerate(entries)]
    ids = [label.prediction_id for label in labels if label.prediction_id]
    known = await asyncio.to_thread(call.service.log.known, ids) if ids else set()
    await asyncio.wrap_future(call.service.log.write(labels))
    return reply({"accepted": len(labels), "unknown": [i for i in ids if i not in known]})


async def models(call: Call) -> Response:
    """What is being served: versions, canary, shadow, and the rows each model takes."""
    lanes = call.service.pool.lanes
    return reply(
        {
            "models": [
                {
                    "name": name,
                    "champion": lane.champion,
                    "versions": list(lane.versions),
                    "canary": {"version": lane.canary, "share": lane.canary_share} if lane.canary else None,
                    "shadow": {"version": lane.shadow, "share": lane.shadow_share} if lane.shadow else None,
                    "task": lane.versions[lane.champion].scorer.problem.task,
                    "columns": list(lane.versions[lane.champion].scorer.columns),
                }
                for name, lane in lanes.items()
            ]
        }
    )


async def routing(call: Call) -> Response:
    """Set canary and shadow of a model. Only versions that the operator had loaded can be named: nothing is fetched from anywhere."""
    body = parse_object(call.body)
    canary, shadow = _side(body, "canary"), _side(body, "shadow")
    call.service.pool.route(call.path("model"), canary=canary[0], canary_share=canary[1], shadow=shadow[0], shadow_share=shadow[1])
    return reply({"model": call.path("model"), "canary": body.get("canary"), "shadow": body.get("shadow")})


async def refresh(call: Call) -> Response:
    """Ask the registry now whether an alias moved, instead of at the next poll."""
    watcher = call.request.app.state.watcher
    return reply({"swapped": [] if watcher is None else await watcher.look()})


def _side(body: Mapping[str, Any], name: str) -> tuple[str, float]:
    found = body.get(name)
    if found is None:
        return "", 0.0
    if not isinstance(found, dict) or not isinstance(found.get("version"), str | int) or not isinstance(found.get("share"), int | float):
        raise Problem(400, f"{name!r} cannot be read", allowed='{"version": "3", "share": 0.05}, or null')
    return str(found["version"]), float(found["share"])


def _label(item: Mapping[str, Any], place: int, now: float, by: str) -> Label:
    prediction_id, key = _text(item, "prediction_id"), _text(item, "key")
    value = item.get("label")
    if bool(prediction_id) == bool(key) or value is None or isinstance(value, dict | list):
        raise Problem(400, f"labels[{place}] cannot be read", allowed='{"prediction_id": "…", "label": …} or {"key": "…", "model": "…", "label": …}')
    return Label(orjson.dumps(value).decode(), prediction_id or None, _text(item, "model") or None, key or None, now, by)


def _text(body: Mapping[str, Any], name: str) -> str:
    found = body.get(name)
    if found is None:
        return ""
    if not isinstance(found, str | int) or isinstance(found, bool) or len(str(found)) > 512:
        raise Problem(400, f"{name!r} is not a text", allowed="at most 512 characters")
    return str(found)


def _reasons(asked: Any) -> int:
    if isinstance(asked, bool):
        return 5 if asked else 0
    if not isinstance(asked, int) or not 0 <= asked <= MOST_REASONS:
        raise Problem(400, "'reasons' cannot be read", allowed=f"true, false or 0 to {MOST_REASONS}")
    return asked


def _keys(keys: Any, rows: int) -> tuple[str | None, ...]:
    if keys is None:
        return ()
    if not isinstance(keys, list) or len(keys) != rows:
        raise Problem(400, "'keys' is not a list with one key per row", allowed=f"{rows} texts or nulls")
    if any(not isinstance(k, str | int | None) or isinstance(k, bool) or len(str(k)) > 512 for k in keys):
        raise Problem(400, "'keys' holds something that is not a text", allowed="texts of at most 512 characters, or nulls")
    return tuple(None if k is None else str(k) for k in keys)


DOORS = (
    Door("POST", "/v1/predict", predict, "predict", summary="Answers for rows"),
    Door("POST", "/v1/feedback", feedback, "feedback", summary="True labels that came later"),
    Door("GET", "/v1/served", models, "read", summary="What is being served"),
    Door("PUT", "/v1/served/{model}/routing", routing, "admin", summary="Canary and shadow of a model"),
    Door("POST", "/v1/served/refresh", refresh, "admin", summary="Look for moved aliases now"),
)
