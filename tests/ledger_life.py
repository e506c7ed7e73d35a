"""Two workers, a few chats and everything that can go wrong between them, one small step at a time.

The inbox, the outbox, the sender and what the worker makes of each outcome are the real ones, on a
real database; only time, the model and the channel are played.  A life is a list of steps, each a
word and two numbers that are taken as they come, so that any list at all is a life and a long one
that goes wrong can be cut down to a short one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from bot.errors import Again, Ambiguous, NotSent, Undeliverable
from bot.metrics import Metrics
from bot.sender import Sender
from bot.worker import Worker, _Running
from context.db import Database
from context.handoffs import Handoffs
from context.inbox import Inbox
from context.outbox import Outbox, Superseded
from context.turns import Arrival, Attachment, Batch, Chat, Kind, Message, Part, Receipt, Reply
from tests.clock import Clock

Step = tuple[str, int, int]

SUPERSEDES = 3
"""What the house promises; on purpose not the constant of the code."""
RESENDS = 1
"""The same: broken connections that a part survives before it is taken for said."""
RESENDS_AFTER_FAILURE = 4
"""The same: doubts of any kind that it survives."""
CHATS = 2
NAPS_S = (0.2, 0.7, 2.0, 5.0, 16.0)
LEASE_S = 15.0


class Violation(AssertionError):
    """The ledger broke a promise."""


class Killed(BaseException):
    """`kill -9`: nothing catches it, nothing is tidied."""


@dataclass(eq=False)
class Run:
    """One batch in one worker's hands."""

    batch: Batch
    dies_at: int
    """The ledger call, counted from 1, at which its process dies; 0: it lives."""
    dies_before: bool
    calls: int = 0
    place: str = ""
    gate: asyncio.Future[int] | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def stand(self, place: str) -> int:
        """Wait at the model or in the channel until the life goes on; a number says how."""
        self.place, self.gate = place, asyncio.get_running_loop().create_future()
        self.reached.set()
        try:
            return await self.gate
        finally:
            self.gate = None


_run: ContextVar[Run] = ContextVar("run")


