"""Did it work?  Asked once, the day after the answer to a fault, where nothing happened in the chat since.

A question that nobody answers is no vote.  It goes into the chat's own inbox like everything that is said
to a customer, so a person who has the chat by then is not talked over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from bot.staff.deeds import FOLLOW_UP
from context.db import StoreDown
from context.follow_ups import FollowUps
from context.health import Health
from context.inbox import Inbox
from context.turns import Arrival, Kind

log = logging.getLogger(__name__)

EVERY_S = 600.0
"""Between two looks: nobody minds whether it is ten o'clock or ten past."""


class FollowUp:
    """Asks.  `start` it, `stop` it."""

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
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, unless it is switched off; calling twice is harmless."""
        if self._task is None and self._after_s:
            self._task = asyncio.create_task(self._run(), name="follow up")

    async def stop(self) -> None:
        """End it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def health(self) -> Health:
        """Nothing depends on it."""
        return Health("ok", "asks" if self._after_s else "switched off")

    async def look(self) -> int:
        """Ask whoever is to be asked now, and return how many that were.  Twice is once."""
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
