"""A Telegram Bot API server of our own: real HTTP on this machine, Telegram's rules, faults on demand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import parse_qsl

from aiohttp import web

from tests.bot_api.faults import Faults, Refusal
from tests.bot_api.methods import Methods
from tests.bot_api.people import Json, Person, Room
from tests.bot_api.state import Call, Sent, State
from tests.until import PATIENCE_S

TOKEN = "700100200:AAF-not-a-real-token_0123456789abcdef"


class BotApiServer:
    """The server, and the customers who use it.

    `async with BotApiServer() as telegram:` and point the bot at `telegram.url` with
    `telegram.token`.  Everything the bot does is in `calls` and `sent`, in order, with times.
    """

    def __init__(
        self,
        *,
        token: str = TOKEN,
        username: str = "support_bot",
        host: str = "127.0.0.1",
        port: int = 0,
        latency_s: float = 0.0,
        webhook_retry_s: float = 1.0,
        remember: bool = True,
        webhook_tls: ssl.SSLContext | None = None,
    ) -> None:
        self.token = token
        self.faults = Faults()
        self.state = State(token=token, username=username, retry_s=webhook_retry_s)
        self.state.queue.tls = webhook_tls
        self.extra: Callable[[web.BaseRequest], Any] | None = None
        """Answers what is no Bot API path; used by the stand-alone process."""
        self._methods = Methods(self.state)
        self._host = host
        self._port = port
        self._latency_s = latency_s
        self._remember = remember
        self._runner: web.ServerRunner | None = None
        self._taken: dict[int, int] = {}
        self._news = asyncio.Event()

    @property
    def url(self) -> str:
        """For `TELEGRAM_API_URL`."""
        return f"http://{self._host}:{self._port}"

    @property
    def calls(self) -> list[Call]:
        """Every request so far."""
        return self.state.calls

    @property
    def sent(self) -> list[Sent]:
        """Every message the bot sent, in the order accepted."""
        return self.state.sent

    @property
    def pending(self) -> int:
        """Updates that the bot has not confirmed."""
        return len(self.state.queue)

    async def start(self) -> None:
        """Listen; after `stop` it comes back at the same address."""
        server = web.Server(self._answer, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections; chats and updates stay."""
        await self.state.queue.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def customer(self, chat_id: int = 1001, *, name: str = "Li Wei", language: str = "en") -> Person:
        """Somebody in a private chat with the bot."""
        room = self.state.rooms.setdefault(chat_id, Room(chat_id, name=name))
        return self._person(room, chat_id, name, language)

    def member(
        self,
        group_id: int,
        user_id: int = 2001,
        *,
        name: str = "Ann",
        language: str = "en",
    ) -> Person:
        """Somebody in a group that the bot is in."""
        room = self.state.rooms.setdefault(group_id, Room(group_id, type="supergroup", title="Owners"))
        return self._person(room, user_id, name, language)

    def push(self, update: object) -> None:
        """An update of any shape at all."""
        self.state.queue.add_raw(update)

    def sent_to(self, chat_id: int) -> list[Sent]:
        """All messages to this chat."""
        return self.state.by_chat[chat_id]

    def calls_of(self, method: str, chat_id: int | None = None) -> list[Call]:
        """The requests for one method."""
        return [c for c in self.calls if c.method == method and chat_id in {None, c.chat}]

    async def replies(self, chat_id: int, n: int = 1, *, timeout: float = PATIENCE_S) -> list[Sent]:
        """The next `n` messages to this chat that no earlier call returned; waits for them."""
        start = self._taken.get(chat_id, 0)
        await self.until(lambda: len(self.sent_to(chat_id)) >= start + n, timeout=timeout)
        self._taken[chat_id] = start + n
        return self.sent_to(chat_id)[start : start + n]

    async def reply(self, chat_id: int, *, timeout: float = PATIENCE_S) -> None:
        """Wait for the next message to this chat from now on; cheap with many chats waiting."""
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.state.listeners[chat_id] = heard
        async with asyncio.timeout(timeout):
            await heard

    async def until(self, condition: Callable[[], bool], *, timeout: float = PATIENCE_S) -> None:
        """Wait for something to be true; looked at again after every request and 50 times a second."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._news.wait()

    def _person(self, room: Room, user_id: int, name: str, language: str) -> Person:
        return Person(
            room,
            user_id=user_id,
            name=name,
            language=language,
            deliver=self.state.queue.add,
            keep_file=self.state.keep_file,
            new_id=self.state.new_id,
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        kind, _, rest = request.path.lstrip("/").partition("/")
        if kind == "file":
            token, _, path = rest.partition("/")
            if token == f"bot{self.token}":
                return await self._call(request, "download", {"path": path}, lambda: self._download(path))
        elif kind.startswith("bot"):
            if kind != f"bot{self.token}":
                return Refusal(401, "Unauthorized").response()
            parameters = await _parameters(request)
            return await self._call(request, rest, parameters, lambda: self._do(rest, parameters))
        elif self.extra is not None:
            answer: web.StreamResponse = await self.extra(request)
            return answer
        return Refusal(404, "Not Found").response()

    async def _call(
        self, request: web.BaseRequest, method: str, parameters: Json, carry_out: Callable[[], Any]
    ) -> web.StreamResponse:
        chat = _number(parameters.get("chat_id"))
        call = Call(time.time(), method, chat, parameters)
        if self._remember:
            self.calls.append(call)
        try:
            if self._latency_s:
                await asyncio.sleep(self._latency_s)
            fault = self.faults.next(method, chat)
            answer: web.StreamResponse = await (fault(request, carry_out) if fault else carry_out())
            call.status = answer.status if request.transport and not request.transport.is_closing() else 0
            return answer
        finally:
            self._news.set()

    async def _do(self, method: str, parameters: Json) -> web.Response:
        known = self._methods.table.get(method)
        if known is None:
            return Refusal(404, "Not Found").response()
        try:
            result = await known(parameters)
        except Refusal as refusal:
            return refusal.response()
        body = json.dumps({"ok": True, "result": result}, separators=(",", ":"))
        return web.Response(body=body.encode(), content_type="application/json")

    async def _download(self, path: str) -> web.Response:
        file = self.state.file_at(path)
        if file is None:
            return Refusal(404, "Not Found: file").response()
        return web.Response(body=file.data, content_type="application/octet-stream")


async def _parameters(request: web.BaseRequest) -> Json:
    """From the query, a form, or JSON: the Bot API takes all three."""
    found: Json = dict(request.query)
    if request.content_type == "application/json":
        found |= await request.json()
    elif request.content_type == "multipart/form-data":
        found |= await request.post()
    elif request.can_read_body:
        found |= parse_qsl((await request.read()).decode(), keep_blank_values=True)
    return found


def _number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None
