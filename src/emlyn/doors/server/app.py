"""The table of every route, and the ASGI application made from it.

A path that is not in the table asks for a token before it says that it is not there.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emlyn.doors.server import docs, health, instances, invocations, metrics, native, openapi, v2
from emlyn.doors.server.door import Call, Door, Guarded, no_token
from emlyn.doors.server.gate import Gate
from emlyn.doors.server.problems import Problem, as_problem
from emlyn.service.limits import RateLimit, Settings
from emlyn.service.loading import Watcher
from emlyn.service.service import Service
from emlyn.service.tokens import Tokens

logger = logging.getLogger("emlyn.server")


def doors(settings: Settings) -> tuple[Door, ...]:
    """Every route, the busiest first."""
    fixed = (*native.DOORS, *invocations.DOORS, *health.DOORS, *v2.DOORS, *instances.DOORS, *metrics.DOORS, *openapi.DOORS, *docs.DOORS)
    taken = {(door.method, door.path) for door in fixed}
    return (*fixed, *(door for door in instances.vertex_doors(settings) if (door.method, door.path) not in taken))


def create_app(service: Service, tokens: Tokens, watcher: Watcher | None = None) -> Starlette:
    """The whole server for a service: routes, gate, and a lifespan that watches the registry and ends without losing a record."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with watcher.running() if watcher else contextlib.nullcontext():
            yield
        await service.drain()

    limits = service.settings.limits
    app = Starlette(
        routes=[Route(door.path, Guarded(door, service, report), methods=[door.method]) for door in doors(service.settings)],
        lifespan=lifespan,
        middleware=[Middleware(Gate, service=service, tokens=tokens, rate=RateLimit(limits.rate, limits.burst))],
        exception_handlers={HTTPException: wrong_method},
    )
    app.state.watcher, app.state.running = watcher, set()
    app.router.redirect_slashes = False
    app.router.default = Guarded(Door("", "(none)", nowhere, "known"), service, report)
    return app


async def nowhere(call: Call) -> Response:
    raise Problem(404, "no route has this path", next="GET /openapi.json lists the routes")


async def wrong_method(request: Request, error: Exception) -> Response:
    """A route that has other methods: said only to callers with a token."""
    assert isinstance(error, HTTPException)
    if request.scope["emlyn"]["token"] is None:
        return as_problem(no_token(request))
    return as_problem(Problem(error.status_code, headers=error.headers))


def report(error: BaseException) -> None:
    logger.error("our own fault", exc_info=error)
