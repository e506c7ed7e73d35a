"""The HTTP under the remote engine: one POST whose answer streams, and small GETs.

OpenAI's protocol is two addresses and a stream of events, so this uses aiohttp directly.  The `openai`
package would take 0.4 s of CPU and 24 MB to import, a quarter of the bot's start, and 2.4 ms of CPU for each
answer: it walks every message on the way out and builds a pydantic model for every piece that comes in.  Its
transport alone took 0.6 ms for an answer; this takes 0.3.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import aiohttp

from bot import __version__
from bot.engines.dialects import Probe

CONNECT_TIMEOUT_S = 5.0
_DRAIN_S = 0.2
_MAX_PROBE_BYTES = 1 << 20
_MAX_REFUSAL_BYTES = 1 << 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_BROKEN = (aiohttp.ClientError, OSError)  # a silence that was too long is both


class WireError(Exception):
    """The server could not be asked or did not answer properly; the message says how, without quoting it."""


class NotReached(WireError):
    """No answer has begun: nothing was generated, so asking again is safe."""


class Refused(WireError):
    """The server answered with an error status."""

    def __init__(self, status: int, *, kind: str, too_long: bool, retry_after_s: float | None) -> None:
        super().__init__(f"{status}{' ' + kind if kind else ''}")
        self.status = status
        self.too_long = too_long
        """Whether the server says that the prompt does not fit its context."""
        self.retry_after_s = retry_after_s


class Wire:
    """Connections to one server.  `timeout_s` is the longest silence; the caller limits the total time."""

    def __init__(self, *, url: str, api_key: str, timeout_s: float) -> None:
        """Needs a running event loop."""
        self._url = url.rstrip("/")
        self._root = self._url.removesuffix("/v1")
        # Without a key we send none: some proxies refuse a made-up one.
        key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=timeout_s),
            # A proxy from the environment is right for a far server and never for one on this machine.
            trust_env=urlsplit(url).hostname not in _LOOPBACK,
            # Without these a small answer could unpack to gigabytes.
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": f"photo-support-bot/{__version__}", **key},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @asynccontextmanager
    async def post(self, path: str, body: bytes, *, session: str) -> AsyncGenerator[Response]:
        """Send JSON.  Leaving the block before the end of the answer closes the connection."""
        headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
        if session:
            headers["x-session-id"] = session
        try:
            response = await self._session.post(
                self._url + path, data=body, headers=headers, allow_redirects=False
            )
        except _BROKEN as broken:
            raise NotReached(_name(broken)) from None
        async with response:
            if not _is_success(response):
                raise await _refusal(response)
            yield Response(response)

    async def get(self, path: str, *, timeout_s: float) -> Probe | None:
        """The answer to a GET under the base URL; None if there is none in time."""
        return await self._get(self._url + path, timeout_s=timeout_s)

    async def get_root(self, path: str, *, timeout_s: float) -> Probe | None:
        """The answer to a GET outside `/v1`, where servers have paths of their own."""
        return await self._get(self._root + path, timeout_s=timeout_s)

    async def _get(self, url: str, *, timeout_s: float) -> Probe | None:
        body: object = None
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.get(
                    url, headers={"Accept": "application/json"}, allow_redirects=False
                ) as response,
            ):
                if _is_success(response):
                    said = await _beginning(response, most=_MAX_PROBE_BYTES)
                    with suppress(ValueError, RecursionError):
                        body = json.loads(said)
        except _BROKEN:
            return None
        return Probe(response.status, body if isinstance(body, dict) else {})

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


class Response:
    """An answer whose headers have arrived."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._chunks = response.content.iter_any()
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives.  Raises `WireError` if the connection breaks."""
        try:
            async for chunk in self._chunks:
                yield chunk
        except _BROKEN as broken:
            raise WireError(_name(broken)) from None

    async def drain(self) -> None:
        """Read what follows the last event, so that the connection can serve the next request."""
        with suppress(*_BROKEN):
            async with asyncio.timeout(_DRAIN_S):
                async for _ in self._chunks:
                    pass


def _is_success(response: aiohttp.ClientResponse) -> bool:
    return 200 <= response.status < 300  # noqa: PLR2004 - followed redirects would send the key elsewhere


_TOO_LONG = re.compile(
    r"context[ _]?(length|size|window)|maximum (model|input|prompt|sequence) length"
    r"|max_(seq_len|num_tokens|model_len)|(prompt|input)( is)? too long|longer than the m"
    r"|at most \d+ image",
    re.IGNORECASE,
)
"""How vLLM, SGLang, TensorRT-LLM, llama.cpp, Ollama and OpenAI say it; vLLM also counts images."""


async def _refusal(response: aiohttp.ClientResponse) -> Refused:
    # The message may quote the customer (a validation error echoes its input): it is searched, not kept.
    body = await _beginning(response, most=_MAX_REFUSAL_BYTES)
    kind = _kind(body)
    return Refused(
        response.status,
        kind=kind if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", kind) else "",
        too_long=response.status == 413  # noqa: PLR2004
        or (response.status in {400, 422, 500} and _TOO_LONG.search(body[:4096]) is not None),
        retry_after_s=_seconds(response.headers.get("retry-after")),
    )


async def _beginning(response: aiohttp.ClientResponse, *, most: int) -> str:
    """The beginning of the body, as much as is useful."""
    body = b""
    with suppress(*_BROKEN):
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > most:
                break
    return body.decode(errors="replace")


def _kind(body: str) -> str:
    """The error's machine-readable name, inside `error` or beside it: `type` and `code`."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = said.get("error", said) if isinstance(said, dict) else None
    return str(error.get("type") or error.get("code") or "") if isinstance(error, dict) else ""


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds; None if it is absent or a date."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None


def _name(error: BaseException) -> str:
    """The innermost cause by class, since "Connection error" says nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
