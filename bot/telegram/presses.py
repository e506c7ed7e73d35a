"""Presses of the buttons below an answer: stored, then acknowledged in any case.

Telegram shows a spinner on the button until the press is acknowledged, so that always happens, in the
background; its failure does not lose the press.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from telegram.error import TelegramError

from bot.telegram.api import UNREADABLE, BotApi, words
from bot.telegram.buttons import Press, after, label, read
from bot.telegram.updates import Pressed
from context.feedback import REASONS, Cast, NotTheirs
from context.turns import Arrival, Kind

_log = logging.getLogger(__name__)

_ANSWER_S = 10.0


class Presses:
    """Stores presses.  Repeating one is harmless."""

    def __init__(
        self, api: BotApi, *, cast: Cast, put: Callable[[Sequence[Arrival]], Awaitable[object]]
    ) -> None:
        self._api = api
        self._cast = cast
        self._put = put
        self._courtesies: set[asyncio.Task[None]] = set()

    async def take(self, pressed: Pressed) -> None:
        """Store a press; raises what the store raises, and then Telegram delivers it again."""
        press = read(pressed.data)
        is_known = press is not None
        if press is not None:
            try:
                await self._keep(pressed, press)
            except NotTheirs:  # of a conversation that was erased, or a made-up one
                is_known = False
        task = asyncio.create_task(self._acknowledge(pressed, press, is_known=is_known))
        self._courtesies.add(task)
        task.add_done_callback(self._courtesies.discard)

    async def close(self) -> None:
        """Cancel pending acknowledgements."""
        for task in self._courtesies:
            task.cancel()
        await asyncio.gather(*self._courtesies, return_exceptions=True)

    async def _keep(self, pressed: Pressed, press: Press) -> None:
        if press.what == "human":  # as if they had typed it
            name = f"press:{pressed.query_id}"
            await self._put(
                [
                    Arrival(
                        pressed.chat,
                        pressed.source,
                        name,
                        Kind.COMMAND,
                        command="human",
                        hint=press.language,
                        sender=pressed.sender,
                        sent_at=time.time(),
                    )
                ]
            )
            return
        reason = press.what if press.what in REASONS else ""
        await self._cast(pressed.chat, press.turn, press.question, press.vote, reason=reason)

    async def _acknowledge(self, pressed: Pressed, press: Press | None, *, is_known: bool) -> None:
        language = press.language if press else "zh" if pressed.hint.startswith("zh") else "en"
        text = label("thanks" if is_known else "old", language)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                try:
                    await self._api.bot.answer_callback_query(pressed.query_id, text=text)
                except (TelegramError, *UNREADABLE) as error:  # too old, by the time we were back, say
                    _log.info("telegram: a press was not acknowledged: %s", _said(error))
                try:
                    await self._api.bot.edit_message_reply_markup(
                        pressed.chat.address,
                        int(pressed.message_id),
                        reply_markup=after(press) if press and is_known else None,
                    )
                except (TelegramError, *UNREADABLE) as error:
                    if "not modified" not in str(error):
                        _log.info("telegram: buttons were not changed: %s", _said(error))


def _said(error: Exception) -> str:
    return words(error) if isinstance(error, TelegramError) else type(error).__name__
