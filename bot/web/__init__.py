"""The sitemap: every address the bot serves over HTTP.

/                   the customers' chat page
/chat/...           what that page uses: messages, entries, events, photos, votes, human, reset
/staff              the console of the service desk
/v1/chat/completions  answers for apps, as OpenAI's API gives them
/v1/models          what may be asked
/v1/describe        one picture in, one text out
/v1/jobs            many pictures: submit, progress, results, cancel
/v1/openapi.json    the API, described for programs
/telegram/webhook   updates from Telegram, where a webhook is set
/health             200 or 503, JSON by part
/metrics            Prometheus
/static/...         style and scripts of the pages
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from bot.metrics import MEDIA_TYPE, Metrics
from bot.web.api import Api
from bot.web.chat_page import ChatPage
from bot.web.console import Console
from bot.web.protection import SecurityHeaders, failed, not_here, not_now, too_much
from bot.web.refused import Refused, refuse
from context.db import StoreDown
from context.health import Health

Receive = Callable[[bytes, str | None], Awaitable[int]]
"""Take an update's body and the secret that came with it; returns the status to answer."""
CheckHealth = Callable[[], Awaitable[dict[str, Health]]]
CountWaiting = Callable[[], Awaitable[int]]
"""How many customers wait for a person.  Raises StoreDown."""

_BODY_BYTES = 64 * 1024
_UPDATE_BYTES = 1024 * 1024
_UPDATE_TIMEOUT_S = 10.0
_HEALTH_TIMEOUT_S = 5.0


def build_site(
    page: ChatPage,
    *,
    health: CheckHealth,
    waiting: CountWaiting,
    metrics: Metrics,
    console: Console | None = None,
    receive: Receive | None = None,
    api: Api | None = None,
) -> Starlette:
    """Everything we serve.  `receive` takes Telegram's updates; None where no webhook is set."""
    site: list[BaseRoute] = [
        *page.routes(),
        *(console.routes() if console else []),
        *(api.routes() if api else ()),
        *_webhook(receive),
        Route("/health", _health(health)),
        Route("/metrics", _metrics(metrics, health, waiting)),
        # Only what everybody may see is compressed: beside a secret, sizes would tell of it.
        Mount("/static", GZipMiddleware(StaticFiles(directory=Path(__file__).parent / "static"))),
    ]
    return Starlette(
        routes=site,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(RequestBodyLimitMiddleware, max_body_size=_BODY_BYTES),
        ],
        exception_handlers={
            Refused: refuse,
            StoreDown: not_now,
            404: not_here,
            405: not_here,
            413: too_much,
            Exception: failed,
        },
    )


def _webhook(receive: Receive | None) -> list[BaseRoute]:
    if receive is None:
        return []

    async def webhook(request: Request) -> Response:
        try:
            async with asyncio.timeout(_UPDATE_TIMEOUT_S):
                body = await request.body()
        except TimeoutError:
            return Response(status_code=408)
        return Response(
            status_code=await receive(body, request.headers.get("x-telegram-bot-api-secret-token"))
        )

    return [Route("/telegram/webhook", webhook, methods=["POST"], max_body_size=_UPDATE_BYTES)]


async def _look(check: CheckHealth) -> dict[str, Health]:
    try:
        async with asyncio.timeout(_HEALTH_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return {"health": Health("down", f"no answer within {_HEALTH_TIMEOUT_S:.0f} s")}


def _health(check: CheckHealth) -> Callable[[Request], Awaitable[Response]]:
    async def health(_request: Request) -> Response:
        parts = await _look(check)
        states = {part.state for part in parts.values()}
        state = next((state for state in ("down", "degraded") if state in states), "ok")
        return JSONResponse(
            {
                "state": state,
                "parts": {name: {"state": part.state, "detail": part.detail} for name, part in parts.items()},
            },
            503 if state == "down" else 200,
        )

    return health


def _metrics(
    metrics: Metrics, check: CheckHealth, waiting: CountWaiting
) -> Callable[[Request], Awaitable[Response]]:
    async def read(_request: Request) -> Response:
        parts, customers = await asyncio.gather(_look(check), _count(waiting))
        metrics.parts({name: part.state for name, part in parts.items()})
        metrics.waiting_for_people(customers)
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    return read


async def _count(waiting: CountWaiting) -> int | None:
    """How many wait; None while the database cannot tell."""
    try:
        async with asyncio.timeout(_HEALTH_TIMEOUT_S):
            return await waiting()
    except (StoreDown, TimeoutError):
        return None
