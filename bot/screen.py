"""The check of questions: a customer's words and the text on their photos, judged while the model writes.

This happens only if a guard model is configured; our own rules look at the words in `Guard.inspect`.  If the
guard model calls a question unsafe, the model's answer is not used.  Any lesser opinion is recorded, and
counts when question and reply are judged together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from bot.engines import Draft
from bot.engines.ocr import OcrUnavailable, Reader
from bot.guard import Action, Guard, Opinion
from prompts.prompt import PromptImage

READING_S = 5.0
"""Time limit for the text on all photos of a message together; what is not read by then is not judged."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A question as the guard model sees it."""

    photo_text: str = ""
    opinion: Opinion | None = None
    """None if the guard model was not asked."""

    @property
    def is_refused(self) -> bool:
        """Whether no answer of the model to this question may be sent."""
        return self.opinion is not None and not self.opinion.shadow and self.opinion.action is Action.BLOCK


class Screen:
    """Checks questions.  Safe for concurrent use; with `reader=None` the photos are not read."""

    def __init__(self, guard: Guard, *, reader: Reader | None = None, reading_s: float = READING_S) -> None:
        self._guard = guard
        self._reader = reader
        self._reading_s = reading_s

    async def beside(
        self, asked: str, images: Sequence[PromptImage], drafting: Coroutine[Any, Any, Draft]
    ) -> tuple[Draft | None, Seen]:
        """The draft, made while the question is checked; None if the question is refused.

        Raises whatever the drafting raises.  Whichever of the two is no longer needed is cancelled.
        """
        if not self._guard.has_second:
            return await drafting, Seen()
        looking = asyncio.create_task(self._look(asked, images), name="screen")
        writing = asyncio.create_task(drafting, name="draft")
        try:
            await asyncio.wait((looking, writing), return_when=asyncio.FIRST_COMPLETED)
            if looking.done() and looking.result().is_refused:
                return None, looking.result()
            draft = await writing
            seen = await looking
            return (None if seen.is_refused else draft), seen
        finally:
            for task in (looking, writing):
                task.cancel()
            await asyncio.gather(looking, writing, return_exceptions=True)

    async def _look(self, asked: str, images: Sequence[PromptImage]) -> Seen:
        text = await self._read(images)
        signals = await self._guard.screen(asked, photo_text=text)
        return Seen(text, signals.opinion)

    async def _read(self, images: Sequence[PromptImage]) -> str:
        if self._reader is None:
            return ""
        lines: list[str] = []
        try:
            async with asyncio.timeout(self._reading_s):
                for image in images:
                    read = await self._reader.read(image.jpeg, enough=lambda _: True)
                    lines += [line.text for line in read]
        except (OcrUnavailable, TimeoutError) as error:
            log.warning("photos are judged without all of their text: %s", type(error).__name__)
        return "\n".join(lines)
