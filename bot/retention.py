"""The daily sweep: one of the bots deletes what is older than the operator wants to keep.

`RETENTION_CHATS_DAYS`, `RETENTION_PHOTOS_DAYS` and `RETENTION_ACCESS_DAYS` say how long; without them nothing
is deleted.  `python -m bot retention` does the same on demand.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping

from context.background import BackgroundTask
from context.db import StoreDown
from context.duties import Duties
from context.upkeep.retention import DAY_S, Lifetimes, Retention

log = logging.getLogger(__name__)

DUTY, DUTY_S = "retention", 2 * 3600.0
EVERY_S = 3600.0
"""Time between two checks whether it is our duty and a day has passed."""
BEGIN_S = 60.0
"""Delay after the start, so as not to slow it down."""


class Sweeper:
    """Sweeps once a day while this process has the duty, from `start` to `stop`."""

    def __init__(
        self,
        retention: Retention,
        duties: Duties,
        *,
        me: str,
        lifetimes: Lifetimes,
        tell: Callable[[Mapping[str, int]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._retention = retention
        self._duties = duties
        self._me = me
        self._is_for_good = lifetimes.is_for_good
        self._tell = tell
        self._clock = clock
        self._swept_at = 0.0
        self._background = BackgroundTask("retention", self._run)

    def start(self) -> None:
        """Start, unless everything is kept for good; calling it twice is harmless."""
        if not self._is_for_good:
            self._background.start()

    async def stop(self) -> None:
        """Stop, also in the middle of a sweep: the next one continues."""
        if self._background.is_running:
            await self._background.stop()
            with contextlib.suppress(StoreDown):
                await self._duties.give_up(DUTY, self._me)

    async def look(self) -> dict[str, int]:
        """Sweep if it is our duty and a day has passed; returns how much was deleted, by kind."""
        if await self._duties.take(DUTY, self._me, seconds=DUTY_S) != self._me:
            return {}
        if self._clock() < self._swept_at + DAY_S:
            return {}
        counts = await self._retention.sweep(tell=self._tell)
        self._swept_at = self._clock()
        log.info("what was too old went", extra={"messages": counts.get("messages", 0)})
        return counts

    async def _run(self) -> None:
        await asyncio.sleep(BEGIN_S)
        while True:
            try:
                await self.look()
            except (StoreDown, OSError) as error:
                log.warning("what is too old is still there", extra={"reason": str(error)})
            await asyncio.sleep(EVERY_S)
