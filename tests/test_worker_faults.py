"""The worker when things end badly: a stop, a store that is down, errors, deaths, newer words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.errors import Again
from bot.metrics import Metrics
from bot.sender import Sender
from bot.worker import ATTEMPTS, CRASHES, GiveUp, Take, Worker
from context.db import Database, StoreDown
from context.inbox import Inbox
from context.turns import Batch, Chat, Message, Part, Reply
from tests.clock import Clock
from tests.ledger import ANNA, BEN, Ledger, says, texts
from tests.mouth import Mouth
from tests.until import PATIENCE_S, until


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/bot.db"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """By the real clock: a worker sleeps until something is due."""
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
def ledger(db: Database) -> Ledger:
    return Ledger(db)


class Turns:
    """What a worker runs: notes each batch, then does as it is told."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.taken: list[Batch] = []
        self.given_up: list[Batch] = []
        self.errors: list[Exception] = []
        self.go = asyncio.Event()
        self.go.set()
        self.newer: asyncio.Event | None = None
        self.happened = asyncio.Event()

    async def take(self, batch: Batch, newer: asyncio.Event) -> None:
        self.taken.append(batch)
        self.newer = newer
        self.happened.set()
        await self.go.wait()
        if self.errors:
            raise self.errors.pop(0)
        await self.ledger.answer(batch)
        self.happened.set()

    async def give_up(self, batch: Batch, reason: str) -> None:
        self.given_up.append(batch)
        self.happened.set()
        if self.errors:
            raise self.errors.pop(0)
        await self.ledger.answer(batch)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.taken) + len(self.given_up) < count:
                self.happened.clear()
                await self.happened.wait()


@asynccontextmanager
async def working(
    inbox: Inbox, take: Take, give_up: GiveUp, *, grace_s: float = 0.05, capacity: int = 64
) -> AsyncIterator[Worker]:
    worker = Worker(inbox=inbox, take=take, give_up=give_up, name="w", capacity=capacity)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.stop(grace_s)
        await running


async def at_rest(ledger: Ledger) -> None:
    async def is_at_rest() -> bool:
        return await ledger.inbox.depth() == 0

    await until(is_at_rest)


# -- stopping ---------------------------------------------------------------------------------------


async def test_a_running_turn_gets_its_grace_and_nothing_new_is_begun(ledger: Ledger) -> None:
    turns = Turns(ledger)
    turns.go.clear()
    await ledger.inbox.put([says(ANNA, "hello")])
    async with working(ledger.inbox, turns.take, turns.give_up) as worker:
        await turns.until(1)
        stopping = asyncio.create_task(worker.stop(10))
        await asyncio.sleep(0)
        await ledger.inbox.put([says(BEN, "too late for today")])
        turns.go.set()
        await stopping
    assert [texts(batch) for batch in turns.taken] == [["hello"]]
    assert texts(await ledger.claim_one()) == ["too late for today"]


async def test_what_outlives_the_grace_waits_without_blame(ledger: Ledger) -> None:
    turns = Turns(ledger)
    turns.go.clear()
    await ledger.inbox.put([says(ANNA, "hello")])
    async with working(ledger.inbox, turns.take, turns.give_up):
        await turns.until(1)
    batch = await ledger.claim_one()
    assert (texts(batch), batch.attempts, batch.crashes) == (["hello"], 0, 0)


async def test_a_part_that_only_waited_for_its_turn_at_a_stop_was_certainly_not_sent(
    ledger: Ledger,
) -> None:
    mouth, opened = Mouth(), asyncio.Event()
    mouth.is_free.clear()
    sender = Sender(channels={"telegram": mouth}, outbox=ledger.outbox, metrics=Metrics())

    async def take(batch: Batch, newer: asyncio.Event) -> None:
        turn = await ledger.open(batch)
        opened.set()
        await sender.send(batch, turn)

    async def give_up(batch: Batch, reason: str) -> None:
        raise AssertionError(reason)

    await ledger.inbox.put([says(ANNA, "hello")])
    async with working(ledger.inbox, take, give_up):
        await opened.wait()
        await asyncio.sleep(0)
    batch = await ledger.claim_one()
    assert batch.open_turn is not None
    assert [(part.state, part.unsure) for part in batch.open_turn.parts] == [("pending", 0)]
    mouth.is_free.set()
    assert await sender.send(batch, batch.open_turn)
    assert mouth.said == ["answer"]


