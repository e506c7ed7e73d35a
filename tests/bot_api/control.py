"""The stand-alone server's own paths: say something, hold many conversations, look at what came back."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web
from PIL import Image

from tests.bot_api.people import Person
from tests.bot_api.server import BotApiServer


@dataclass(slots=True)
class Talk:
    """How the conversations went."""

    turns: int
    answered: int = 0
    seconds: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    """From the customer's message to the reply: p50, p95, p99, max."""


class Control:
    """`/control/...`; bodies and answers are JSON."""

    def __init__(self, server: BotApiServer) -> None:
        self._server = server

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """One request."""
        options: dict[str, Any] = json.loads(await request.read() or b"{}") | dict(request.query)
        match request.path:
            case "/control/say":
                person = self._server.customer(int(options.get("chat", 1)))
                said = _say(person, str(options.get("text", "")), _photo(options))
                return web.json_response({"message_id": said})
            case "/control/sent":
                sent = self._server.sent_to(int(options.get("chat", 1)))
                return web.json_response([asdict(item) for item in sent])
            case "/control/converse":
                return web.json_response(asdict(await self._converse(options)))
        return web.json_response({"known": ["say", "sent", "converse"]}, status=404)

    async def _converse(self, options: dict[str, Any]) -> Talk:
        """So many chats at once, each sending its next message when the last one was answered.

        Options: `chats`, `turns`, `photos` (each message is a photo with a caption), `photo`
        (base64), `first` (chat id), `timeout_s`.
        """
        chats, turns = int(options.get("chats", 1)), int(options.get("turns", 1))
        first, timeout_s = int(options.get("first", 1)), float(options.get("timeout_s", 60))
        talk, photo = Talk(chats * turns), _photo(options)
        latencies: list[float] = []
        began = time.perf_counter()

        async def chat(chat_id: int) -> None:
            person = self._server.customer(chat_id)
            for turn in range(turns):
                asked = time.perf_counter()
                _say(person, f"chat {chat_id} turn {turn}: the display shows E4", photo)
                try:
                    await self._server.reply(chat_id, timeout=timeout_s)
                except TimeoutError:
                    return
                latencies.append(time.perf_counter() - asked)

        await asyncio.gather(*(chat(first + n) for n in range(chats)))
        talk.seconds = round(time.perf_counter() - began, 3)
        talk.answered = len(latencies)
        if latencies:
            latencies.sort()
            talk.latency_ms = {
                name: round(latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000, 2)
                for name, share in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            }
        return talk


def _say(person: Person, text: str, photo: bytes) -> int:
    return person.sends_photo(photo, caption=text) if photo else person.says(text)


def _photo(options: dict[str, Any]) -> bytes:
    """The one that was given, else a plain picture as large as phones send through Telegram."""
    if options.get("photo"):
        return base64.b64decode(options["photo"])
    if not options.get("photos"):
        return b""
    jpeg = io.BytesIO()
    Image.linear_gradient("L").resize((1280, 960)).convert("RGB").save(jpeg, "JPEG")
    return jpeg.getvalue()
