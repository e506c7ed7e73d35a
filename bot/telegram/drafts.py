"""Drafts: the beginning of an answer, seen in a private chat before the answer is sent.

`sendMessageDraft` shows it for half a minute and leaves nothing behind: the message that is sent is the
answer (https://core.telegram.org/bots/api#sendmessagedraft).  A courtesy, as the typing sign is: no failure
of it reaches a turn, and where a server does not know it, nothing is shown.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from telegram import MessageEntity
from telegram.error import BadRequest, InvalidToken, NetworkError, TelegramError

from bot.telegram.api import UNREADABLE, BotApi, words
from context.turns import Entity, Part

EVERY_S = 1.0
"""Shortest time between two drafts of one answer."""
LASTS_S = 20.0
"""A draft is shown again after this time: Telegram removes it after 30 s."""
ANSWER_S = 3.0
"""For one call; the answer itself waits so long for the last one, or a late draft would appear below it."""

_log = logging.getLogger(__name__)


class Drafts:
    """Shows drafts, unless the server does not support them."""

    def __init__(self, api: BotApi, *, is_busy: Callable[[str], bool], every_s: float = EVERY_S) -> None:
        """`is_busy` says whether messages to a chat are waiting, which leaves no room for drafts."""
        self._api = api
        self._is_busy = is_busy
        self._every_s = every_s
        self._is_known = True

    @asynccontextmanager
    async def open(self, address: str, thread: int | None) -> AsyncIterator[Draft | None]:
        """Yields what shows the beginning of an answer, or None if there are no drafts."""
        if not self._is_known or not address.isdecimal():  # groups have none; their numbers are negative
            yield None
            return
        draft = Draft()
        showing = asyncio.create_task(self._show(draft, int(address), thread), name="telegram draft")
        try:
            yield draft
        finally:
            draft.end()
            await asyncio.wait([showing], timeout=ANSWER_S)
            showing.cancel()

    async def _show(self, draft: Draft, chat: int, thread: int | None) -> None:
        number = secrets.randbelow(2**31 - 1) + 1
        while await draft.changed(within_s=LASTS_S):
            part = draft.part
            if part is None or self._is_busy(str(chat)):
                continue
            try:
                await self._api.bot.send_message_draft(
                    chat,
                    number,
                    part.text,
                    message_thread_id=thread,
                    entities=[entity_of(item) for item in part.entities] or None,
                    read_timeout=ANSWER_S,
                )
            except BadRequest as error:  # not in this chat
                _log.debug("telegram: draft: %s", words(error))
                return
            except InvalidToken:  # 404: the server is older than the method
                self._is_known = False
                _log.info("telegram: this Bot API server shows no drafts")
                return
            except (NetworkError, *UNREADABLE) as error:
                _log.debug("telegram: draft: %s", type(error).__name__)
            except TelegramError as error:  # flooded, or blocked
                _log.debug("telegram: draft: %s", words(error))
                return
            if await draft.ended(within_s=self._every_s):
                return


class Draft:
    """The visible beginning of one answer."""

    def __init__(self) -> None:
        self.part: Part | None = None
        self._news = asyncio.Event()
        self._end = asyncio.Event()

    def show(self, parts: Sequence[Part]) -> None:
        """Show the first part of an answer.  Without parts, what is not shown yet is withdrawn."""
        part = parts[0] if parts else None
        if part != self.part:
            self.part = part
            self._news.set()

    def end(self) -> None:
        """The answer is finished; show no more."""
        self.part = None
        self._end.set()
        self._news.set()

    async def changed(self, *, within_s: float) -> bool:
        """Wait for something new, or until the draft would disappear; False if it has ended."""
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return True
        self._news.clear()
        return not self._end.is_set()

    async def ended(self, *, within_s: float) -> bool:
        """Wait for this time; True if it ends before."""
        try:
            async with asyncio.timeout(within_s):
                await self._end.wait()
        except TimeoutError:
            return False
        return True


def entity_of(item: Entity) -> MessageEntity:
    """An entity in Telegram's format."""
    return MessageEntity(
        item.type, item.offset, item.length, url=item.url or None, language=item.language or None
    )
