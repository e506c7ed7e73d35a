"""`python -m bot retention`, and the sweep that one of the bots does by itself every day.

What is kept how long is the operator's to say: `RETENTION_CHATS_DAYS`, `RETENTION_PHOTOS_DAYS`,
`RETENTION_ACCESS_DAYS`; nothing goes by itself unless they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping

from context.db import StoreDown
from context.duties import Duties
from context.retention import DAY_S, Lifetimes, Retention

log = logging.getLogger(__name__)

DUTY, DUTY_S = "retention", 2 * 3600.0
EVERY_S = 3600.0
"""Between two looks whether it is our duty and a day has passed."""
BEGIN_S = 60.0
"""After the start, which has better things to do."""


class Sweeper:
    """Sweeps once a day while it is this process's duty.  `start` it, `stop` it."""

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
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless everything is kept; calling twice is harmless."""
        if self._task is None and not self._is_for_good:
            self._task = asyncio.create_task(self._run(), name="retention")

    async def stop(self) -> None:
        """End it, in the middle of a sweep too: the next one goes on."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            with contextlib.suppress(StoreDown):
                await self._duties.give_up(DUTY, self._me)

    async def look(self) -> dict[str, int]:
        """Sweep when it is our duty and a day has passed; what went."""
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
