"""Pictures that apps send: checked one by one, and remembered while a conversation repeats them.

An app sends its whole conversation with every question, so the same picture arrives again and again.
Checking it takes about 40 ms in a child process; here each one is checked only once.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass

from bot.errors import BotError
from bot.metrics import Metrics
from bot.studio import image_of
from context.photos import Intake
from context.turns import Rejection
from prompts.prompt import PromptImage

AGE_S = 600.0
"""How long a picture is remembered, from when it was first seen; then it is forgotten completely."""
MOST_BYTES = 32 * 1024 * 1024
"""Limit of all remembered pictures together, about 200 of them; the oldest are dropped first."""
_IN_THREAD = 1024 * 1024
"""Larger files are hashed outside the event loop."""


class BadPicture(BotError):
    """A picture that cannot be used.  `code` is one of `context.photos.REJECTIONS`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"a picture is refused: {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class _Remembered:
    image: PromptImage
    end: asyncio.TimerHandle


class Pictures:
    """Checks pictures.  They are remembered in memory only, by key: no key learns what another one sent."""

    def __init__(self, intake: Intake, *, metrics: Metrics) -> None:
        self._intake = intake
        self._metrics = metrics
        self._eye = asyncio.Semaphore(1)  # customers' pictures have the other places at the intake
        self._remembered: dict[tuple[str, bytes], _Remembered] = {}
        self._bytes = 0

    async def look(self, data: bytes, *, key_id: str = "") -> PromptImage:
        """The picture as the model gets it.  Raises `BadPicture`.

        It is remembered for the given key, or not at all without one.
        """
        name = (key_id, await _digest(data)) if key_id else None
        if name is not None and (found := self._remembered.get(name)):
            return found.image
        async with self._eye:
            began = time.perf_counter()
            taken = await image_of(data, self._intake)
            self._metrics.observe("look", time.perf_counter() - began)
        self._metrics.photo(taken.code if isinstance(taken, Rejection) else "ok")
        if isinstance(taken, Rejection):
            raise BadPicture(taken.code)
        if name is not None:
            self._remember(name, taken)
        return taken

    def forget(self) -> None:
        """Forget all pictures."""
        while self._remembered:
            self._drop(next(iter(self._remembered)))

    def _remember(self, name: tuple[str, bytes], image: PromptImage) -> None:
        self._drop(name)  # the same one may have been looked at twice at a time
        end = asyncio.get_running_loop().call_later(AGE_S, self._drop, name)
        self._remembered[name] = _Remembered(image, end)
        self._bytes += len(image.jpeg)
        while self._bytes > MOST_BYTES:
            self._drop(next(iter(self._remembered)))

    def _drop(self, name: tuple[str, bytes]) -> None:
        if dropped := self._remembered.pop(name, None):
            dropped.end.cancel()
            self._bytes -= len(dropped.image.jpeg)


async def _digest(data: bytes) -> bytes:
    def digest() -> bytes:
        return hashlib.sha256(data).digest()

    return await asyncio.to_thread(digest) if len(data) > _IN_THREAD else digest()
