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
from typing import Self

from aiohttp import web

from tests.model_faults import (
    PROXY_PAGE,
    Fault,
    Json,
    break_off,
    completion,
    error,
    event,
    open_stream,
    pieces_of,
    usage_event,
)
from tests.until import PATIENCE_S

__all__ = ["Answer", "Fault", "ModelServer", "Received", "echo", "text_of"]

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
        probe_s: float = 0.0,
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
        self.is_loading = False
        """While true, everything answers 503, as servers do until their model is loaded."""
        self.is_dead = False
        """While true, `/health` answers 503: the engine behind the HTTP server died."""
        self.latency_s = latency_s
        self.chunks = chunks
        self.chunk_delay_s = chunk_delay_s
        self.probe_s = probe_s
        """How long everything but an answer takes."""
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

    @property
    def address(self) -> str:
        """Host and port."""
        return self.url.removeprefix("http://").removesuffix("/v1")

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

    async def until(self, condition: Callable[[ModelServer], bool], *, timeout_s: float = PATIENCE_S) -> None:
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
            return error(401, "invalid api key", "invalid_api_key")
        fault = self._faults.popleft() if self._faults else self._always
        if fault is not None:
            return await break_off(request, fault, self.retry_after)
        refused = set(body) - STRICT_FIELDS.get(self.dialect, PORTABLE) if self.strict else set()
        if refused:
            status = 400 if self.dialect == "trtllm" else 422
            return error(status, f"Unexpected fields in the request: {sorted(refused)}", "bad_request")
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        answer = self.answer(received)
        text = answer if isinstance(answer, str) else await answer
        if not body.get("stream") or not self.streams:
            return web.json_response(completion(text))
        return await self._stream(request, text, usage="stream_options" in body)

    async def _stream(self, request: web.Request, text: str, *, usage: bool) -> web.StreamResponse:
        response = await open_stream(request)
        pieces = pieces_of(text, self.chunks)
        if self.chunk_delay_s:
            for piece in pieces:
                await response.write(event(piece))
                await asyncio.sleep(self.chunk_delay_s)
            events = []
        else:
            events = [event(piece) for piece in pieces]
        events.append(event("", finish="stop"))
        if usage:
            events.append(usage_event(len(text)))
        events.append(b"data: [DONE]\n\n")
        await response.write(b"".join(events))
        await response.write_eof()
        return response

    async def _other(self, request: web.Request) -> web.Response:
        self.probes.append(request.path)
        if self.probe_s:
            await asyncio.sleep(self.probe_s)
        if self.is_loading or (self.is_dead and request.path == "/health"):
            return error(503, "not ready", "unavailable")
        if request.path == "/v1/models":
            return self._list_models(request)
        if request.path == "/health" and self.dialect not in {"generic", "ollama"}:
            return web.json_response({"status": "ok"})
        return _PROBES.get((self.dialect, request.path), lambda: error(404, "not found", "not_found"))()

    def _list_models(self, request: web.Request) -> web.Response:
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return error(401, "invalid api key", "invalid_api_key")
        if self._always is Fault.HTML_502:
            return web.Response(status=502, text=PROXY_PAGE, content_type="text/html")
        data = [{"id": name, "object": "model", "created": 0, "owned_by": self.owner} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


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
