"""Leader election: of several processes that could receive from Telegram, exactly one does.

The others stand by.  When the one on duty stops, the next takes over at once; when it dies, after some
seconds.  Nothing is lost in between, since Telegram keeps the updates that nobody has fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Protocol

from context.background import BackgroundTask
from context.db import StoreDown
from context.duties import Duties
from context.health import Health
from context.news import News

log = logging.getLogger(__name__)

SECONDS = 12.0
"""How long a duty lasts unless it is renewed."""
TOPIC = "duty"


class Receiver(Protocol):
    """A background task that one process runs at a time."""

    def start(self) -> None:
        """Start; calling it twice is harmless."""

    async def stop(self) -> None:
        """Stop; it may be started again."""

    def health(self) -> Health:
        """How it is doing."""


class OnDuty:
    """Runs a receiver while this process has the duty.  It is a receiver itself."""

    def __init__(
        self, receiver: Receiver, duties: Duties, news: News, *, name: str, me: str, seconds: float = SECONDS
    ) -> None:
        self._receiver = receiver
        self._duties = duties
        self._news = news
        self._name = name
        self._me = me
        self._seconds = seconds
        self._holder = ""
        self._until = 0.0
        self._look = asyncio.Event()
        self._background = BackgroundTask(f"duty: {name}", self._run)
        news.on(TOPIC, lambda _words: self._look.set())

    def start(self) -> None:
        """Apply for the duty; calling twice is harmless."""
        self._background.start()

    async def stop(self) -> None:
        """Stop, and hand the duty to another process."""
        if not self._background.is_running:
            return
        await self._background.stop()
        await self._receiver.stop()
        with contextlib.suppress(StoreDown):
            await self._duties.give_up(self._name, self._me)
            self._news.tell(TOPIC, self._name)

    def health(self) -> Health:
        """The receiver's own health while this process is on duty."""
        if not self._background.is_running:
            return Health("down", f"{self._name}: not running")
        if self._holder == self._me:
            return self._receiver.health()
        if not self._holder:
            return Health("degraded", f"{self._name}: nobody is known to be on duty")
        return Health("ok", f"{self._holder} is on duty, this process stands by")

    async def _run(self) -> None:
        """Renew the duty three times within its length, and let go before it has run out."""
        while True:
            await self._apply()
            self._look.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds / 3):
                    await self._look.wait()

    async def _apply(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._seconds / 3):
                holder = await self._duties.take(self._name, self._me, seconds=self._seconds)
        except (StoreDown, TimeoutError):
            if self._holder == self._me and now >= self._until - self._seconds / 3:
                holder = ""
            else:
                return
        else:
            self._until = now + self._seconds
        if holder == self._me:
            self._receiver.start()
        elif self._holder == self._me:
            await self._receiver.stop()
        if holder != self._holder:
            log.info("on duty", extra={"worker": holder or "nobody"})
        self._holder = holder
