"""Who may write in a chat: nobody whose lease is over; and what a person there does to what is unsaid."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from context.db import Database
from context.handoffs import Handoffs
from context.outbox import LeaseLost, Superseded
from context.turns import Batch, Message, OpenTurn, Part, Reply
from tests.clock import Clock
from tests.ledger import ANNA, Ledger, commands, says, texts

Write = Callable[[Ledger, Batch, OpenTurn], Awaitable[object]]


@pytest.fixture
async def db(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/bot.db", clock=clock)
    yield database
    await database.close()


@pytest.fixture
def ledger(db: Database) -> Ledger:
    return Ledger(db)


WRITES: dict[str, Write] = {
    "open": lambda ledger, batch, turn: ledger.open(batch),
    "relay": lambda ledger, batch, turn: ledger.outbox.relay(batch, Message(ANNA, "hello", "en")),
    "sending": lambda ledger, batch, turn: ledger.outbox.sending(batch, turn, turn.parts[0]),
    "sent": lambda ledger, batch, turn: ledger.send(batch, turn),
    "not sent": lambda ledger, batch, turn: ledger.outbox.not_sent(batch, turn.parts[0], "refused"),
    "ambiguous": lambda ledger, batch, turn: ledger.outbox.ambiguous(
        batch, turn.parts[0], "broke", broke=True, again=True
    ),
    "finish": lambda ledger, batch, turn: ledger.outbox.finish(batch, turn),
    "abandon": lambda ledger, batch, turn: ledger.outbox.abandon(batch, turn, "blocked", chat_is_closed=True),
}


@pytest.mark.parametrize("is_given_back", [False, True], ids=["overtaken", "given back"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_whose_lease_is_over_can_write_nothing(
    ledger: Ledger, clock: Clock, write: Write, is_given_back: bool
) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    ghost = await ledger.claim_one("ghost")
    turn = await ledger.open(ghost)
    if is_given_back:
        await ledger.inbox.again(ghost, after_s=0, blame=False)
    else:
        clock.move(ledger.inbox.lease_s + 1)
        await ledger.claim_one("heir")
    with pytest.raises(LeaseLost):
        await write(ledger, ghost, turn)


ENDS: dict[str, Callable[[Ledger, Batch], Awaitable[None]]] = {
    "again": lambda ledger, batch: ledger.inbox.again(batch, after_s=5),
    "superseded": lambda ledger, batch: ledger.inbox.superseded(batch),
    "bury": lambda ledger, batch: ledger.inbox.bury(batch, "ValueError"),
    "renew": lambda ledger, batch: ledger.inbox.renew("ghost", [batch.chat]),
}


@pytest.mark.parametrize("is_given_back", [False, True], ids=["overtaken", "given back"])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_chat_is_given_back_once_and_by_whoever_has_it(
    ledger: Ledger,
    db: Database,
    clock: Clock,
    end: Callable[[Ledger, Batch], Awaitable[None]],
    is_given_back: bool,
) -> None:
    async def rows() -> list[object]:
        queries = ("SELECT * FROM lanes", "SELECT * FROM messages", "SELECT * FROM turns")
        return [await db.read(lambda c, q=query: c.exec_driver_sql(q).all()) for query in queries]  # type: ignore[misc]

    await ledger.inbox.put([says(ANNA, "hello")])
    ghost = await ledger.claim_one("ghost")
    if is_given_back:
        await ledger.inbox.again(ghost, after_s=0, blame=False)
    else:
        clock.move(ledger.inbox.lease_s + 1)
        await ledger.claim_one("heir")
    before = await rows()
    clock.move(1.0)
    await end(ledger, ghost)
    assert await rows() == before


async def test_an_answered_chat_begins_anew(ledger: Ledger) -> None:
    """Failures and superseded drafts of one question do not count against the next, nor against sending."""
    await ledger.inbox.put([says(ANNA, "hello")])
    await ledger.inbox.superseded(await ledger.claim_one())
    await ledger.inbox.again(await ledger.claim_one(), after_s=0)
    batch = await ledger.claim_one()
    assert (batch.attempts, batch.superseded) == (1, 1)
    turn = await ledger.open(batch)
    await ledger.inbox.again(batch, after_s=0)
    batch = await ledger.claim_one()
    assert (batch.attempts, batch.crashes) == (1, 0), "one failure of sending, none of writing"
    await ledger.send(batch, turn)
    await ledger.inbox.put([says(ANNA, "and now?")])
    batch = await ledger.claim_one()
    assert (texts(batch), batch.attempts, batch.superseded) == (["and now?"], 0, 0)


async def test_what_may_have_been_heard_is_silenced_and_not_taken_back(ledger: Ledger, db: Database) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    turn = await ledger.open(batch, parts=["one", "two"])
    doubted = await ledger.outbox.ambiguous(batch, turn.parts[0], "broke", broke=True, again=True)
    await Handoffs(db).take(ANNA, "mei")
    assert await ledger.outbox.sending(batch, turn, doubted) is None
    assert await ledger.claim() == [], "the customer may have read it: nothing waits again"


async def test_what_nobody_heard_is_taken_back(ledger: Ledger, db: Database) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    turn = await ledger.open(batch)
    await Handoffs(db).take(ANNA, "mei")
    with pytest.raises(Superseded):
        await ledger.outbox.sending(batch, turn, turn.parts[0])
    assert texts(await ledger.claim_one()) == ["hello"]


async def test_a_persons_words_are_said_whoever_takes_the_chat(ledger: Ledger, db: Database) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    await Handoffs(db).take(ANNA, "mei")
    message, reply = Message(ANNA, "", "en"), Reply("I am on my way", "en", "staff:tom")
    turn = await ledger.outbox.open(batch, message, reply, [Part("I am"), Part("on my way")])
    assert await ledger.outbox.sending(batch, turn, turn.parts[0]) is not None
    await ledger.send(batch, turn)
    assert await ledger.claim() == []


async def test_a_command_is_obeyed_in_a_chat_that_a_person_had_before(ledger: Ledger, db: Database) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    await ledger.answer(await ledger.claim_one())
    await Handoffs(db).take(ANNA, "mei")
    await ledger.inbox.put([commands(ANNA, "language")])
    batch = await ledger.claim_one()
    assert batch.holder == "mei"
    turn = await ledger.open(batch, parts=["English", "from now on"])
    assert await ledger.outbox.sending(batch, turn, turn.parts[0]) is not None
    await ledger.send(batch, turn)
