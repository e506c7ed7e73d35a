"""Telegram over aiohttp: python-telegram-bot's requests without its httpx client.

Two reasons to have our own: httpx costs several times the CPU of the whole bot once many chats
write at once, and it puts the URL, which holds the token, into its log.  Here no URL ever enters
a log line or an exception, and an error says whether the request can have been carried out::

    telegram.error.TelegramError
    ├── NetworkError
    │   ├── Unreachable      certainly not carried out: no connection came about
    │   ├── Refused          certainly not carried out: answered by something that is not the Bot API
    │   ├── Broken           perhaps: the connection broke after it was handed over
    │   │   └── Failed         hardly ever: the server answered that it failed (5xx)
    │   └── TimedOut         perhaps (python-telegram-bot's own)
    └── Flooded              certainly not carried out: 429
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from telegram.error import NetworkError, TelegramError, TimedOut
from telegram.request import BaseRequest, RequestData
from yarl import URL

from bot.errors import BadConfiguration


class Unreachable(NetworkError):
    """No connection: certainly not sent."""


class Refused(NetworkError):
    """Turned away before the Bot API saw it (a proxy's or another server's page): certainly not sent."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Broken(NetworkError):
    """The connection or the server failed after the request was handed over: it may have been carried out."""


class Failed(Broken):
    """The server, or a proxy in front of it, answered 5xx: rarely, it was carried out all the same."""


class TooLarge(TelegramError):
    """The download was stopped: there is more of it than was asked for."""


class Flooded(TelegramError):
    """429: certainly not carried out.

    In place of `telegram.error.RetryAfter`, which warns about its own changing type whenever it is made.
    """

    def __init__(self, after_s: float) -> None:
        super().__init__(f"flooded, again after {after_s:g} s")
        self.after_s = after_s


CONNECT_S = 10.0
ANSWER_S = 20.0
"""Telegram answers within one; a customer waits for the rest."""
WRITE_S = 20.0
MAX_ANSWER = 32 * 2**20
"""Bytes of one answer; 100 updates of the largest kind stay well below."""

_RECEIPT = frozenset({"message_id", "date", "chat"})
_TELEGRAM_ANSWERS = frozenset({400, 401, 403, 404, 409})
_PERHAPS_S = 5.0
"""A 429 that does not say how long (a proxy's): a guess."""


class AiohttpRequest(BaseRequest):
    """One pool of connections to one Bot API server.  Open it with `initialize`, close it with `shutdown`."""

    def __init__(
        self, *, connections: int = 32, answer_s: float = ANSWER_S, proxy: str | None = None
    ) -> None:
        self._connections = connections
        self._answer_s = answer_s
        self.connect_s = CONNECT_S
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None

    @property
    def read_timeout(self) -> float:
        """Seconds to wait for an answer unless the call says otherwise."""
        return self._answer_s

    async def initialize(self) -> None:
        """Open the pool; calling twice is harmless."""
        if self._session is None or self._session.closed:
            # Idle connections are dropped before Telegram's front end drops them (it waits about a
            # minute): a connection that dies under a request leaves open whether it was carried out.
            connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30, ttl_dns_cache=300)
            self._session = aiohttp.ClientSession(
                connector=connector,
                # Without these a small answer could unpack to gigabytes.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "photo-support-bot"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )

    async def shutdown(self) -> None:
        """Close every connection; calling twice is harmless."""
        if self._session is not None:
            await self._session.close()

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: object = BaseRequest.DEFAULT_NONE,
        write_timeout: object = BaseRequest.DEFAULT_NONE,
        connect_timeout: object = BaseRequest.DEFAULT_NONE,
        pool_timeout: object = BaseRequest.DEFAULT_NONE,
    ) -> tuple[int, bytes]:
        """One exchange with the server.  Raises the errors above."""
        call = _name(url)
        timeout = _timeout(
            connect_s=_seconds(connect_timeout, self.connect_s) + _seconds(pool_timeout, 0.0),
            read_s=_seconds(read_timeout, self._answer_s),
            write_s=_seconds(write_timeout, WRITE_S),
        )
        body, content_type = _body(request_data)
        status, payload, headers = await self._exchange(
            method,
            url,
            call=call,
            timeout=timeout,
            body=body,
            content_type=content_type,
            max_bytes=MAX_ANSWER,
        )
        return _judge(call, status, payload, headers), payload

    async def download(self, url: str, *, max_bytes: int, timeout_s: float = 60.0) -> bytes:
        """The file behind `url`, read no further than `max_bytes`, whatever the server announces.

        Raises `TooLarge`, `Refused` (with the status, when the server does not give it), or the
        errors of a connection.
        """
        call = "download"
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=self.connect_s, sock_read=self._answer_s)
        status, payload, headers = await self._exchange(
            "GET", url, call=call, timeout=timeout, max_bytes=max_bytes
        )
        if status == HTTPStatus.OK:
            return payload
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Flooded(_retry_after(None, headers))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Broken(f"{call}: HTTP {status}")
        raise Refused(f"{call}: HTTP {status}", status=status)

    async def _exchange(
        self,
        method: str,
        url: str,
        *,
        call: str,
        timeout: aiohttp.ClientTimeout,
        max_bytes: int,
        body: bytes | aiohttp.FormData | None = None,
        content_type: str = "",
    ) -> tuple[int, bytes, Any]:
        if self._session is None:
            raise RuntimeError("AiohttpRequest is used before initialize()")
        headers = {"Content-Type": content_type} if content_type else None
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                data=body,
                headers=headers,
                timeout=timeout,
                proxy=self._proxy,
                allow_redirects=False,  # the Bot API has none, and following one would carry the token away
            ) as response:
                payload = await _read(response, max_bytes, call=call)
                return response.status, payload, response.headers
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            problem = _translate(error, call)
        # Raised out here so that the original, whose text holds the URL, is not chained to it.
        raise problem

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """The answer as an object.  Unlike the parent's it does not log what it could not read.

        Of a message that was sent only its number, time and place are kept: to make objects of our own
        words, their entities and buttons took longer than to send them.
        """
        try:
            answer = json.loads(payload)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or (answer.get("ok") is True and "result" not in answer):
            raise Broken("the server's answer is not the Bot API's")
        result = answer.get("result")
        if isinstance(result, dict) and result.keys() >= _RECEIPT:
            answer["result"] = {name: result[name] for name in _RECEIPT}
        return answer


