"""Reads what clients send, with limits on size, on time, and on all clients together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from bot.web.api.refusal import RETRY_BUSY_S, ApiError

MAX_BODY_BYTES = 32 * 1024 * 1024
"""One request: a picture of 20 MB as base64, or ten usual ones."""
MAX_HELD_BYTES = 128 * 1024 * 1024
"""All requests being read; parsed and decoded they take about three times as much memory."""
READ_S = 120.0
"""For one body.  Slow clients wait here, where they block nobody."""
_IN_THREAD = 256 * 1024
"""Longer bodies are parsed outside the event loop."""


class Bodies:
    """Reads bodies, and keeps account of how much they take together."""

    def __init__(self, *, most_bytes: int = MAX_HELD_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held = 0

    @asynccontextmanager
    async def json(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """The request's JSON object; its memory is counted until the block ends.  Raises `ApiError`."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(
                415, "Send JSON, with Content-Type: application/json.", code="invalid_content_type"
            )
        held = Held(self)
        try:
            yield await parsed(await _whole(request, held))
        finally:
            held.release()

    def take(self, size: int) -> None:
        """Count bytes that came in.  Raises `ApiError` if all together are too many."""
        if self._held + size > self._most_bytes:
            busy = {"Retry-After": str(RETRY_BUSY_S)}
            raise ApiError(429, "Too many large requests at the moment.", code="overloaded", headers=busy)
        self._held += size

    def give_back(self, size: int) -> None:
        """Count them as freed."""
        self._held -= size


@dataclass(slots=True)
class Held:
    """The bytes of one request."""

    bodies: Bodies
    size: int = 0

    def add(self, size: int) -> None:
        """Count more bytes.  Raises `ApiError` if this request, or all of them together, take too many."""
        if self.size + size > MAX_BODY_BYTES:
            raise too_large()
        self.bodies.take(size)
        self.size += size

    def release(self) -> None:
        """Count all of them as freed."""
        self.bodies.give_back(self.size)
        self.size = 0


def too_large() -> ApiError:
    """The error for a body, or a line of one, beyond the limit."""
    return ApiError(413, f"At most {MAX_BODY_BYTES >> 20} MiB.", code="request_too_large")


async def _whole(request: Request, held: Held) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise too_large()
    chunks = []
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.stream():
                held.add(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise ApiError(408, f"The request was not whole within {READ_S:g} s.", code="timeout") from None
    except ClientDisconnect:
        raise ApiError(400, "The client hung up.", code="disconnected") from None
    return b"".join(chunks)


async def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object.  Raises `ApiError` for anything else."""
    value = await asyncio.to_thread(_loads, body) if len(body) > _IN_THREAD else _loads(body)
    if not isinstance(value, dict):
        raise ApiError(400, "The body must be a JSON object.", code="invalid_json")
    return value


def _loads(body: bytes) -> Any:
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise ApiError(400, "The body is not valid JSON in UTF-8.", code="invalid_json") from None
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)