async def test_a_claim_that_comes_back_after_the_stop_is_given_back(ledger: Ledger, db: Database) -> None:
    """Its transaction was on its way when the worker was told to stop."""
    turns = Turns(ledger)

    class SlowInbox(Inbox):
        async def claim(
            self, worker: str, limit: int, *, may_suspect: bool = True
        ) -> tuple[list[Batch], float | None]:
            claimed = await super().claim(worker, limit, may_suspect=may_suspect)
            if claimed[0]:
                held.set()
                await go_on.wait()
            return claimed

    held, go_on = asyncio.Event(), asyncio.Event()
    inbox = SlowInbox(db)
    await inbox.put([says(ANNA, "hello")])
    async with working(inbox, turns.take, turns.give_up) as worker:
        await held.wait()
        stopping = asyncio.create_task(worker.stop(10))
        await asyncio.sleep(0)
        assert not stopping.done()
        go_on.set()
        await stopping  # whoever waited for this ends the worker next
        assert (await ledger.claim_one()).crashes == 0
    assert turns.taken == []


# -- when the store is down ---------------------------------------------------------------------------


async def test_a_turn_that_could_not_be_recorded_is_taken_again_before_its_lease_ends(
    ledger: Ledger,
) -> None:
    turns = Turns(ledger)
    turns.errors = [StoreDown("disk full")]
    await ledger.inbox.put([says(ANNA, "hello")])
    ledger.inbox.lease_s = 3600
    async with working(ledger.inbox, turns.take, turns.give_up):
        await turns.until(2)
        await at_rest(ledger)
    assert turns.taken[1].attempts == 0


async def test_a_store_that_is_down_is_shown_and_asked_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.worker.STORE_RETRY_S", 0.01)
    turns = Turns(ledger)
    asked = asyncio.Event()
    is_down = True

    class FullInbox(Inbox):
        async def claim(
            self, worker: str, limit: int, *, may_suspect: bool = True
        ) -> tuple[list[Batch], float | None]:
            if is_down:
                asked.set()
                raise StoreDown("disk full")
            return await super().claim(worker, limit, may_suspect=may_suspect)

    inbox = FullInbox(ledger.inbox._db)
    await inbox.put([says(ANNA, "hello")])
    async with working(inbox, turns.take, turns.give_up) as worker:
        await asked.wait()
        await asyncio.sleep(0)
        assert (worker.health().state, worker.health().detail) == ("down", "disk full")
        is_down = False
        await turns.until(1)
        assert worker.health().state == "ok"


# -- errors -----------------------------------------------------------------------------------------


async def test_after_a_few_errors_the_customer_is_told(ledger: Ledger, clock: Clock) -> None:
    turns = Turns(ledger)
    turns.errors = [Again("not yet", after_s=0)] * ATTEMPTS
    await ledger.inbox.put([says(ANNA, "hello")])
    async with working(ledger.inbox, turns.take, turns.give_up):
        await turns.until(ATTEMPTS + 1)
        await at_rest(ledger)
    assert [batch.attempts for batch in turns.given_up] == [ATTEMPTS]


async def test_what_even_breaks_the_excuse_is_buried_and_the_chat_goes_on(ledger: Ledger) -> None:
    turns = Turns(ledger)
    turns.errors = [Again("not yet", after_s=0)] * (ATTEMPTS + 2)
    await ledger.inbox.put([says(ANNA, "poison")])
    async with working(ledger.inbox, turns.take, turns.give_up):
        await turns.until(ATTEMPTS + 2)
        await at_rest(ledger)
        await ledger.inbox.put([says(ANNA, "hello")])
        await turns.until(ATTEMPTS + 3)
        await at_rest(ledger)
    assert texts(turns.taken[-1]) == ["hello"]


