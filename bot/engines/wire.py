"""The HTTP under the remote engine: one POST whose answer streams, and small GETs.

Imports `openai` (half a second of CPU, 24 MB), so only `RemoteEngine.start` imports this module.
We use the client's transport, key and base URL, but send a body that is already JSON under headers that
are put together once, and read the events ourselves.  `chat.completions.create` costs 2.4 ms of CPU, since
it walks every message on the way out and builds a pydantic model for every piece coming in; the client's own
`post` still took 15 % of a text turn's CPU, mostly for headers, URL and options made anew, and this takes 5.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai

from bot.engines.dialects import Probe

CONNECT_TIMEOUT_S = 5.0
_DRAIN_S = 0.2
_MAX_PROBE_BYTES = 1 << 20
_MAX_REFUSAL_BYTES = 1 << 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

# One line per request at INFO would drown the one line per turn.
logging.getLogger("httpx2").setLevel(logging.WARNING)


class WireError(Exception):
    """The server could not be asked or did not answer properly; the message says how, without its words."""


class NotReached(WireError):
    """No answer began: nothing was generated, so asking again is safe."""


class Refused(WireError):
    """The server answered with an error status."""

    def __init__(self, status: int, *, kind: str, too_long: bool, retry_after_s: float | None) -> None:
        super().__init__(f"{status}{' ' + kind if kind else ''}")
        self.status = status
        self.too_long = too_long
        """The server says that the question does not fit its context."""
        self.retry_after_s = retry_after_s


class Wire:
    """Connections to one server.  `timeout_s` is the longest silence; the caller limits the whole."""

    def __init__(self, *, url: str, api_key: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._root = url.rstrip("/").removesuffix("/v1")
        # A plain http URL needs no certificates: loading them takes 20 ms and some megabytes.  A proxy
        # from the environment is right for a far server and never for one on this machine.
        http = openai.DefaultAioHttpClient(
            verify=parts.scheme == "https",
            trust_env=parts.hostname not in _LOOPBACK,
            follow_redirects=False,
            timeout=httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S, pool=None),
        )
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=api_key or "none",
            http_client=http,
            max_retries=0,
        )
        # Without a key we send none: some proxies refuse a made-up one.
        self._headers: dict[str, str | openai.Omit] = {} if api_key else {"Authorization": openai.Omit()}
        self._http = http
        self._timeout = http.timeout.as_dict()
        self._asking = httpx2.Headers(
            {
                "Accept": "text/event-stream",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                "User-Agent": self._client.user_agent,
                **({"Authorization": f"Bearer {api_key}"} if api_key else {}),
            }
        )
        self._addresses: dict[str, httpx2.URL] = {}

    @asynccontextmanager
    async def post(self, path: str, body: bytes, *, session: str) -> AsyncGenerator[Response]:
        """Send JSON; leaving the block before the end of the answer closes the connection."""
        address = self._addresses.get(path)
        if address is None:
            address = self._addresses[path] = httpx2.URL(str(self._client.base_url).rstrip("/") + path)
        headers = self._asking.copy()
        if session:
            headers["x-session-id"] = session
        request = httpx2.Request(
            "POST", address, headers=headers, content=body, extensions={"timeout": self._timeout}
        )
        try:
            response = await self._http.send(request, stream=True)
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as broken:
            raise NotReached(_name(broken)) from None
        try:
            if not response.is_success:
                raise await _refusal(response)
            yield Response(response)
        finally:
            await response.aclose()

    async def get(self, path: str, *, timeout_s: float) -> Probe | None:
        """Answer of a GET under the base URL; None when there is none in time."""
        return await self._get(str(self._client.base_url).rstrip("/") + path, timeout_s=timeout_s)

    async def get_root(self, path: str, *, timeout_s: float) -> Probe | None:
        """Answer of a GET beside `/v1`, where servers keep what is theirs alone."""
        return await self._get(self._root + path, timeout_s=timeout_s)

    async def _get(self, url: str, *, timeout_s: float) -> Probe | None:
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.get(
                    url, cast_to=httpx2.Response, options={"headers": self._headers}
                )
        except openai.APIStatusError as refused:
            return Probe(refused.status_code, {})
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError):
            return None
        body: object = None
        if len(response.content) <= _MAX_PROBE_BYTES:
            with suppress(ValueError):
                body = json.loads(response.content)
        return Probe(response.status_code, body if isinstance(body, dict) else {})

    async def close(self) -> None:
        """Close every connection.  `AsyncOpenAI.close` reaches the aiohttp session underneath."""
        await self._client.close()


class Response:
    """An answer whose headers are here and whose body is coming."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._chunks = response.aiter_bytes()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes.  Raises `WireError` when the connection breaks."""
        try:
            async for chunk in self._chunks:
                yield chunk
        except (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError) as broken:
            raise WireError(_name(broken)) from None

    async def drain(self) -> None:
        """Read what follows the last event, so that the connection can serve the next request."""
        with suppress(TimeoutError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError):
            async with asyncio.timeout(_DRAIN_S):
                async for _ in self._chunks:
                    pass


_TOO_LONG = re.compile(
    r"context[ _]?(length|size|window)|maximum (model|input|prompt|sequence) length"
    r"|max_(seq_len|num_tokens|model_len)|(prompt|input)( is)? too long|longer than the m"
    r"|at most \d+ image",
    re.IGNORECASE,
)
"""How vLLM, SGLang, TensorRT-LLM, llama.cpp, Ollama and OpenAI say it; vLLM also counts images."""


async def _refusal(response: httpx2.Response) -> Refused:
    # The message may quote the customer (a validation error echoes its input): it is searched, not kept.
    body = await _beginning(response)
    kind = _kind(body)
    return Refused(
        response.status_code,
        kind=kind if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", kind) else "",
        too_long=response.status_code == 413  # noqa: PLR2004
        or (response.status_code in {400, 422, 500} and _TOO_LONG.search(body[:4096]) is not None),
        retry_after_s=_seconds(response.headers.get("retry-after")),
    )


async def _beginning(response: httpx2.Response) -> str:
    """What is said with an error status, as far as it is of use."""
    body = b""
    with suppress(httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError):
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MAX_REFUSAL_BYTES:
                break
    return body.decode(errors="replace")


def _kind(body: str) -> str:
    """The error's name for programs: `{"error": {"type": ..., "code": ...}}`, or the same without `error`."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = said.get("error", said) if isinstance(said, dict) else None
    return str(error.get("type") or error.get("code") or "") if isinstance(error, dict) else ""


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds; None where it is absent or a date."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None


def _name(error: BaseException) -> str:
    """The innermost cause by class, since "Connection error" says nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
