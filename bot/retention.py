"""`python -m bot retention`, and the sweep that one of the bots does by itself every day.

What is kept how long is the operator's to say: `RETENTION_CHATS_DAYS`, `RETENTION_PHOTOS_DAYS`,
`RETENTION_ACCESS_DAYS`; nothing goes by itself unless they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from bot.errors import BotError
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


def in_words(lifetimes: Lifetimes) -> str:
    """`conversations 365 days, photos 90 days, access log for good`."""
    names = {"conversations": lifetimes.chats, "photos": lifetimes.photos, "access log": lifetimes.access}
    return ", ".join(f"{name} {f'{days} days' if days else 'for good'}" for name, days in names.items())


async def run(
    retention: Retention, lifetimes: Lifetimes, *, scrub: Callable[[], Awaitable[bool]], sweep: bool
) -> int:
    """Print what would go now, or let it go and print what went.  Raises BotError."""
    print(f"kept: {in_words(lifetimes)}")
    try:
        counts = await (retention.sweep() if sweep else retention.due())
        is_scrubbed = await scrub() if sweep and counts else True
    except (StoreDown, TimeoutError) as error:
        raise BotError(str(error) or "the database took too long") from error
    print("erased:" if sweep else "a sweep would erase now:")
    lines = [f"{count:>8}  {name}" for name, count in sorted(counts.items()) if count]
    print("\n".join(lines or ["       0  nothing"]))
    if not is_scrubbed:
        print("files: somebody was at work all the time; the bot overwrites what was erased in some minutes")
    return 0
