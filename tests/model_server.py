"""An OpenAI-compatible model server that tests and benchmarks own: real HTTP, no model.

It answers `/v1/chat/completions`, streaming or not, with a function of the request; the default
echoes which context arrived.  It speaks like the server whose dialect it is given, can be told to
fail in every way real ones were seen to fail, and notices when a client hangs up.

    server = ModelServer(dialect="vllm")
    await server.start()            # server.url goes into MODEL_URL
    server.fail(Fault.HTML_502)     # the next request only
    await server.close()

For benchmarks, as its own process: `python -m tests.model_server --port 9001 --latency-ms 20`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]

PORTABLE = frozenset({"model", "messages", "max_tokens", "temperature", "top_p", "stream", "seed", "stop"})
"""Fields every server takes."""
STRICT_FIELDS: dict[str, frozenset[str]] = {
    "trtllm": PORTABLE
    | {"stream_options", "repetition_penalty", "top_k", "min_p", "response_format", "chat_template_kwargs"},
    "transformers": PORTABLE | {"stream_options", "frequency_penalty", "chat_template_kwargs"},
    "generic": PORTABLE,
}
"""What servers that refuse unknown fields accept: read in TensorRT-LLM's and transformers' sources."""
OWNERS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "trtllm": "tensorrt_llm",
    "llamacpp": "llamacpp",
    "ollama": "library",
}


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
    BAD_IMAGE = "400 for another reason"
    BAD_KEY = "401"
    NO_MODEL = "404"


@dataclass(frozen=True, slots=True)
class Received:
    """One chat completion request, as it arrived."""

    path: str
    headers: dict[str, str]
    body: Json
    peer: object = None
    """The client's end of the connection: the same for requests over one connection."""

    @property
    def messages(self) -> list[Json]:
        """Messages as sent."""
        messages: list[Json] = self.body["messages"]
        return messages

    @property
    def images(self) -> tuple[str, ...]:
        """Image URLs in order."""
        return tuple(
            part["image_url"]["url"]
            for message in self.messages
            if isinstance(message["content"], list)
            for part in message["content"]
            if part["type"] == "image_url"
        )

    @property
    def last_text(self) -> str:
        """Text of the last message."""
        return text_of(self.messages[-1])

    @property
    def text(self) -> str:
        """All text, to search for words that must (not) be there."""
        return "\n".join(text_of(message) for message in self.messages)


