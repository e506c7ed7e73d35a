"""Security headers of every answer, and the pages for wrong addresses and our own failures."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    # Photos not yet sent are shown from memory (`blob:`); everything else is ours, nothing is inline.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
_ALWAYS_ASK = (b"cache-control", b"no-cache")

_LOST = (Path(__file__).parent / "pages" / "lost.html").read_text("utf-8")
_LOST_STAFF = (
    _LOST.replace('href="/"', 'href="/staff"')
    .replace("Back to the chat", "Back to the console")
    .replace("返回对话", "返回工作台")
)


class SecurityHeaders:
    """Adds the headers to every answer; unless it has a `Cache-Control`, browsers must revalidate it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message["headers"])
                if not any(name == b"cache-control" for name, _ in own):
                    own.append(_ALWAYS_ASK)
                message["headers"] = own + _RAW
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def not_here(request: Request, error: Exception) -> Response:
    """404: a page with a way home for people, a short text for programs."""
    status = getattr(error, "status_code", 404)
    if "text/html" in request.headers.get("accept", ""):
        is_staff = request.url.path.startswith("/staff")
        return HTMLResponse(_LOST_STAFF if is_staff else _LOST, status)
    return JSONResponse({"error": "not_here"}, status, headers=getattr(error, "headers", None))


async def too_much(_request: Request, _error: Exception) -> Response:
    """413: the body is too large."""
    return JSONResponse({"error": "too_much"}, 413)


async def not_now(_request: Request, _error: Exception) -> Response:
    """503: the database is unavailable; nothing was stored, and the same request may work later."""
    return JSONResponse({"error": "failed"}, 503, headers={"Retry-After": "5"})


async def failed(_request: Request, _error: Exception) -> Response:
    """500: our own failure, without details; the log has them."""
    return JSONResponse({"error": "failed"}, 500, headers=_HEADERS)
