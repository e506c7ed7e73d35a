"""The whole bot with its API on, and a client that holds a key."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from bot.guard import Guard
from tests.model_server import ModelServer, Received
from tests.web_world import browse
from tests.world import World, picture, world

KEY = "sk-test-0123456789abcdef"
RED = (220, 30, 30)


@dataclass(frozen=True, slots=True)
class ApiWorld:
    w: World
    client: httpx.AsyncClient

    async def chat(self, *messages: dict[str, Any], **more: Any) -> httpx.Response:
        body = {"model": "support", "messages": list(messages)} | more
        return await self.client.post("/v1/chat/completions", json=body)


def said(request: Received) -> str:
    """An answer that names how much arrived."""
    return f"I see {len(request.images)} photos. Please switch it off first."


@asynccontextmanager
async def api_world(
    folder: Path, *, model: ModelServer | None = None, guard: Guard | None = None, **more: Any
) -> AsyncIterator[ApiWorld]:
    given = {"api_keys": KEY} | more
    async with (
        world(folder, model=model or ModelServer(answer=said), guard=guard, **given) as w,
        browse(w.app.url, authorization=f"Bearer {KEY}") as client,
    ):
        yield ApiWorld(w, client)


def user(text: str, *images: str) -> dict[str, Any]:
    if not images:
        return {"role": "user", "content": text}
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def data_url(jpeg: bytes | None = None) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg or picture(RED)).decode()


def events(text: str) -> list[Any]:
    """The events of a stream, comments left out; `[DONE]` as it is."""
    data = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    return [each if each == "[DONE]" else json.loads(each) for each in data]


async def broken_off(w: World) -> int:
    """Answers on record that broke off."""
    await w.app.stores.verdicts.seal()
    counted = sa.text("SELECT COUNT(*) FROM verdicts WHERE payload LIKE '%\"broke_off\"%'")
    return await w.app.stores.db.read(lambda c: int(c.execute(counted).scalar_one()))


async def have_broken_off(w: World, rows: int) -> bool:
    """Whether so many are on record by now."""
    return await broken_off(w) == rows
