"""The gate every request passes first: host, origin, header size, who is calling, how often; and what every response carries."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emlyn.doors.server.problems import Problem, as_problem, problem_of
from emlyn.service.limits import RateLimit, TooMuch
from emlyn.service.service import Service
from emlyn.service.tokens import Token, Tokens

access = logging.getLogger("emlyn.access")

PAGES = frozenset({"/docs", "/openapi.json"})
"""What a person opens in a browser: a password sent by habit opens nothing else."""

SECURE_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


@dataclass(frozen=True, eq=False)
class Gate:
    """ASGI middleware. What it learns about a request it leaves in `scope["emlyn"]`: token, route, status."""

    app: ASGIApp
    service: Service
    tokens: Tokens
    rate: RateLimit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websocket is served
            await send({"type": "websocket.close", "code": 1008})
            return
        began = time.perf_counter()
        facts: dict[str, Any] = {"token": None, "route": "(none)", "status": 0}
        scope["emlyn"] = facts

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in SECURE_HEADERS if pair[0] not in own)]
                facts["status"] = message["status"]
            await send(message)

        try:
            self._check(scope, facts)
        except (Problem, TooMuch) as error:
            response = as_problem(error if isinstance(error, Problem) else problem_of(error))
            await response(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)
        finally:
            self._account(scope, facts, time.perf_counter() - began)

    def _check(self, scope: Scope, facts: dict[str, Any]) -> None:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self.service.settings.limits.header:
            raise Problem(431, allowed=f"at most {self.service.settings.limits.header:,} bytes")
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._host_is_ours(host):
            raise Problem(421, "this host name is not served here", allowed="localhost, an IP address, or a name given by --allow-host")
        origin = headers.get(b"origin")
        if (origin is not None and urlsplit(origin).netloc.lower() != host.lower()) or headers.get(b"sec-fetch-site") == "cross-site":
            raise Problem(403, "requests from other origins are not answered")
        facts["token"] = self._token(headers.get(b"authorization", ""), scope)
        caller = facts["token"].name if facts["token"] else f"anonymous {(scope.get('client') or ('?',))[0]}"
        self.rate.spend(caller)

    def _host_is_ours(self, host: str) -> bool:
        """DNS rebinding needs a name: IP addresses and localhost are ours, other names only when the operator said so."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower().rstrip(".")
        allowed = self.service.settings.hosts
        if "*" in allowed or name == "localhost" or name in allowed:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _token(self, header: str, scope: Scope) -> Token | None:
        kind, _, secret = header.partition(" ")
        if kind.lower() == "bearer":
            return self.tokens.find(secret.strip())
        if kind.lower() == "basic" and scope["method"] in ("GET", "HEAD") and scope["path"] in PAGES:
            try:
                password = base64.b64decode(secret, validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return None
            return self.tokens.find(password)
        return None

    def _account(self, scope: Scope, facts: dict[str, Any], seconds: float) -> None:
        metrics = self.service.metrics
        metrics.requests.labels(facts["route"], str(facts["status"])).inc()
        metrics.seconds.labels(facts["route"]).observe(seconds)
        if access.isEnabledFor(logging.INFO):
            token = facts["token"]
            access.info(
                "request",
                extra={
                    "facts": {
                        "method": scope["method"],
                        "route": facts["route"],
                        "status": facts["status"],
                        "ms": round(seconds * 1000, 3),
                        "caller": token.name if token else "anonymous",
                        "client": (scope.get("client") or ("?",))[0],
                        "trace": _trace(scope),
                    }
                },
            )


def _trace(scope: Scope) -> str:
    """The W3C trace context of the caller, so that our log lines join theirs."""
    found = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
    return found[:55].decode("ascii", "replace") if len(found) <= 55 else ""
