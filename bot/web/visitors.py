"""Who is at the page: a random cookie is the visitor's key, its hash is the chat's address.

Nobody signs in.  Whoever holds the cookie is the customer, so it stays out of scripts, out of logs
and out of the database: from the address it cannot be found again.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from bot.web.refused import Refused
from context.turns import Chat

COOKIE = "visitor"
_KEY = re.compile(r"[A-Za-z0-9_-]{22}")
_ONE_YEAR_S = 365 * 24 * 3600


def greet(request: Request, response: Response) -> None:
    """Give a new visitor a cookie; others keep theirs."""
    if _key(request) is None:
        response.set_cookie(
            COOKIE,
            secrets.token_urlsafe(16),
            max_age=_ONE_YEAR_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )


def chat_of(request: Request) -> Chat:
    """The visitor's chat.  Raises `Refused` for somebody who never opened the page."""
    key = _key(request)
    if key is None:
        raise Refused(401, "no_visitor")
    return Chat("web", hashlib.sha256(key.encode()).hexdigest()[:32])


def refuse_other_origins(request: Request) -> None:
    """Turn down what another site's page sends in the visitor's name.

    Browsers tell in `Sec-Fetch-Site`, older ones in `Origin`; what tells neither is no browser and
    carries nobody's cookies.  The rule is that of Go's `http.CrossOriginProtection`.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise Refused(403, "other_origin")
        return
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Refused(403, "other_origin")


def _key(request: Request) -> str | None:
    key = request.cookies.get(COOKIE, "")
    return key if _KEY.fullmatch(key) else None
