"""Patience: who waits long for an answer because others asked before is told so, once.

A side message: tried once, never sent again, in no transcript, and never after the answer, which waits for
it.  Only what is truly known is said: how many questions are before theirs, and the seconds where answers
end often enough to tell a pace.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from bot.engines.line import Ahead, Line
from bot.reveal import OnWords
from bot.sender import Sender
from bot.stages import Stages
from bot.turn import Answers
from bot.waits import event_or
from context.turns import Chat, Message, Reply, Turn
from prompts.prompts import Prompts

log = logging.getLogger(__name__)

LOOK_S = 6.0
"""Before the first look at the line, and between two."""
SHORT_S = 5.0
"""A wait that is expected to be over so soon is not mentioned."""
AGAIN_S = 300.0
"""A chat is told once in this time, however often its question starts again."""


class Patience:
    """Wraps `Answers` and tells those who wait long how long it may take."""

    def __init__(
        self,
        answers: Answers,
        *,
        line: Line,
        sender: Sender,
        prompts: Prompts,
        is_held: Callable[[Chat], bool],
    ) -> None:
        self._answers = answers
        self._line = line
        self._sender = sender
        self._prompts = prompts
        self._is_held = is_held
        self._told: dict[Chat, float] = {}

    async def answer(
        self, message: Message, turns: Sequence[Turn], stages: Stages, *, show: OnWords | None = None
    ) -> Reply:
        """The answer; while others are before it, the customer is told how many."""
        is_over = asyncio.Event()
        telling: list[asyncio.Task[None]] = []

        def begin() -> None:
            telling.append(asyncio.create_task(self._tell(message, is_over), name="tell who waits"))

        timer = asyncio.get_running_loop().call_later(LOOK_S, begin)  # few answers take so long
        try:
            return await self._answers.answer(message, turns, stages, show=show)
        finally:
            timer.cancel()
            is_over.set()
            if telling:
                # What is being sent is finished before the answer.
                for failed in filter(None, await asyncio.gather(*telling, return_exceptions=True)):
                    log.error("who waits could not be told", extra={"error": type(failed).__name__})

    def instead(self, name: str, message: Message) -> Reply:
        """Nobody waits for fixed words."""
        return self._answers.instead(name, message)

    async def _tell(self, message: Message, is_over: asyncio.Event) -> None:
        chat = message.chat
        while not is_over.is_set():
            ahead = self._line.ahead(chat.alias)
            if ahead is None or not _is_long(ahead):
                await event_or(is_over, asyncio.get_running_loop().time() + LOOK_S)
                continue
            if self._is_held(chat) or not self._is_first(chat):
                return
            words = self._prompts.notice(
                "waiting", message.language, questions=ahead.questions, seconds=_rounded(ahead.seconds)
            )
            await self._sender.tell(chat, words)
            return

    def _is_first(self, chat: Chat) -> bool:
        now = time.monotonic()
        self._told = {told: at for told, at in self._told.items() if at > now - AGAIN_S}
        if chat in self._told:
            return False
        self._told[chat] = now
        return True


def _is_long(ahead: Ahead) -> bool:
    return ahead.questions > 0 and (ahead.seconds is None or ahead.seconds >= SHORT_S)


def _rounded(seconds: float | None) -> int:
    """Up to tens, which is as well as it is known; 0 for nobody knows."""
    return 0 if seconds is None else 10 * math.ceil(seconds / 10)