def environment_proxy(url: str) -> str | None:
    """The proxy that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name for this address.

    Read once: aiohttp's own `trust_env` reads the environment and ~/.netrc for every request.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    if urlsplit(proxy).scheme not in {"http", "https"}:
        raise BadConfiguration(
            [f"{parts.scheme.upper()}_PROXY: only an http:// proxy can be used for Telegram"]
        )
    return proxy


def _name(url: str) -> str:
    """`sendMessage`: the part of a URL that may be shown."""
    return url.partition("?")[0].rpartition("/")[2]


def _seconds(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


def _timeout(*, connect_s: float, read_s: float, write_s: float) -> aiohttp.ClientTimeout:
    # `connect` includes waiting for a free connection.  `total` only backs up a server that sends
    # one byte at a time; it is the sum, so that it cannot strike while still connecting.
    return aiohttp.ClientTimeout(total=connect_s + write_s + read_s, connect=connect_s, sock_read=read_s)


def _body(data: RequestData | None) -> tuple[bytes | aiohttp.FormData | None, str]:
    if data is None:
        return None, ""
    if not data.contains_files:
        return json.dumps(data.parameters).encode(), "application/json"
    form = aiohttp.FormData(data.json_parameters)
    for name, (filename, content, mime) in data.multipart_data.items():
        form.add_field(name, content, filename=filename, content_type=mime)
    return form, ""


async def _read(response: aiohttp.ClientResponse, max_bytes: int, *, call: str) -> bytes:
    length = response.content_length
    if length is not None and length <= max_bytes:
        return await response.read()  # the parser itself ends the body at the announced length
    if length is not None:
        response.close()
        raise TooLarge(f"{call}: {length} bytes announced, at most {max_bytes} wanted")
    received = bytearray()
    async for chunk in response.content.iter_any():
        received += chunk
        if len(received) > max_bytes:
            response.close()
            raise TooLarge(f"{call}: more than {max_bytes} bytes came")
    return bytes(received)


def _judge(call: str, status: int, payload: bytes, headers: Any) -> int:
    """The status that python-telegram-bot should act on; raises for what it would misread."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        if payload[:11] == b'{"ok":true,':
            return status
        answer = _object(payload)
        if answer is None or not isinstance(answer.get("ok"), bool):
            raise Broken(f"{call}: HTTP {status} with something that is not the Bot API's answer")
        return status if answer["ok"] else int(answer.get("error_code") or HTTPStatus.INTERNAL_SERVER_ERROR)
    answer = _object(payload)
    if status == HTTPStatus.TOO_MANY_REQUESTS or (answer is not None and _named_delay(answer) is not None):
        raise Flooded(_retry_after(answer, headers))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Failed(f"{call}: HTTP {status}")
    if answer is None or status not in _TELEGRAM_ANSWERS:
        raise Refused(f"{call}: HTTP {status}, not from the Bot API", status=status)
    return status


def _object(payload: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _named_delay(answer: dict[str, Any]) -> float | None:
    parameters = answer.get("parameters")
    delay = parameters.get("retry_after") if isinstance(parameters, dict) else None
    return float(delay) if isinstance(delay, int | float) and delay > 0 else None


def _retry_after(answer: dict[str, Any] | None, headers: Any) -> float:
    """Seconds: what the Bot API says, else the header, else a guess; never more than an hour."""
    delay = _named_delay(answer) if answer is not None else None
    if delay is None:
        header = headers.get("Retry-After", "")
        delay = float(header) if header.isdecimal() else _PERHAPS_S
    return min(delay, 3600.0)


def _translate(error: Exception, call: str) -> TelegramError:
    kind = type(error).__name__
    never_left = (
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientConnectorError,
        aiohttp.ClientHttpProxyError,
        aiohttp.InvalidURL,
        aiohttp.NonHttpUrlClientError,
    )
    if isinstance(error, never_left):
        number = getattr(error, "errno", None)
        return Unreachable(f"{call}: no connection ({kind}{f', errno {number}' if number else ''})")
    if isinstance(error, TimeoutError):
        return TimedOut(f"{call}: no answer in time")
    return Broken(f"{call}: the connection broke ({kind})")
