"""The whole bot, booted as `python -m bot` boots it, between a Telegram and a model server of ours."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bot.app import App, open_app
from bot.guard import Guard
from bot.settings import Settings
from tests.bot_api import BotApiServer
from tests.model_server import ModelServer, Received, text_of
from tests.until import PATIENCE_S

Colour = tuple[int, int, int]
TAG = re.compile(r"\bc\d+t\d+\b")
"""How the tests mark a customer's words: chat and turn."""


@dataclass(frozen=True, slots=True)
class World:
    app: App
    telegram: BotApiServer
    model: ModelServer


def settings_for(
    folder: Path, telegram: BotApiServer | None, model: ModelServer | None, **more: Any
) -> Settings:
    """Settings as the environment would give them, without this machine's environment."""
    given: dict[str, Any] = {"data_dir": folder / "data", "http_port": 0, "telegram_chat_sends_per_s": 0}
    given |= {"telegram_sends_per_s": 0, "model_timeout_s": PATIENCE_S, "guard_timeout_s": PATIENCE_S}
    given |= dict.fromkeys(("customer_messages_per_min", "customer_messages_per_day"), 0)
    given |= dict.fromkeys(("customer_photos_per_hour", "customer_tokens_per_day"), 0)
    if telegram is not None:
        given |= {"telegram_bot_token": telegram.token, "telegram_api_url": telegram.url}
    if model is not None:
        given |= {"model_url": model.url, "model": "stub-model"}
    return Settings(**(given | more))


@asynccontextmanager
async def world(
    folder: Path,
    *,
    model: ModelServer | None = None,
    telegram: BotApiServer | None = None,
    guard: Guard | None = None,
    **more: Any,
) -> AsyncIterator[World]:
    """A running bot with its servers; `more` are settings."""
    async with (
        telegram or BotApiServer() as api,
        model or ModelServer(answer=noted) as server,
        open_app(settings_for(folder, api, server, **more), guard=guard) as app,
    ):
        await app.ready.wait()
        yield World(app, api, server)


class Script:
    """A model that answers as written for questions that hold a word, and else as `noted`."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}

    def __call__(self, request: Received) -> str:
        for word, answer in self.answers.items():
            if word in request.last_text:
                return answer
        return noted(request)


def noted(request: Received) -> str:
    """An answer that names the newest words, so that a test sees which question it belongs to."""
    return f"Noted: {' '.join(tags(request)[-1])}."


def asked(w: World, word: str) -> list[Received]:
    """The requests whose newest question holds `word`."""
    return [request for request in w.model.requests if word in request.last_text]


def tags(request: Received) -> list[list[str]]:
    """The marks in each user message of a prompt, oldest first."""
    return [TAG.findall(text_of(message)) for message in request.messages if message["role"] == "user"]


async def newest_record(w: World) -> dict[str, Any]:
    """What the ledger of verdicts says of the newest answer."""
    await w.app.stores.verdicts.seal()
    head = await w.app.stores.verdicts.head()
    record: dict[str, Any] = json.loads(head.payload or "{}") if head is not None else {}
    return record


def picture(colour: Colour, *, size: tuple[int, int] = (320, 240)) -> bytes:
    """A JPEG of one colour: enough to know it again."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG", quality=92)
    return file.getvalue()


def colours(request: Received) -> list[Colour]:
    """The colour in the middle of every picture in a prompt, in order."""
    found = []
    for url in request.images:
        image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
        pixel = image.getpixel((image.width // 2, image.height // 2))
        assert isinstance(pixel, tuple)
        found.append((int(pixel[0]), int(pixel[1]), int(pixel[2])))
    return found


def same_colour(one: Colour, other: Colour) -> bool:
    """Equal but for what JPEG does to it."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 6
