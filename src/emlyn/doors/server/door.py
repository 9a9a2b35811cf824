"""One door of the server: a method, a path, a handler and the scope it asks for.

What is not declared does not exist, and nothing can be declared without saying who may enter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emlyn.doors.server.problems import Problem, as_problem, problem_of
from emlyn.errors import UserError
from emlyn.service.service import Service
from emlyn.service.tokens import Token

Access = Literal["public", "known", "predict", "feedback", "read", "admin"]
"""public: anybody; known: any valid token; the rest: a token with that scope."""
Platform = Literal["", "sagemaker", "mlflow", "vertex", "kserve"]


@dataclass(frozen=True)
class Call:
    """One request at a door: the service, who asks, and the body, already within its limits."""

    service: Service
    request: Request
    caller: str
    body: bytes = b""

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    @property
    def content_type(self) -> str:
        """The media type alone, lower case. Raises Problem (415) for a charset other than UTF-8."""
        kind, _, parameters = self.headers.get("content-type", "").partition(";")
        charset = parameters.lower().replace(" ", "").partition("charset=")[2].strip('"')
        if charset and charset not in ("utf-8", "utf8"):
            raise Problem(415, f"charset {charset[:40]} is not read here", allowed="utf-8")
        return kind.strip().lower()

    def path(self, name: str) -> str:
        return str(self.request.path_params.get(name, ""))


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Door:
    """A row of the table of routes."""

    method: str
    path: str
    handler: Handler
    access: Access
    platforms: tuple[Platform, ...] = ()
    """Platforms that call this route through a gateway of their own: when one is declared open, no token is asked for."""
    error: Callable[[Problem], Response] = as_problem
    browser: bool = False
    """A page a person opens: the token may also come as the password of HTTP Basic."""
    summary: str = ""


@dataclass(eq=False)
class Guarded:
    """The ASGI application behind a route: asks for the scope, reads the body within its limits, and turns errors into documents."""

    door: Door
    service: Service
    report: Callable[[BaseException], None]
    """Told of every error that is our own fault."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.answer(Request(scope, receive))
        scope["emlyn"]["status"] = response.status_code
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        facts: dict[str, Any] = request.scope["emlyn"]
        facts["route"] = self.door.path
        limits = self.service.settings.limits
        service = self.service
        service.busy += 1
        try:
            caller = self._admit(request, facts.get("token"))
            if service.busy > limits.concurrent and self.door.access != "public":
                raise Problem(503, "too many requests are being worked on", headers={"Retry-After": "1"})
            async with asyncio.timeout(limits.seconds) as clock:
                body = await read_body(request, limits.body) if self.door.method in ("POST", "PUT") else b""
                return await self.door.handler(Call(self.service, request, caller, body))
        except TimeoutError as error:
            if not clock.expired():
                self.report(error)
            problem = Problem(504, "the answer was not ready in time", allowed=f"{limits.seconds:g} seconds; send fewer rows")
        except Problem as error:
            problem = error
        except UserError as error:
            problem = problem_of(error)
        except ClientDisconnect:
            problem = Problem(400, "the connection was closed before the whole body came")
        except Exception as error:
            self.report(error)
            problem = Problem(500)
        finally:
            service.busy -= 1
        return self.door.error(problem)

    def _admit(self, request: Request, token: Token | None) -> str:
        """The caller's name. Raises Problem 401 without a token, 403 with one that lacks the scope."""
        if self.door.access == "public" or any(p in self.service.settings.open for p in self.door.platforms):
            return token.name if token else "anonymous"
        if token is None:
            raise no_token(request, 'Basic realm="emlyn: any user name, the token as password"' if self.door.browser else "Bearer")
        if self.door.access != "known" and not token.allows(self.door.access):
            raise Problem(403, f"this needs a token with the scope {self.door.access!r}")
        return token.name


def no_token(request: Request, way: str = "Bearer") -> Problem:
    """What a caller without a valid token is told: that none came, or that the one that came opens nothing."""
    said = "send the header Authorization: Bearer TOKEN"
    if "authorization" in request.headers:
        said = "the token that was sent is not one of this server's: it is wrong, expired or revoked"
    return Problem(401, said, headers={"WWW-Authenticate": way})


async def read_body(request: Request, most: int) -> bytes:
    """The body, or Problem 413 as soon as it is known to be too large; compressed bodies are not unpacked here."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "compressed bodies are not read here", allowed="Content-Encoding: identity")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise Problem(413, f"a body of {int(declared):,} bytes", allowed=f"at most {most:,} bytes")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Problem(413, f"a body of more than {most:,} bytes", allowed=f"at most {most:,} bytes")
        parts.append(part)
    return b"".join(parts)


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response. NaN and infinities become null."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, headers, "application/json")
