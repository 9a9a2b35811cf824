"""Errors on the wire: RFC 9457 problem documents with stable codes, and the forms other protocols ask for.

Never a traceback, a path of this machine or the text of an exception that is our own fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from emlyn.errors import ModelError, UserError, WorkspaceError
from emlyn.service.limits import TooMuch

TITLES: Mapping[int, tuple[str, str]] = {
    400: ("bad-request", "The request cannot be read"),
    401: ("unauthorised", "A bearer token is needed"),
    403: ("forbidden", "This token does not allow that"),
    404: ("not-found", "There is nothing here"),
    405: ("method-not-allowed", "This method is not offered here"),
    408: ("timeout", "The request took too long to arrive"),
    409: ("in-progress", "The same request is being worked on"),
    413: ("too-large", "The request is too large"),
    415: ("unsupported-type", "This content type is not read here"),
    421: ("wrong-host", "This host name is not served here"),
    422: ("refused-rows", "The rows do not fit the model's contract"),
    429: ("too-many-requests", "Too many requests"),
    431: ("headers-too-large", "The headers are too large"),
    500: ("internal", "Our own fault; the log has the details"),
    503: ("unavailable", "The service cannot answer right now"),
    504: ("too-slow", "The answer took too long"),
}


class Problem(Exception):
    """A refusal with its HTTP status. `detail` says what, where, what is allowed and what to do next; `extra` are further members."""

    def __init__(self, status: int, detail: str = "", *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.extra = status, detail, dict(headers or {}), extra

    def document(self) -> dict[str, Any]:
        """The members of a problem document; `error_code` and `message` are what MLflow's clients read."""
        code, title = TITLES.get(self.status, ("error", "The request failed"))
        members = {"type": f"urn:emlyn:problem:{code}", "title": title, "status": self.status, "detail": self.detail}
        return {**members, "error_code": code.replace("-", "_").upper(), "message": self.detail or title, **self.extra}


def problem_of(error: UserError) -> Problem:
    """The problem document for a mistake that emlyn knows."""
    extra: dict[str, Any] = {name: text for name, text in error.as_dict().items() if text and name in ("allowed", "next")}
    if isinstance(error, TooMuch):
        headers = {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
        return Problem(error.status, error.what, headers=headers, **extra)
    if isinstance(error, WorkspaceError):
        return Problem(503, error.what, headers={"Retry-After": "5"})
    return Problem(404 if isinstance(error, ModelError) else 400, error.what, **extra)


def as_problem(problem: Problem) -> Response:
    return Response(orjson.dumps(problem.document()), problem.status, problem.headers, "application/problem+json")


def as_v2_error(problem: Problem) -> Response:
    """The Open Inference Protocol's error body, and KServe V1's."""
    document = problem.document()
    allowed = f" (allowed: {document['allowed']})" if "allowed" in document else ""
    return Response(orjson.dumps({"error": f"{document['message']}{allowed}"}), problem.status, problem.headers, "application/json")
