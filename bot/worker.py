"""The worker: takes chats out of the inbox when they are due, and runs their turns side by side.

Within one chat turns run one at a time, in order; many chats run at once, up to a limit.  The worker does not
know what a turn does, only how it can end: done, superseded, again later, lease lost, or with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bot.errors import Again
from context.db import StoreDown
from context.health import Health
from context.inbox import Inbox
from context.outbox import LeaseLost, Superseded
from context.turns import Arrival, Batch, Kind

log = logging.getLogger(__name__)

ATTEMPTS = 4
"""How often the same messages may fail with an error of ours before the customer is told."""
CRASHES = 10
"""How often the process may die with the same messages in hand.  More than errors: it may die of others,
or of none.  The last deaths tell, since then no other suspect is in hand (`Batch.is_suspect`)."""
IDLE_S = 10.0
"""Longest sleep without looking: a safety net under the wake-ups."""
AT_ONCE = 16
"""Chats in one claim, so that in a rush each of several workers gets some."""
HEARSAY_S = 0.02
"""Delay before claiming what another process stored: that process may well answer it itself, and many
announcements need only one look."""
STORE_RETRY_S = 1.0

Take = Callable[[Batch, asyncio.Event], Awaitable[None]]
GiveUp = Callable[[Batch, str], Awaitable[None]]


@dataclass(slots=True)
class _Running:
    batch: Batch
    newer: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Worker:
    """Claims batches and runs `take` on each, at most `capacity` at once.

    After `ATTEMPTS` failures a batch goes to `give_up` instead.  If that keeps failing as well, its messages
    are marked dead, and the chat continues behind them.
    """

    def __init__(self, *, inbox: Inbox, take: Take, give_up: GiveUp, name: str, capacity: int = 64) -> None:
        self.name = name
        self._inbox = inbox
        self._take = take
        self._give_up = give_up
        self._capacity = capacity
        self._running: dict[str, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._hearsay: asyncio.TimerHandle | None = None
        self._stopping = False
        self._ended = asyncio.Event()  # as it is before the start, too
        self._ended.set()
        self._store_error = ""
        self._stranded: list[Batch] = []
        self.depth = 0
        """Chats with something to answer, when last counted."""
        inbox.on_put(self._arrived)

    @property
    def is_busy(self) -> bool:
        """Whether a turn is running."""
        return bool(self._tasks)

    async def run(self) -> None:
        """Claim and run until `stop`, which waits for the turns that are still running.

        Raises an ExceptionGroup for a bug of ours in claiming or renewing: nothing would be answered any
        more, or everything twice.
        """
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as together:
                renewing = together.create_task(self._renew(), name="renew leases")
                while not self._stopping:
                    self._wake.clear()
                    wait_s = await self._claim()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait_s):
                            await self._wake.wait()
                renewing.cancel()
        finally:
            self._ended.set()

    async def _claim(self) -> float:
        """Start the turns that are due, up to capacity; returns the seconds until there is more to claim."""
        room = self._capacity - len(self._tasks)
        if room <= 0:
            return IDLE_S
        try:
            await self._give_back(self._stranded)
            has_suspect = any(running.batch.is_suspect for running in self._running.values())
            batches, due_s = await self._inbox.claim(
                self.name, min(room, AT_ONCE), may_suspect=not has_suspect
            )
            if self._stopping:
                await self._give_back(batches)
        except StoreDown as error:
            if not self._store_error:
                log.error("the inbox cannot be read", extra={"reason": str(error)})  # noqa: TRY400  # the reason says it
            self._store_error = str(error)
            return STORE_RETRY_S
        self._store_error = ""
        for batch in batches:
            self._begin(batch)
        return IDLE_S if due_s is None else min(due_s, IDLE_S)

    async def _give_back(self, batches: list[Batch]) -> None:
        """Give the batches back, so that nobody has to wait until their leases end.  Empties the list."""
        while batches:
            await self._inbox.again(batches[-1], after_s=0, blame=False)
            batches.pop()

    def _begin(self, batch: Batch) -> None:
        before = self._running.get(batch.chat.key)
        if before is not None and before.task is not None and _overtakes(batch, before.batch):
            before.task.cancel()  # its lease has run out: it can no longer write anything
        running = self._running[batch.chat.key] = _Running(batch)
        running.task = asyncio.create_task(self._run(running), name=f"turn {batch.chat.key}")
        self._tasks.add(running.task)
        running.task.add_done_callback(self._make_room)

    async def _run(self, running: _Running) -> None:
        batch = running.batch
        try:
            await self._settle(batch, running.newer)
        except asyncio.CancelledError:  # stopping: the messages wait for the next start
            with contextlib.suppress(StoreDown):
                await asyncio.shield(self._inbox.again(batch, after_s=0, blame=False))
            raise
        except StoreDown as error:
            self._stranded.append(batch)
            log.error("a turn could not be recorded", extra={"chat": batch.chat.key, "reason": str(error)})  # noqa: TRY400
        finally:
            if self._running.get(batch.chat.key) is running:  # else its next turn has begun already
                del self._running[batch.chat.key]

    def _make_room(self, task: asyncio.Task[None]) -> None:
        """A turn has ended, so there is room for another one."""
        self._tasks.discard(task)
        self._wake.set()

    async def _settle(self, batch: Batch, newer: asyncio.Event) -> None:
        """Run the turn, and handle the way in which it ends."""
        try:
            if batch.attempts < ATTEMPTS and batch.crashes < CRASHES:
                await self._take(batch, newer)
            elif batch.attempts <= ATTEMPTS + 1 and batch.crashes <= CRASHES + 1:
                await self._give_up(batch, "turn_failed")
            else:  # even telling the customer fails
                await self._inbox.bury(batch, "turn_failed")
        except Superseded:
            await self._inbox.superseded(batch)
        except LeaseLost as error:
            log.warning("another worker has this chat", extra={"chat": batch.chat.key, "reason": str(error)})
        except Again as error:
            log.info("again later", extra={"chat": batch.chat.key, "reason": str(error), "s": error.after_s})
            await self._inbox.again(batch, after_s=error.after_s, blame=error.blame)
        except StoreDown:
            raise
        except Exception:
            log.exception("a turn broke", extra={"chat": batch.chat.key, "attempts": batch.attempts + 1})
            await self._inbox.again(batch, after_s=2.0**batch.attempts)

    def _arrived(self, arrivals: Sequence[Arrival]) -> None:
        """Messages were stored: wake up, and tell running turns of the same chats about them."""
        for arrival in arrivals:
            if arrival.kind is Kind.STAFF:  # a person comes in: the draft under way is dropped at once
                self._tell_turn(arrival.chat.key, always=True)
            elif arrival.kind is not Kind.COMMAND:
                self._tell_turn(arrival.chat.key)
        self._wake.set()

    def hear(self, chats: Sequence[str]) -> None:
        """The same for chats in which another process stored messages, as far as their names are known."""
        for chat in chats:
            self._tell_turn(chat)
        if self._hearsay is None and len(self._tasks) < self._capacity:
            self._hearsay = asyncio.get_running_loop().call_later(HEARSAY_S, self._look)

    def _look(self) -> None:
        self._hearsay = None
        self._wake.set()

    def _tell_turn(self, chat: str, *, always: bool = False) -> None:
        running = self._running.get(chat)
        if running is not None and (always or running.batch.may_grow):
            running.newer.set()

    async def _renew(self) -> None:
        """Renew the leases of running chats, and count the waiting ones."""
        while True:
            await asyncio.sleep(self._inbox.lease_s / 3)
            with contextlib.suppress(StoreDown):  # the claim loop reports it
                await self._inbox.renew(self.name, [running.batch.chat for running in self._running.values()])
                self.depth = await self._inbox.depth()

    async def stop(self, grace_s: float) -> None:
        """Stop claiming, give running turns `grace_s` seconds, and leave the rest in the inbox."""
        self._stopping = True
        self._wake.set()
        deadline = asyncio.get_running_loop().time() + grace_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._ended.wait()  # a claim in flight may still bring something
                if self._tasks:
                    await asyncio.wait(self._tasks)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def health(self) -> Health:
        """Whether it can claim, and how busy it is."""
        if self._store_error:
            return Health("down", self._store_error)
        return Health(
            "ok", f"{len(self._tasks)} of {self._capacity} turns running, {self.depth} chats waiting"
        )


def _overtakes(batch: Batch, before: Batch) -> bool:
    """Whether a claim took over the work of an earlier one, instead of what came after it.

    After a turn is closed, a little work is left (the window, a word to staff) while the next turn of its
    chat may already run; that one has other messages and no open turn.
    """
    earlier = {arrival.id for arrival in before.arrivals}
    return batch.open_turn is not None or any(arrival.id in earlier for arrival in batch.arrivals)