async def test_a_rate_limit_is_nobodys_fault_however_long_it_lasts(ledger: Ledger) -> None:
    turns = Turns(ledger)
    turns.errors = [Again("slowly", after_s=0, blame=False) for _ in range(3 * ATTEMPTS)]
    await ledger.inbox.put([says(ANNA, "hello")])
    async with working(ledger.inbox, turns.take, turns.give_up):
        await turns.until(3 * ATTEMPTS + 1)
        await at_rest(ledger)
    assert turns.given_up == []


@pytest.mark.parametrize(("deaths", "is_given_up"), [(CRASHES - 1, False), (CRASHES, True)])
async def test_many_deaths_are_forgiven_but_not_all(ledger: Ledger, deaths: int, is_given_up: bool) -> None:
    turns = Turns(ledger)
    await ledger.inbox.put([says(ANNA, "hello")])
    for _ in range(deaths):
        await ledger.claim_one("dead")
        await ledger.inbox.release_all()
    async with working(ledger.inbox, turns.take, turns.give_up):
        await turns.until(1)
        await at_rest(ledger)
    assert bool(turns.given_up) == is_given_up


# -- newer words ------------------------------------------------------------------------------------


async def test_words_that_another_process_stored_reach_the_running_turn(ledger: Ledger) -> None:
    turns = Turns(ledger)
    turns.go.clear()
    await ledger.inbox.put([says(ANNA, "hello")])
    async with working(ledger.inbox, turns.take, turns.give_up) as worker:
        await turns.until(1)
        assert turns.newer is not None
        worker.hear([BEN.key])
        assert not turns.newer.is_set()
        worker.hear([ANNA.key])
        assert turns.newer.is_set()
        turns.go.set()


async def test_a_rumour_makes_a_worker_look(
    ledger: Ledger, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.worker.IDLE_S", 3600.0)
    turns, elsewhere = Turns(ledger), Inbox(db)
    async with working(ledger.inbox, turns.take, turns.give_up) as worker:
        await asyncio.sleep(0.05)  # it has looked, and sleeps
        await elsewhere.put([says(ANNA, "hello")])
        worker.hear([])
        await turns.until(1)


async def test_a_backlog_is_answered_oldest_first_and_in_order(ledger: Ledger) -> None:
    turns = Turns(ledger)
    chats = [Chat("telegram", str(number)) for number in range(40)]
    for chat in chats:
        await ledger.inbox.put([says(chat, "first")])
        await ledger.inbox.put([says(chat, "second")])
    async with working(ledger.inbox, turns.take, turns.give_up, capacity=1):
        await turns.until(40)
        await at_rest(ledger)
    assert [batch.chat for batch in turns.taken] == chats
    assert all(texts(batch) == ["first", "second"] for batch in turns.taken)


async def test_a_turn_whose_lease_ran_out_is_not_worked_on_twice(db: Database) -> None:
    class ForgetfulInbox(Inbox):
        async def renew(self, worker: str, chats: Iterable[Chat]) -> None:
            return

    inbox = ForgetfulInbox(db, lease_s=0.5)
    started: list[int] = []
    cancelled = asyncio.Event()
    ledger = Ledger(db)

    async def take(batch: Batch, newer: asyncio.Event) -> None:
        started.append(batch.fence)
        if len(started) == 1:
            try:
                inbox.lease_s = 3600  # the next time it takes as long as it likes
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
        turn = await ledger.outbox.open(
            batch, Message(batch.chat, "hello", "en"), Reply("answer", "en", "test"), [Part("answer")]
        )
        await ledger.send(batch, turn)

    async def give_up(batch: Batch, reason: str) -> None:
        raise AssertionError(reason)

    await inbox.put([says(ANNA, "hello")])
    async with working(inbox, take, give_up), asyncio.timeout(PATIENCE_S):
        await cancelled.wait()
        await at_rest(ledger)
    assert len(started) == 2
