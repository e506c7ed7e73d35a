"""How the model server of the tests answers on the wire, and every way in which it can fail to."""

from __future__ import annotations

import asyncio
import json
from enum import StrEnum
from typing import Any

from aiohttp import web

Json = dict[str, Any]


class Fault(StrEnum):
    """One way of failing, for one request."""

    ERROR_500 = "500"
    HTML_502 = "502 with a proxy's HTML page"
    BUSY_429 = "429 with Retry-After"
    BUSY_503 = "503"
    DROP = "connection closed without an answer"
    HANG = "accepts and never answers"
    STALL = "half a stream, then silence"
    HALF_STREAM = "half a stream, then the connection breaks"
    CUT_STREAM = "half a stream, then a clean end without a finish reason"
    EMPTY = "a complete answer without a word"
    GARBAGE = "a stream of broken JSON"
    NOT_HTTP = "bytes that are not HTTP"
    WRONG_TYPE = "200 with an HTML page"
    WRONG_SHAPE = "200 with JSON of another shape"
    STREAM_ERROR = "an error object inside the stream"
    ABORT = "finish reason 'abort' after some text"
    ENDLESS = "a stream that never ends"
    DRIP = "one character at a time, slowly"
    TOO_LONG = "400: more than the context holds"
    TOO_MANY_PHOTOS = "400: more photos than the server takes"
    BAD_IMAGE = "400 for another reason"
    BAD_KEY = "401"
    NO_MODEL = "404"


PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


async def break_off(request: web.Request, fault: Fault, retry_after: str) -> web.StreamResponse:  # noqa: PLR0911
    """Fail as told."""
    match fault:
        case Fault.HTML_502:
            return web.Response(status=502, text=PROXY_PAGE, content_type="text/html")
        case Fault.WRONG_TYPE:
            return web.Response(text=PROXY_PAGE, content_type="text/html")
        case Fault.WRONG_SHAPE:
            return web.json_response({"choices": "none", "hello": [1]})
        case Fault.BUSY_429:
            response = error(429, "too many requests", "rate_limit_exceeded")
            response.headers["Retry-After"] = retry_after
            return response
        case Fault.TOO_LONG:
            words = "This model's maximum context length is 4096 tokens. However, you requested 9000."
            return error(400, words, "BadRequestError")
    if fault in _REFUSALS:
        return error(*_REFUSALS[fault])
    if fault in {Fault.DROP, Fault.NOT_HTTP}:
        transport = request.transport
        assert transport is not None
        if fault is Fault.NOT_HTTP:
            transport.write(b"\x00\xffthis is not HTTP at all\r\n\r\n")
        transport.close()
        return web.Response()
    if fault is Fault.HANG:
        await asyncio.sleep(3600)
    return await _break_stream(request, fault)


_REFUSALS = {
    Fault.ERROR_500: (500, "CUDA error", "internal_error"),
    Fault.TOO_MANY_PHOTOS: (400, "At most 1 image(s) may be provided in one prompt.", "BadRequestError"),
    Fault.BUSY_503: (503, "queue full", "overloaded"),
    Fault.BAD_IMAGE: (400, "cannot identify image file", "bad_image"),
    Fault.BAD_KEY: (401, "invalid api key", "invalid_api_key"),
    Fault.NO_MODEL: (404, "The model does not exist.", "model_not_found"),
}


async def _break_stream(request: web.Request, fault: Fault) -> web.StreamResponse:
    response = await open_stream(request)
    if fault is Fault.DRIP:
        for _ in range(10_000):
            await response.write(event("."))
            await asyncio.sleep(0.01)
    while fault is Fault.ENDLESS:
        await response.write(event("again and ") * 64)
        await asyncio.sleep(0)
    await response.write(_BROKEN_STREAMS.get(fault, event("Half of an answer")))
    if fault is Fault.STALL:
        await asyncio.sleep(3600)
    if fault is Fault.HALF_STREAM:
        assert request.transport is not None
        request.transport.close()
        return response
    await response.write_eof()
    return response


async def open_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    return response


def event(text: str, *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return b"data: " + json.dumps(_chunk([choice])).encode() + b"\n\n"


def usage_event(letters: int) -> bytes:
    usage = {"prompt_tokens": 100, "completion_tokens": max(1, letters // 4), "total_tokens": 0}
    return b"data: " + json.dumps({**_chunk([]), "usage": usage}).encode() + b"\n\n"


def _chunk(choices: list[Json]) -> Json:
    return {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "stub-model",
        "choices": choices,
    }


_BROKEN_STREAMS = {
    Fault.EMPTY: event("") + event("", finish="stop") + b"data: [DONE]\n\n",
    Fault.GARBAGE: b'data: {"choices": [{"delta": {"content": "he\n\ndata: }{\n\n',
    Fault.STREAM_ERROR: event("Half of ") + b'data: {"error": {"message": "died", "code": 500}}\n\n',
    Fault.ABORT: event("Half of ") + event("", finish="abort") + b"data: [DONE]\n\n",
}


def completion(text: str) -> Json:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 0,
        "model": "stub-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": max(1, len(text) // 4), "total_tokens": 0},
    }


def error(status: int, message: str, kind: str) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": kind, "code": status}, "detail": message}, status=status
    )


def pieces_of(text: str, count: int) -> list[str]:
    size = max(1, -(-len(text) // max(1, count)))
    return [text[at : at + size] for at in range(0, len(text), size)]