class Mortal:
    """The ledger as a process sees it that may die before or after any call."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if not asyncio.iscoroutinefunction(real):
            return real

        async def call(*args: Any, **more: Any) -> Any:
            run = _run.get()
            run.calls += 1
            if run.calls == run.dies_at and run.dies_before:
                raise Killed
            result = await real(*args, **more)
            if run.calls == run.dies_at:
                raise Killed
            return result

        return call


class PlayedChannel:
    """Says what the life decides; keeps what was really delivered."""

    name = "telegram"

    def __init__(self, db: Database, trouble: list[BaseException]) -> None:
        self._db = db
        self._trouble = trouble  # the worker would take a violation for an error like any other
        self.delivered: list[tuple[str, int]] = []
        """Chat and part, in the order of delivery."""
        self.broke: Counter[int] = Counter()
        """How often a connection broke under a part."""
        self.failed: Counter[int] = Counter()
        """How often the server said that it failed."""

    async def fetch(self, attachment: Attachment) -> bytes:
        raise NotImplementedError

    async def ready(self, chat: Chat) -> None:
        return

    async def send(self, chat: Chat, part: Part) -> Receipt:
        run = _run.get()
        await self._check_right_to_speak(run, chat)
        how = await run.stand("channel") % 10
        if how == 5:
            raise NotSent("refused", after_s=1.0)
        if how == 6:
            raise Killed
        if how == 3:
            self.failed[part.id] += 1
            raise Ambiguous("502", is_seldom=True)
        if how == 7:
            self.broke[part.id] += 1
            raise Ambiguous("no answer")
        if how == 8:
            raise Undeliverable("blocked")
        self.delivered.append((chat.key, part.id))
        if how == 9:
            raise Killed
        if how == 4:
            self.broke[part.id] += 1
            raise Ambiguous("the answer was lost")
        return Receipt(f"r{len(self.delivered)}", 1.0)

    def typing(self, chat: Chat) -> Any:
        raise NotImplementedError

    async def _check_right_to_speak(self, run: Run, chat: Chat) -> None:
        """Every call comes straight behind the write that announced it, so the look is a fair one."""
        query = (
            "SELECT l.fence, h.holder FROM lanes l LEFT JOIN handoffs h"
            f" ON h.chat = l.chat AND h.closed_at IS NULL WHERE l.chat = '{chat.key}'"
        )
        row = (await self._db.read(lambda c: c.exec_driver_sql(query).all()))[0]
        if row.fence != run.batch.fence:
            self._trouble.append(Violation(f"two workers speak: {run.batch.fence} after {row.fence}"))
        if row.holder is not None:
            self._trouble.append(Violation("the bot speaks in a chat that a person holds"))


class Life:
    """Plays steps and keeps what must be true in the end."""

    def __init__(self, db: Database, clock: Clock, name: int) -> None:
        self.db, self.clock, self.name = db, clock, name
        self.inbox, self.outbox = Inbox(db, lease_s=LEASE_S), Outbox(db)
        self.handoffs = Handoffs(db)
        self.trouble: list[BaseException] = []
        self.channel = PlayedChannel(db, self.trouble)
        mortal: Any = Mortal(self.outbox)
        self._outbox: Outbox = mortal
        self._sender = Sender(
            channels={"telegram": self.channel}, outbox=self._outbox, metrics=Metrics(), clock=clock
        )
        mortal_inbox: Any = Mortal(self.inbox)
        self.workers = [
            Worker(inbox=mortal_inbox, take=self._take, give_up=self._give_up, name=f"{name}-{n}")
            for n in range(2)
        ]
        self.chats = [Chat("telegram", f"{name}0{n}") for n in range(CHATS)]
        self.runs: list[tuple[Worker, Run]] = []
        self.post: list[Arrival] = []
        self.arrived: list[Arrival] = []
        """Every arrival that was put, oldest first, once."""
        self.takeovers: Counter[str] = Counter()
        self._count = 0

    # -- what happens ----------------------------------------------------------------------------

    async def play(self, steps: Sequence[Step]) -> None:
        for word, one, two in steps:
            step: Callable[[int, int], Awaitable[None]] = getattr(self, word)
            await step(one, two)
            self._raise_trouble()
        await self._come_to_rest()

    async def say(self, one: int, two: int) -> None:
        await self._put([self._arrival(one, Kind.TEXT, text=f"words {two}")])

    async def command(self, one: int, two: int) -> None:
        await self._put([self._arrival(one, Kind.COMMAND, command="reset")])

    async def show(self, one: int, two: int) -> None:
        await self._put([self._arrival(one, Kind.PHOTO)])

    async def album(self, one: int, two: int) -> None:
        """Pictures that are on their way; `post` brings them, in any order."""
        name = f"album{self.name}-{self._count}"
        self.post += [self._arrival(one, Kind.PHOTO, album=name) for _ in range(2 + two % 3)]

    async def edit(self, one: int, two: int) -> None:
        """New words, or the same with another comma, for a message that may itself be on its way."""
        originals = [arrival for arrival in self.arrived + self.post if arrival.kind is not Kind.COMMAND]
        if originals:
            original = originals[one % len(originals)]
            self._count += 1
            text = original.text + (f" edited {self._count}" if two % 3 else "!")
            source = f"update:{self.name}-{self._count}"
            self.post.append(replace(original, source=source, text=text, edited=True))

    async def deliver(self, one: int, two: int) -> None:
        if self.post:
            await self._put([self.post.pop(one % len(self.post))])

    async def repeat(self, one: int, two: int) -> None:
        """Deliver again what came before: the same update, or the same message under another number."""
        if self.arrived:
            old = self.arrived[one % len(self.arrived)]
            if two % 3 == 0 and not old.edited:
                old = replace(old, source=f"{old.source}-again{two}")
            if await self.inbox.put([old]):
                raise Violation("stored twice")

    async def claim(self, one: int, two: int) -> None:
        worker = self.workers[one % 2]
        batches, _ = await self.inbox.claim(worker.name, 1 + two % 2)
        for batch in batches:
            if batch.superseded > SUPERSEDES + self.takeovers[batch.chat.key]:
                raise Violation(f"superseded {batch.superseded} times: a customer waits for ever")
            if len({arrival.message_id for arrival in batch.arrivals}) < len(batch.arrivals):
                raise Violation("an outdated version is answered beside the new one")
            dies_at = two // 2 % 12  # more often than not, past its last call
            run = Run(batch, dies_at if dies_at < 6 else 0, dies_before=two % 2 == 0)
            running = _Running(batch)
            worker._running[batch.chat.key] = running
            run.task = asyncio.create_task(self._live(worker, run, running))
            self.runs.append((worker, run))
            await self._until_it_stands(run)

    async def go(self, one: int, two: int) -> None:
        """Let one run go on, which the second number says how."""
        if self.runs:
            _, run = self.runs[one % len(self.runs)]
            await self._let_go(run, two)

    async def crash(self, one: int, two: int) -> None:
        """A worker's process dies; what it was saying may or may not have been heard."""
        for worker, run in list(self.runs):
            if worker is self.workers[one % 2]:
                await self._let_go(run, 6 if two % 2 else 9)

    async def stop(self, one: int, two: int) -> None:
        """A worker is stopped in good order, its grace period over."""
        for worker, run in list(self.runs):
            if worker is self.workers[one % 2] and run.task is not None:
                run.task.cancel()
                await self._until_it_stands(run)

    async def renew(self, one: int, two: int) -> None:
        worker = self.workers[one % 2]
        held = [run.batch.chat for owner, run in self.runs if owner is worker]
        await self.inbox.renew(worker.name, held)

    async def wait(self, one: int, two: int) -> None:
        self.clock.move(NAPS_S[one % len(NAPS_S)])

    async def take_over(self, one: int, two: int) -> None:
        chat = self.chats[one % CHATS]
        self.takeovers[chat.key] += 1
        await self.handoffs.take(chat, "mei")

    async def hand_back(self, one: int, two: int) -> None:
        await self.handoffs.close(self.chats[one % CHATS])

    # -- how ----------------------------------------------------------------------------------------

    def _arrival(
        self, chat: int, kind: Kind, *, text: str = "", command: str = "", album: str = ""
    ) -> Arrival:
        self._count += 1
        return Arrival(
            chat=self.chats[chat % CHATS],
            source=f"update:{self.name}-{self._count}",
            message_id=str(self._count),
            kind=kind,
            text=text,
            command=command,
            attachment=Attachment(f"file{self._count}", 1000) if kind is Kind.PHOTO else None,
            album=album,
        )

    async def _put(self, arrivals: list[Arrival]) -> None:
        await self.inbox.put(arrivals)
        self.arrived += arrivals

    async def _take(self, batch: Batch, newer: asyncio.Event) -> None:
        turn = batch.open_turn
        if turn is None:
            message = Message(batch.chat, " ".join(str(arrival.id) for arrival in batch.arrivals), "en")
            if batch.holder is not None:
                await self._outbox.relay(batch, message)
                return
            how = await _run.get().stand("model") % 10
            if how == 6:
                raise Killed
            if how == 7:
                raise Again("the model is tired", after_s=1.0)
            if how == 8:
                raise ZeroDivisionError
            if how == 9 and newer.is_set():
                raise Superseded
            # A command's answer is no part of the conversation.
            is_command = batch.arrivals[0].kind is Kind.COMMAND
            reply = Reply("reply", "en", "test", remembered=not is_command)
            turn = await self._outbox.open(batch, message, reply, [Part("one"), Part("two")][: 1 + how % 2])
        await self._sender.send(batch, turn)

    async def _give_up(self, batch: Batch, reason: str) -> None:
        """As the bot does: whatever was wrong with it, the customer is told."""
        if batch.open_turn is not None:
            await self._outbox.abandon(batch, batch.open_turn, reason, chat_is_closed=False)
            return
        await self._take(replace(batch, may_grow=False), asyncio.Event())

    async def _live(self, worker: Worker, run: Run, running: _Running) -> None:
        _run.set(run)
        try:
            await worker._run(running)
        except (Killed, asyncio.CancelledError):
            pass
        except BaseException as error:  # noqa: BLE001 - told by `_raise_trouble`
            self.trouble.append(error)

    async def _let_go(self, run: Run, how: int) -> None:
        if run.gate is not None:
            run.reached.clear()
            run.gate.set_result(how)
        await self._until_it_stands(run)

    async def _until_it_stands(self, run: Run) -> None:
        """Until it waits for the model or in the channel, or is over."""
        assert run.task is not None
        reached = asyncio.ensure_future(run.reached.wait())
        await asyncio.wait({run.task, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        if run.task.done():
            self.runs = [(worker, other) for worker, other in self.runs if other is not run]

    async def _come_to_rest(self) -> None:
        """Everything is delivered, everybody works well: what is still unanswered then is lost."""
        for chat in self.chats:
            await self.handoffs.close(chat)
        while self.post:
            await self.deliver(0, 0)
        for number in range(300):
            self.clock.move(LEASE_S + 1)
            while self.runs:
                await self._let_go(self.runs[-1][1], 0)
            await self.claim(number, 15)
            self._raise_trouble()
            if not self.runs and await self._is_at_rest():
                return
        raise Violation("it never comes to rest")

    async def _is_at_rest(self) -> bool:
        query = f"SELECT COUNT(*) FROM lanes WHERE chat LIKE 'telegram:{self.name}0_' AND due_at IS NOT NULL"
        leased = query.replace("due_at", "lease_until")
        counts = [
            await self.db.read(lambda c, q=q: int(c.exec_driver_sql(q.replace("%", "%%")).scalar_one()))  # type: ignore[misc]
            for q in (query, leased)
        ]
        return counts == [0, 0]

    def _raise_trouble(self) -> None:
        for error in self.trouble:
            raise error
