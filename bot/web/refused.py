"""Refused requests: a status for the client, and a code for which the page has a text."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse


class Refused(Exception):
    """Refuses the request.  `code` is a key of `static/words.json` under `refused`."""

    def __init__(self, status: int, code: str, *, photo: int = 0) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.photo = photo
        """Number of the picture in question, from 1; 0 for none in particular."""


async def refuse(_request: Request, refused: Exception) -> JSONResponse:
    """The response to a refused request."""
    assert isinstance(refused, Refused)
    return JSONResponse({"error": refused.code, "photo": refused.photo}, refused.status)
