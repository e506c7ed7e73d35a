"""A guard model's server on a real socket: answers as told, remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class JudgeServer:
    """`answer` is the model's text, or bytes for a raw body; `asked` holds the bodies that came."""

    url: str = ""
    answer: str | bytes = "Safety: Safe\nCategories: None\nRefusal: No"
    status: int = 200
    stalls: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        """One question."""
        self.asked.append(await request.json())
        self.paths.append(request.path)
        self.keys.append(request.headers.get("Authorization", ""))
        if self.stalls:
            await self.released.wait()
        if isinstance(self.answer, bytes):
            return web.Response(body=self.answer, status=self.status, content_type="application/json")
        choice = {"message": {"role": "assistant", "content": self.answer}}
        return web.json_response({"choices": [choice]}, status=self.status)


@asynccontextmanager
async def serve_judge() -> AsyncIterator[JudgeServer]:
    """The server, up for the length of the block."""
    judge = JudgeServer()
    app = web.Application()
    app.router.add_post("/v1/{path:.*}", judge.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    judge.url = f"http://{host}:{port}/v1"
    try:
        yield judge
    finally:
        judge.released.set()
        await runner.cleanup()