def text_of(message: Json) -> str:
    """Text of one message, whichever form its content has."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def echo(request: Received) -> str:
    """The default answer: which context arrived."""
    return (
        f"messages={len(request.messages)} images={len(request.images)} "
        f"session={request.headers.get('x-session-id', '-')} last={request.last_text}"
    )


Answer = Callable[[Received], str | Awaitable[str]]


class ModelServer:
    """The stub.  `requests` keeps the newest `keep` requests; 0 for benchmarks."""

    def __init__(
        self,
        *,
        answer: Answer = echo,
        dialect: str = "generic",
        models: tuple[str, ...] = ("stub-model",),
        api_key: str = "",
        strict: bool | None = None,
        owner: str | None = None,
        streams: bool = True,
        retry_after: str = "0.05",
        latency_s: float = 0.0,
        chunks: int = 4,
        chunk_delay_s: float = 0.0,
        keep: int = 10_000,
    ) -> None:
        self.answer = answer
        self.dialect = dialect
        self.models = models
        self.api_key = api_key
        self.strict = dialect in {"trtllm", "transformers"} if strict is None else strict
        self.owner = OWNERS.get(dialect, "someone") if owner is None else owner
        self.streams = streams
        self.retry_after = retry_after
        self.latency_s = latency_s
        self.chunks = chunks
        self.chunk_delay_s = chunk_delay_s
        self.requests: deque[Received] = deque(maxlen=keep)
        self.received = 0
        self.answered = 0
        self.hung_up = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.probes: list[str] = []
        self.url = ""
        self._faults: deque[Fault] = deque()
        self._always: Fault | None = None
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; `url` is then what goes into MODEL_URL."""
        app = web.Application(client_max_size=256 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_route("*", "/{path:.*}", self._other)
        # handler_cancellation: a client that hangs up cancels its handler, which is how we notice.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        port = self._runner.addresses[0][1]
        self.url = f"http://{host}:{port}/v1"

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def fail(self, *faults: Fault) -> None:
        """Let the next requests fail, one fault each."""
        self._faults.extend(faults)

    def fail_always(self, fault: Fault | None) -> None:
        """Let every request fail until told otherwise."""
        self._always = fault

    async def until(self, condition: Callable[[ModelServer], bool], *, timeout_s: float = 5.0) -> None:
        """Wait until something has happened here, such as `lambda s: s.hung_up == 1`."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            response = await self._reply(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.hung_up += 1
            raise
        else:
            self.answered += 1
            return response
        finally:
            self.in_flight -= 1
            await self._notify()

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        received = Received(
            request.path, {k.lower(): v for k, v in request.headers.items()}, body, _peer(request)
        )
        self.requests.append(received)
        self.received += 1
        await self._notify()
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return _error(401, "invalid api key", "invalid_api_key")
        fault = self._faults.popleft() if self._faults else self._always
        if fault is not None:
            return await _break(request, fault, self.retry_after)
        refused = set(body) - STRICT_FIELDS.get(self.dialect, PORTABLE) if self.strict else set()
        if refused:
            status = 400 if self.dialect == "trtllm" else 422
            return _error(status, f"Unexpected fields in the request: {sorted(refused)}", "bad_request")
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        answer = self.answer(received)
        text = answer if isinstance(answer, str) else await answer
        if not body.get("stream") or not self.streams:
            return web.json_response(_completion(text))
        return await self._stream(request, text, usage="stream_options" in body)

    async def _stream(self, request: web.Request, text: str, *, usage: bool) -> web.StreamResponse:
        response = await _open_stream(request)
        pieces = _pieces(text, self.chunks)
        if self.chunk_delay_s:
            for piece in pieces:
                await response.write(_event(piece))
                await asyncio.sleep(self.chunk_delay_s)
            events = []
        else:
            events = [_event(piece) for piece in pieces]
        events.append(_event("", finish="stop"))
        if usage:
            events.append(_usage_event(len(text)))
        events.append(b"data: [DONE]\n\n")
        await response.write(b"".join(events))
        await response.write_eof()
        return response

    async def _other(self, request: web.Request) -> web.Response:
        self.probes.append(request.path)
        if request.path == "/v1/models":
            return self._list_models(request)
        if request.path == "/health":
            return web.json_response({"status": "ok"})
        return _PROBES.get((self.dialect, request.path), lambda: _error(404, "not found", "not_found"))()

    def _list_models(self, request: web.Request) -> web.Response:
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return _error(401, "invalid api key", "invalid_api_key")
        if self._always is Fault.HTML_502:
            return web.Response(status=502, text=_PROXY_PAGE, content_type="text/html")
        data = [{"id": name, "object": "model", "created": 0, "owned_by": self.owner} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


_PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"

_PROBES: dict[tuple[str, str], Callable[[], web.Response]] = {
    ("vllm", "/version"): lambda: web.json_response({"version": "0.12.0"}),
    ("trtllm", "/version"): lambda: web.json_response({"version": "1.1.0"}),
    ("sglang", "/get_model_info"): lambda: web.json_response({"model_path": "stub", "is_generation": True}),
    ("llamacpp", "/props"): lambda: web.json_response({"default_generation_settings": {}}),
    ("ollama", "/api/version"): lambda: web.json_response({"version": "0.13.0"}),
    ("transformers", "/load_model"): lambda: web.Response(status=405, headers={"Allow": "POST"}),
}


def _peer(request: web.Request) -> object:
    return request.transport.get_extra_info("peername") if request.transport is not None else None


async def _break(request: web.Request, fault: Fault, retry_after: str) -> web.StreamResponse:  # noqa: PLR0911
    """Fail as told."""
    match fault:
        case Fault.HTML_502:
            return web.Response(status=502, text=_PROXY_PAGE, content_type="text/html")
        case Fault.WRONG_TYPE:
            return web.Response(text=_PROXY_PAGE, content_type="text/html")
        case Fault.WRONG_SHAPE:
            return web.json_response({"choices": "none", "hello": [1]})
        case Fault.BUSY_429:
            response = _error(429, "too many requests", "rate_limit_exceeded")
            response.headers["Retry-After"] = retry_after
            return response
        case Fault.TOO_LONG:
            words = "This model's maximum context length is 4096 tokens. However, you requested 9000."
            return _error(400, words, "BadRequestError")
    if fault in _REFUSALS:
        return _error(*_REFUSALS[fault])
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
    Fault.BUSY_503: (503, "queue full", "overloaded"),
    Fault.BAD_IMAGE: (400, "cannot identify image file", "bad_image"),
    Fault.BAD_KEY: (401, "invalid api key", "invalid_api_key"),
    Fault.NO_MODEL: (404, "The model does not exist.", "model_not_found"),
}


async def _break_stream(request: web.Request, fault: Fault) -> web.StreamResponse:
    response = await _open_stream(request)
    if fault is Fault.DRIP:
        for _ in range(10_000):
            await response.write(_event("."))
            await asyncio.sleep(0.01)
    while fault is Fault.ENDLESS:
        await response.write(_event("again and ") * 64)
        await asyncio.sleep(0)
    await response.write(_BROKEN_STREAMS.get(fault, _event("Half of an answer")))
    if fault is Fault.STALL:
        await asyncio.sleep(3600)
    if fault is Fault.HALF_STREAM:
        assert request.transport is not None
        request.transport.close()
        return response
    await response.write_eof()
    return response


async def _open_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    return response


def _event(text: str, *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return b"data: " + json.dumps(_chunk([choice])).encode() + b"\n\n"


def _usage_event(letters: int) -> bytes:
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
    Fault.EMPTY: _event("") + _event("", finish="stop") + b"data: [DONE]\n\n",
    Fault.GARBAGE: b'data: {"choices": [{"delta": {"content": "he\n\ndata: }{\n\n',
    Fault.STREAM_ERROR: _event("Half of ") + b'data: {"error": {"message": "died", "code": 500}}\n\n',
    Fault.ABORT: _event("Half of ") + _event("", finish="abort") + b"data: [DONE]\n\n",
}


def _completion(text: str) -> Json:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 0,
        "model": "stub-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": max(1, len(text) // 4), "total_tokens": 0},
    }


def _error(status: int, message: str, kind: str) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": kind, "code": status}, "detail": message}, status=status
    )


def _pieces(text: str, count: int) -> list[str]:
    size = max(1, -(-len(text) // max(1, count)))
    return [text[at : at + size] for at in range(0, len(text), size)]


def main() -> None:
    """Serve until interrupted; prints the address once it listens."""
    parser = argparse.ArgumentParser(prog="python -m tests.model_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--dialect", default="vllm")
    parser.add_argument("--model", default="stub-model")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before the first token")
    parser.add_argument("--chunks", type=int, default=8, help="pieces of a streamed answer")
    parser.add_argument("--chunk-delay-ms", type=float, default=0.0)
    parser.add_argument("--answer", default="", help="a fixed answer instead of the echo")
    args = parser.parse_args()

    def fixed(_: Received) -> str:
        return str(args.answer)

    async def serve() -> None:
        server = ModelServer(
            answer=fixed if args.answer else echo,
            dialect=args.dialect,
            models=(args.model,),
            latency_s=args.latency_ms / 1000,
            chunks=args.chunks,
            chunk_delay_s=args.chunk_delay_ms / 1000,
            keep=0,
        )
        await server.start(host=args.host, port=args.port)
        print(server.url, flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await server.close()

    try:
        import uvloop
    except ImportError:
        runner = asyncio.Runner()
    else:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        try:
            runner.run(serve())
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
