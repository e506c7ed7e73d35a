"""Asks "did it work?" once, a day after the answer to a fault, if the chat has been silent since.

If nobody answers, that is no vote.  The question goes through the chat's inbox like everything else that is
said to a customer, so it is not asked while a person has the chat.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from bot.staff.deeds import FOLLOW_UP
from context.background import BackgroundTask
from context.db import StoreDown
from context.follow_ups import FollowUps
from context.health import Health
from context.inbox import Inbox
from context.turns import Arrival, Kind

log = logging.getLogger(__name__)

EVERY_S = 600.0
"""Time between two searches for chats that are due; ten minutes more or less do not matter."""


class FollowUp:
    """Asks the customers who are due, in the background, from `start` to `stop`."""

    def __init__(
        self,
        *,
        follow_ups: FollowUps,
        inbox: Inbox,
        after_h: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._follow_ups = follow_ups
        self._inbox = inbox
        self._after_s = after_h * 3600
        self._clock = clock
        self._background = BackgroundTask("follow up", self._run)

    def start(self) -> None:
        """Start, unless it is switched off; calling it twice is harmless."""
        if self._after_s:
            self._background.start()

    async def stop(self) -> None:
        """Stop."""
        await self._background.stop()

    def health(self) -> Health:
        """Always ok: nothing depends on it."""
        return Health("ok", "asks" if self._after_s else "switched off")

    async def look(self) -> int:
        """Ask every customer who is due, and return how many; nobody is asked twice."""
        due = await self._follow_ups.due(after_s=self._after_s)
        for chat, turn_id in due:
            name = f"follow:{turn_id}"
            asked = Arrival(
                chat,
                f"staff:{name}",
                f"staff:{name}",
                Kind.STAFF,
                command=FOLLOW_UP,
                reply_to=str(turn_id),
                sent_at=self._clock(),
            )
            await self._inbox.put([asked], first=self._follow_ups.asking(chat, turn_id))
        return len(due)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except StoreDown as error:
                log.warning("nobody is asked whether it worked", extra={"reason": str(error)})
            await asyncio.sleep(EVERY_S)
