"""A request that is turned down: a status for the client, a code for the page, which has the words."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse


class Refused(Exception):
    """Turn the request down.  `code` is a key of `static/words.json` under `refused`."""

    def __init__(self, status: int, code: str, *, photo: int = 0) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.photo = photo
        """Which of the pictures sent it was, from 1; 0 for none in particular."""


async def refuse(_request: Request, refused: Exception) -> JSONResponse:
    """The answer to a request that was turned down."""
    assert isinstance(refused, Refused)
    return JSONResponse({"error": refused.code, "photo": refused.photo}, refused.status)
