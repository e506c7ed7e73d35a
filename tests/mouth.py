"""A channel that does with each part what a test tells it to."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from context.turns import Attachment, Chat, Part, Receipt


class Mouth:
    """Each part meets the next fate: an error that is raised, or None and it is said."""

    name = "telegram"

    def __init__(self, *fates: Exception | asyncio.CancelledError | None) -> None:
        self.fates = list(fates)
        self.said: list[str] = []
        self.formatted: list[bool] = []
        self.tried = 0
        self.is_free = asyncio.Event()
        """While it is not set, nothing may be said yet."""
        self.is_free.set()

    async def fetch(self, attachment: Attachment) -> bytes:
        raise NotImplementedError

    async def ready(self, chat: Chat) -> None:
        await self.is_free.wait()

    async def send(self, chat: Chat, part: Part) -> Receipt:
        self.tried += 1
        fate = self.fates.pop(0) if self.fates else None
        if fate is not None:
            raise fate
        self.said.append(part.text)
        self.formatted.append(bool(part.entities))
        return Receipt(str(self.tried), 1.0)

    def typing(self, chat: Chat) -> AbstractAsyncContextManager[None]:
        return nullcontext()
