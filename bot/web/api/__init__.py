"""The HTTP API: every address under `/v1`, for programs that have a key.

The path of a request: `keyring` (who asks, and are they allowed to), `bodies` (bounded reading), `wire` or
`describe` (strict parsing), `bot.inquiries.inquiries` (the answer, made as in a turn), `answering` (sending
it).
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from bot import __version__
from bot.inquiries.inquiries import Inquiries
from bot.inquiries.jobs import Runner
from bot.metrics import Metrics
from bot.web.api.answering import HUNG_UP, EventStream, HungUp
from bot.web.api.bodies import Bodies
from bot.web.api.completions import Completions
from bot.web.api.describe import Describe
from bot.web.api.jobs import JobDesk
from bot.web.api.keyring import Keyring
from bot.web.api.refusal import ApiError, Handler, refusal_of
from context.api.jobs import Jobs
from prompts.house_styles import HouseStyles

log = logging.getLogger(__name__)

__all__ = ["Api", "Keyring"]

_NO_LIMIT = 1 << 50
"""Bodies are limited where they are read, so that the error has the API's own format."""
_GONE = 499
"""nginx's status for a client that disconnected; nobody reads it."""
_OURS = 500
"""From this status on it is our failure."""


class Api:
    """The API's routes."""

    def __init__(
        self,
        inquiries: Inquiries,
        *,
        keyring: Keyring,
        jobs: Jobs,
        runner: Runner,
        styles: HouseStyles,
        model: Callable[[], str],
        metrics: Metrics,
    ) -> None:
        bodies = Bodies()
        self._metrics = metrics
        self._completions = Completions(inquiries, keyring=keyring, bodies=bodies, model=model)
        self._describe = Describe(inquiries, keyring=keyring, bodies=bodies, styles=styles.names)
        self._jobs = JobDesk(
            inquiries, jobs=jobs, runner=runner, keyring=keyring, bodies=bodies, styles=styles.names
        )

    def routes(self) -> list[BaseRoute]:
        """Everything under `/v1`, including addresses that do not exist."""
        table: list[tuple[str, str, str, Handler]] = [
            ("POST", "/v1/chat/completions", "chat", self._completions.create),
            ("GET", "/v1/models", "models", self._completions.models),
            ("GET", "/v1/models/{model:path}", "models", self._completions.one_model),
            ("POST", "/v1/describe", "describe", self._describe.create),
            ("POST", "/v1/jobs", "jobs", self._jobs.submit),
            ("GET", "/v1/jobs", "jobs", self._jobs.every),
            ("GET", "/v1/jobs/{job}", "jobs", self._jobs.show),
            ("GET", "/v1/jobs/{job}/results", "jobs", self._jobs.results),
            ("POST", "/v1/jobs/{job}/cancel", "jobs", self._jobs.cancel),
            ("GET", "/v1/openapi.json", "openapi", _openapi),
        ]
        allowed: dict[str, list[str]] = {}
        for method, path, _, _ in table:
            allowed.setdefault(path, []).append(method)
        routes: list[BaseRoute] = [
            Route(path, self._told(name, handler), methods=[method], max_body_size=_NO_LIMIT)
            for method, path, name, handler in table
        ]
        refusals = {path: _not_allowed(methods) for path, methods in allowed.items()}
        for path, refuse in (refusals | {"/v1": _nowhere, "/v1/{path:path}": _nowhere}).items():
            route = Route(path, self._told("other", refuse), max_body_size=_NO_LIMIT)
            route.methods = None  # any, also one that nobody has heard of
            routes.append(route)
        return routes

    def _told(self, name: str, handler: Handler) -> Handler:
        """The handler with metrics, and with its exceptions turned into OpenAI's error format."""

        async def handle(request: Request) -> Response:
            number = request.state.number = secrets.token_hex(12)
            try:
                response = await handler(request)
            except HungUp:
                self._metrics.api(name, HUNG_UP)
                return Response(status_code=_GONE)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets what it can read
                refusal = refusal_of(error)
                if refusal.status >= _OURS:
                    log.warning("an app got an error", extra={"request": number, "code": refusal.code})
                response = refusal.response()
            response.headers["x-request-id"] = number
            if isinstance(response, EventStream):  # only known at its end
                response.tell = partial(self._metrics.api, name)
            else:
                self._metrics.api(name, str(response.status_code))
            return response

        return handle


async def _openapi(_request: Request) -> Response:
    return JSONResponse(openapi())


@cache
def openapi() -> dict[str, Any]:
    """The API's own description, in OpenAPI 3.1."""
    described: dict[str, Any] = json.loads((Path(__file__).parent / "openapi.json").read_text("utf-8"))
    described["info"]["version"] = __version__
    return described


def _not_allowed(methods: list[str]) -> Handler:
    async def refuse(request: Request) -> Response:
        allow = {"Allow": ", ".join(methods)}
        raise ApiError(
            405, f"{request.method} is not allowed here.", code="method_not_allowed", headers=allow
        )

    return refuse


async def _nowhere(request: Request) -> Response:
    path = request.url.path[:100]
    raise ApiError(404, f"Unknown request URL: {request.method} {path}.", code="unknown_url")
