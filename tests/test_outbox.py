"""The outbox, transcripts and handoffs, on SQLite and on PostgreSQL: what is left to say, and to remember."""

from __future__ import annotations

import pytest

from context.db import Database
from context.handoffs import Handoffs, NotWaiting
from context.outbox import LeaseLost, Superseded
from context.transcripts import Transcripts
from context.turns import Message, Part, Photo, Receipt, Reply
from tests.clock import Clock
from tests.ledger import ANNA, BEN, Ledger, forget, says, shows, texts


@pytest.fixture
def ledger(db: Database) -> Ledger:
    return Ledger(db)


# -- sending ----------------------------------------------------------------------------------------


async def test_an_open_turn_is_only_sent_by_the_next_claim(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    turn = await ledger.open(batch, parts=["one", "two", "three"])
    await ledger.outbox.sent(batch, turn, turn.parts[0], Receipt("r1", 1.0))
    clock.move(ledger.inbox.lease_s + 1)
    resumed = await ledger.claim_one()
    assert resumed.arrivals == ()
    assert resumed.open_turn is not None
    assert resumed.open_turn.turn == turn.turn
    assert [(p.text, p.state) for p in resumed.open_turn.parts] == [
        ("one", "sent"),
        ("two", "sending"),
        ("three", "pending"),
    ]
    await ledger.send(resumed, resumed.open_turn)
    assert await ledger.claim() == []


async def test_a_receipt_that_comes_after_the_lease_is_lost_is_kept(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    slow = await ledger.claim_one("one")
    turn = await ledger.open(slow)
    clock.move(ledger.inbox.lease_s + 1)
    heir = await ledger.claim_one("two")
    with pytest.raises(LeaseLost):
        await ledger.send(slow, turn)
    clock.move(ledger.inbox.lease_s + 1)
    again = await ledger.claim_one("three")
    assert heir.open_turn is not None
    assert again.open_turn is not None
    assert again.open_turn.parts[0].state == "sent"


async def test_an_ambiguous_part_is_counted_and_may_be_presumed_sent(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    turn = await ledger.open(batch)
    part = await ledger.outbox.ambiguous(batch, turn.parts[0], "connection broke", broke=True, again=False)
    await ledger.inbox.again(batch, after_s=0, blame=False)
    batch = await ledger.claim_one()
    assert batch.open_turn is not None
    assert batch.open_turn.parts[0].unsure == part.unsure == 1
    assert batch.open_turn.parts[0].broken == part.broken == 1
    await ledger.outbox.finish(batch, batch.open_turn)
    assert await ledger.claim() == []


async def test_a_reply_that_still_waits_to_be_sent_gives_way_to_newer_words(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "it blinks")])
    batch = await ledger.claim_one()
    turn = await ledger.open(batch)
    await ledger.outbox.not_sent(batch, turn.parts[0], "paused")
    await ledger.inbox.again(batch, after_s=0, blame=False)
    await ledger.inbox.put([says(ANNA, "sorry, steady")])
    batch = await ledger.claim_one()
    assert (texts(batch), batch.superseded) == (["it blinks", "sorry, steady"], 1)
    await ledger.answer(batch)
    assert await ledger.claim() == []


async def test_a_person_who_takes_the_chat_silences_what_is_left_of_an_answer(
    ledger: Ledger, db: Database
) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    turn = await ledger.open(batch, parts=["one", "two"])
    await Handoffs(db).take(ANNA, "mei")
    assert await ledger.outbox.sent(batch, turn, turn.parts[0], Receipt("r1", 1.0)) is None
    assert await ledger.claim() == []
    assert [entry.text for entry in await Transcripts(db).entries(ANNA)] == ["hello", "one"]


async def test_a_person_is_asked_for_with_the_last_receipt(ledger: Ledger, db: Database) -> None:
    await ledger.inbox.put([says(ANNA, "help")])
    batch = await ledger.claim_one()
    reply = Reply("somebody comes", "en", "notice:held", handoff="held", remembered=False)
    turn = await ledger.outbox.open(batch, Message(ANNA, "help", "en"), reply, [Part("somebody comes")])
    handoffs = Handoffs(db)
    assert await handoffs.waiting() == 0
    await ledger.send(batch, turn)
    assert await handoffs.waiting() == 1
    assert await handoffs.announce(ANNA)
    assert not await handoffs.announce(ANNA)


async def test_a_receipt_that_comes_late_closes_the_turn_at_the_next_claim(
    ledger: Ledger, clock: Clock
) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    slow = await ledger.claim_one("one")
    turn = await ledger.open(slow)
    clock.move(ledger.inbox.lease_s + 1)
    heir = await ledger.claim_one("two")
    with pytest.raises(LeaseLost):
        await ledger.send(slow, turn)
    assert heir.open_turn is not None
    assert await ledger.outbox.sending(heir, heir.open_turn, heir.open_turn.parts[0]) is None
    assert await ledger.claim() == []
    clock.move(ledger.inbox.lease_s + 1)
    assert await ledger.claim() == []


async def test_the_ghost_of_an_erased_chat_cannot_write_in_the_new_one(
    ledger: Ledger, db: Database, clock: Clock
) -> None:
    await ledger.inbox.put([says(ANNA, "secret")])
    ghost = await ledger.claim_one()
    await forget(db, ANNA)
    clock.move(0.001)
    await ledger.inbox.put([says(ANNA, "hello")])
    await ledger.claim_one()
    with pytest.raises(LeaseLost):
        await ledger.open(ghost, "about the secret")


async def test_giving_back_twice_counts_once(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    await ledger.answer(batch)
    await ledger.inbox.again(batch, after_s=0, blame=False)
    assert await ledger.claim() == []
    await ledger.inbox.put([says(ANNA, "more")])
    batch = await ledger.claim_one()
    assert (batch.attempts, batch.crashes) == (0, 0)


async def test_a_buried_reply_does_not_come_back(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    await ledger.open(batch)
    await ledger.inbox.again(batch, after_s=0)
    await ledger.inbox.bury(await ledger.claim_one(), "ValueError")
    assert await ledger.claim() == []


async def test_an_abandoned_turn_leaves_the_chat_usable(ledger: Ledger, db: Database) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    turn = await ledger.open(batch)
    await ledger.outbox.abandon(batch, turn, "blocked", chat_is_closed=True)
    assert await ledger.claim() == []
    await ledger.inbox.put([says(ANNA, "back again")])
    await ledger.answer(await ledger.claim_one())
    assert [turn.text for turn in await Transcripts(db).turns(ANNA, 5)] == ["back again"]


# -- remembering ------------------------------------------------------------------------------------


async def test_the_last_turns_come_oldest_first_and_end_at_a_reset(ledger: Ledger, db: Database) -> None:
    transcripts = Transcripts(db)
    newest = []
    for number in range(7):
        await ledger.inbox.put([says(ANNA, f"q{number}"), says(BEN, "other")])
        for batch in await ledger.claim():
            if batch.chat == ANNA:
                newest.append(batch.last_turn)
            await ledger.answer(batch, f"a{number}")
    turns = await transcripts.turns(ANNA, 5)
    assert [(turn.text, turn.reply) for turn in turns] == [(f"q{n}", f"a{n}") for n in range(2, 7)]
    assert newest[0] == 0
    assert newest[1:] == sorted(newest[1:])
    await transcripts.reset(ANNA)
    assert await transcripts.turns(ANNA, 5) == ()
    await ledger.inbox.put([says(ANNA, "fresh")])
    assert (await ledger.claim_one()).last_turn == 0
    assert len(await transcripts.entries(ANNA)) == 15


async def test_entries_show_both_sides_in_order(ledger: Ledger, db: Database) -> None:
    await ledger.inbox.put([says(ANNA, "hello", source="web:1")])
    await ledger.answer(await ledger.claim_one(), "good day")
    entries = await Transcripts(db).entries(ANNA)
    assert [(entry.who, entry.text, entry.source) for entry in entries] == [
        ("customer", "hello", "web:1"),
        ("bot", "good day", ""),
    ]
    assert await Transcripts(db).entries(ANNA, after=entries[0].id) == entries[1:]


async def test_forgetting_a_chat_leaves_the_others_and_names_orphaned_photos(
    ledger: Ledger, db: Database
) -> None:
    for chat, photo in ((ANNA, "a"), (ANNA, "b"), (BEN, "b")):
        await ledger.inbox.put([shows(chat, caption="look")])
        batch = await ledger.claim_one()
        await ledger.inbox.attach([(batch.arrivals[0], Photo(photo * 64, 8, 8))])
        await ledger.answer(batch)
    transcripts = Transcripts(db)
    receipt, photos = await forget(db, ANNA)
    assert (receipt.messages, receipt.counts["turns"], photos) == (4, 2, ["a" * 64])
    assert await transcripts.entries(ANNA) == []
    assert len(await transcripts.entries(BEN)) == 2


async def test_a_person_who_takes_the_chat_silences_the_draft_in_work(ledger: Ledger, db: Database) -> None:
    handoffs = Handoffs(db)
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    assert batch.holder is None
    await handoffs.take(ANNA, "mei")
    with pytest.raises(Superseded):
        await ledger.open(batch, "too late")
    batch = await ledger.claim_one()
    assert (batch.holder, texts(batch)) == ("mei", ["hello"])
    await ledger.outbox.relay(batch, Message(ANNA, "hello", "en"))
    assert await ledger.claim() == []


# -- handing over -----------------------------------------------------------------------------------


async def test_a_chat_is_asked_for_once_and_held_by_one_person(db: Database) -> None:
    handoffs = Handoffs(db)
    assert await handoffs.ask(ANNA, "asked")
    assert not await handoffs.ask(ANNA, "again")
    assert (await handoffs.waiting(), await handoffs.holder(ANNA)) == (1, None)
    await handoffs.take(ANNA, "mei")
    with pytest.raises(NotWaiting):
        await handoffs.take(ANNA, "tom")
    assert (await handoffs.waiting(), await handoffs.holder(ANNA)) == (0, "mei")
    assert await handoffs.close(ANNA)
    assert not await handoffs.close(ANNA)
    assert await handoffs.holder(ANNA) is None
