"""The inbox, on SQLite and on PostgreSQL: what is stored, what makes one turn, and who may claim it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa

from bot.worker import CRASHES
from context.claims import SUPERSEDE_LIMIT, SUSPECT
from context.console.conversations import Conversations
from context.db import Database, StoreDown
from context.outbox import LeaseLost, Superseded
from context.transcripts import Transcripts
from context.turns import Attachment, Chat, Photo, Rejection
from tests.clock import Clock
from tests.ledger import ANNA, BEN, Ledger, commands, says, shows, texts


@pytest.fixture
def ledger(db: Database) -> Ledger:
    return Ledger(db)


# -- arriving ---------------------------------------------------------------------------------------


async def test_a_message_delivered_twice_is_stored_once(ledger: Ledger) -> None:
    arrival = says(ANNA, "E4", source="update:77", message_id="5")
    assert await ledger.inbox.put([arrival]) == 1
    assert await ledger.inbox.put([arrival]) == 0
    assert texts(await ledger.claim_one()) == ["E4"]


async def test_a_message_under_a_second_update_id_is_stored_once(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "E4", source="update:1", message_id="5")])
    assert await ledger.inbox.put([says(ANNA, "E4", source="update:2", message_id="5")]) == 0


async def test_an_update_id_that_telegram_gives_out_again_hides_no_message(ledger: Ledger) -> None:
    """After a week without updates it begins at a random number, which may be one of long ago."""
    await ledger.inbox.put([says(ANNA, "long ago", source="update:7", message_id="1")])
    await ledger.answer(await ledger.claim_one())
    for again in (says(BEN, "new", source="update:7", message_id="1"), says(ANNA, "and", source="update:7")):
        assert await ledger.inbox.put([again]) == 1
        assert await ledger.inbox.put([again]) == 0
    assert sorted(texts(batch)[0] for batch in await ledger.claim()) == ["and", "new"]


async def test_listeners_hear_only_of_what_is_new(ledger: Ledger) -> None:
    heard: list[str] = []
    ledger.inbox.on_put(lambda arrivals: heard.extend(arrival.text for arrival in arrivals))
    arrival = says(ANNA, "E4")
    await ledger.inbox.put([arrival, says(BEN, "E5")])
    await ledger.inbox.put([arrival])
    assert heard == ["E4", "E5"]


async def test_an_unreadable_update_is_kept_once_and_blocks_nobody(ledger: Ledger, db: Database) -> None:
    await ledger.inbox.set_aside("update:9", "{", "no JSON")
    await ledger.inbox.set_aside("update:9", "{", "no JSON")
    await ledger.inbox.put([says(ANNA, "hello")])
    assert texts(await ledger.claim_one()) == ["hello"]
    rows = await db.read(lambda c: c.exec_driver_sql("SELECT raw, reason FROM asides").all())
    assert [tuple(row) for row in rows] == [("{", "no JSON")]


async def test_a_text_that_no_database_holds_is_not_taken_for_an_outage(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="surrogate") as refused:
        await ledger.inbox.put([says(ANNA, "half a pair: \ud800")])
    assert not isinstance(refused.value, StoreDown)


async def test_a_nul_in_a_text_is_never_an_outage(ledger: Ledger, db: Database) -> None:
    if db.is_sqlite:  # which holds it
        assert await ledger.inbox.put([says(ANNA, "a\x00b")]) == 1
        return
    with pytest.raises(sa.exc.DataError):
        await ledger.inbox.put([says(ANNA, "a\x00b")])


# -- collecting -------------------------------------------------------------------------------------


async def test_text_is_due_at_once(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    assert len(await ledger.claim()) == 1


async def test_a_lone_photo_waits_for_its_words(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([shows(ANNA)])
    assert await ledger.claim() == []
    clock.move(1.0)
    await ledger.inbox.put([says(ANNA, "the AC shows this")])
    batch = await ledger.claim_one()
    assert [arrival.kind.value for arrival in batch.arrivals] == ["photo", "text"]


async def test_a_lone_photo_without_words_is_answered_soon(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([shows(ANNA)])
    _, due_s = await ledger.inbox.claim("w", 10)
    assert due_s == pytest.approx(1.5)
    clock.move(1.6)
    assert len((await ledger.claim_one()).arrivals) == 1


async def test_an_album_becomes_one_turn_after_its_last_item(ledger: Ledger, clock: Clock) -> None:
    for _ in range(3):
        await ledger.inbox.put([shows(ANNA, album="a")])
        clock.move(0.7)
        assert await ledger.claim() == []
    clock.move(0.5)
    assert len((await ledger.claim_one()).arrivals) == 3


async def test_a_full_album_is_not_waited_for(ledger: Ledger) -> None:
    await ledger.inbox.put([shows(ANNA, album="a") for _ in range(10)])
    assert len((await ledger.claim_one()).arrivals) == 10


@pytest.mark.parametrize("items", range(2, 11))
async def test_an_album_may_take_three_seconds_from_photo_to_photo(
    ledger: Ledger, clock: Clock, items: int
) -> None:
    """Its beginning may be looked at alone, and is then superseded; one answer covers them all."""
    album = [replace(shows(ANNA, album="a"), message_id=str(n)) for n in range(items)]
    batch = None
    for arrival in album[1::2] + album[::2]:
        await ledger.inbox.put([arrival])
        if batch is not None:
            await ledger.inbox.superseded(batch)
            batch = None
        for _ in range(6):
            clock.move(0.5)
            for claimed in await ledger.claim():
                batch = claimed
    clock.move(0.3)
    batch = batch or await ledger.claim_one()
    assert [arrival.message_id for arrival in batch.arrivals] == [str(n) for n in range(items)]
    assert batch.superseded <= 1


async def test_an_album_of_known_size_is_not_waited_for(ledger: Ledger) -> None:
    await ledger.inbox.put([replace(shows(ANNA, album="a"), album_size=3) for _ in range(3)])
    batch = await ledger.claim_one()
    assert (len(batch.arrivals), batch.settle_s) == (3, 0.0)


async def test_a_late_photo_of_an_answered_album_opens_a_follow_up(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([shows(ANNA, album="a"), shows(ANNA, album="a")])
    clock.move(1.1)
    await ledger.answer(await ledger.claim_one())
    await ledger.inbox.put([shows(ANNA, album="a")])
    clock.move(1.1)
    assert len((await ledger.claim_one()).arrivals) == 1


async def test_an_album_is_not_torn_between_two_turns(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([says(ANNA, str(number)) for number in range(15)])
    await ledger.inbox.put([shows(ANNA, album="a") for _ in range(10)])
    first = await ledger.claim_one()
    assert (len(first.arrivals), first.may_grow) == (15, False)
    await ledger.answer(first)
    assert {arrival.album for arrival in (await ledger.claim_one()).arrivals} == {"a"}


async def test_nobody_waits_longer_than_the_longest_wait(ledger: Ledger, clock: Clock) -> None:
    for _ in range(9):
        assert await ledger.claim() == []
        await ledger.inbox.put([shows(ANNA)])
        clock.move(0.9)
    assert len((await ledger.claim_one()).arrivals) == 9


async def test_a_command_is_a_turn_of_its_own(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "one"), says(ANNA, "two"), commands(ANNA, "reset"), says(ANNA, "new")])
    seen = []
    for _ in range(3):
        batch = await ledger.claim_one()
        seen.append([arrival.command or arrival.text for arrival in batch.arrivals])
        await ledger.answer(batch)
    assert seen == [["one", "two"], ["reset"], ["new"]]


async def test_an_edit_before_the_answer_replaces_the_words_in_place(ledger: Ledger) -> None:
    await ledger.inbox.put(
        [says(ANNA, "shows E4", message_id="1"), says(ANNA, "since today", message_id="2")]
    )
    await ledger.inbox.put([says(ANNA, "shows E7", message_id="1", edited=True)])
    assert texts(await ledger.claim_one()) == ["shows E7", "since today"]


@pytest.mark.parametrize(("edit", "asks_again"), [("shows e4!", False), ("shows E7", True)])
async def test_an_edit_after_the_answer_counts_only_when_words_changed(
    ledger: Ledger, edit: str, asks_again: bool
) -> None:
    await ledger.inbox.put([says(ANNA, "shows E4", message_id="1")])
    await ledger.answer(await ledger.claim_one())
    await ledger.inbox.put([says(ANNA, edit, message_id="1", edited=True)])
    assert [texts(batch) for batch in await ledger.claim()] == ([[edit]] if asks_again else [])


async def test_an_original_that_comes_after_its_edit_is_not_answered(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "shows E7", message_id="1", edited=True)])
    await ledger.inbox.put([says(ANNA, "shows E4", message_id="1")])
    assert texts(await ledger.claim_one()) == ["shows E7"]


async def test_an_old_edit_delivered_again_takes_nothing_back(ledger: Ledger) -> None:
    old = says(ANNA, "shows E4", message_id="1", edited=True)
    await ledger.inbox.put([old])
    await ledger.inbox.put([says(ANNA, "shows E7", message_id="1", edited=True)])
    await ledger.inbox.put([old])
    assert texts(await ledger.claim_one()) == ["shows E7"]


async def test_an_edit_of_no_word_does_not_shield_the_original(ledger: Ledger) -> None:
    for text, edited in (("shows E4", False), ("shows E4!", True), ("shows E7", True)):
        await ledger.inbox.put([says(ANNA, text, message_id="1", edited=edited)])
    assert texts(await ledger.claim_one()) == ["shows E7"]


async def test_an_edit_with_another_photo_counts_whatever_its_words(ledger: Ledger) -> None:
    await ledger.inbox.put([replace(shows(ANNA, caption="look"), message_id="1")])
    await ledger.answer(await ledger.claim_one())
    other = replace(shows(ANNA, caption="look"), message_id="1", edited=True)
    await ledger.inbox.put([replace(other, source="update:same")])
    assert await ledger.claim() == []
    await ledger.inbox.put([replace(other, source="update:other", attachment=Attachment("new", 2000))])
    assert len(await ledger.claim()) == 1


async def test_both_versions_of_an_edited_message_stay_in_the_record(ledger: Ledger, db: Database) -> None:
    await ledger.inbox.put([says(ANNA, "shows E4", message_id="1")])
    await ledger.inbox.put([says(ANNA, "shows E7", message_id="1", edited=True)])
    await ledger.answer(await ledger.claim_one())
    conversation = await Conversations(db).read(ANNA)
    assert conversation is not None
    assert [(said.text, said.state) for said in conversation.said if said.who == "customer"] == [
        ("shows E4", "replaced"),
        ("shows E7", "taken"),
    ]


async def test_messages_that_overtook_each_other_are_read_in_the_customers_order(ledger: Ledger) -> None:
    for number in ("12", "11", "13"):
        await ledger.inbox.put([says(ANNA, number, message_id=number)])
    assert texts(await ledger.claim_one()) == ["11", "12", "13"]


async def test_photos_are_numbered_within_a_case_and_a_repeat_keeps_its_number(
    ledger: Ledger, db: Database
) -> None:
    await ledger.inbox.put([shows(ANNA, album="a") for _ in range(10)])
    batch = await ledger.claim_one()
    first, second, third, *_ = batch.arrivals
    refused = Rejection("damaged", "cut")
    taken = await ledger.inbox.attach(
        [(first, Photo("a" * 64, 8, 8)), (second, refused), (third, Photo("b" * 64, 8, 8))]
    )
    assert taken == (Photo("a" * 64, 8, 8, 1), refused, Photo("b" * 64, 8, 8, 2))
    await ledger.answer(batch)
    await ledger.inbox.put([shows(ANNA, caption="again")])
    batch = await ledger.claim_one()
    assert await ledger.inbox.attach([(batch.arrivals[0], Photo("a" * 64, 8, 8))]) == (
        Photo("a" * 64, 8, 8, 1),
    )
    (turn,) = await Transcripts(db).turns(ANNA, 5)
    assert [photo.number for photo in turn.photos] == [1, 2]


async def test_what_was_taken_in_is_found_by_the_next_claim(ledger: Ledger) -> None:
    await ledger.inbox.put([shows(ANNA, caption="look")])
    batch = await ledger.claim_one()
    (photo,) = await ledger.inbox.attach([(batch.arrivals[0], Photo("a" * 64, 8, 8))])
    await ledger.inbox.again(batch, after_s=0)
    assert (await ledger.claim_one()).arrivals[0].taken == photo


# -- claiming ---------------------------------------------------------------------------------------


async def test_a_chat_is_held_by_one_worker_at_a_time(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "hello"), says(BEN, "hello")])
    first = await ledger.claim("one", 1)
    second = await ledger.claim("two")
    assert {batch.chat for batch in first} | {batch.chat for batch in second} == {ANNA, BEN}
    assert await ledger.claim("three") == []


async def test_many_claimers_never_share_a_chat(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([says(type(ANNA)("telegram", str(n)), "hello") for n in range(30)])
    claims = await asyncio.gather(*(ledger.claim(f"w{n}", 4) for n in range(12)))
    chats = [batch.chat for claim in claims for batch in claim]
    assert len(chats) == len(set(chats)) == 30


async def test_order_inside_a_chat_holds_while_it_is_held(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "first")])
    batch = await ledger.claim_one()
    turn = await ledger.open(batch)
    await ledger.inbox.put([says(ANNA, "second")])
    assert await ledger.claim() == []
    await ledger.send(batch, turn)
    assert texts(await ledger.claim_one()) == ["second"]


async def test_a_dead_workers_chat_is_claimed_again_and_its_ghost_cannot_speak(
    ledger: Ledger, clock: Clock
) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    ghost = await ledger.claim_one("one")
    clock.move(ledger.inbox.lease_s + 1)
    heir = await ledger.claim_one("two")
    assert (texts(heir), heir.attempts, heir.crashes) == (["hello"], 0, 1)
    with pytest.raises(LeaseLost):
        await ledger.open(ghost)
    await ledger.answer(heir)


async def test_deaths_that_are_no_messages_fault_condemn_none(ledger: Ledger, clock: Clock) -> None:
    """Each life has many chats in hand and answers few of them: ten deaths came soon to all others."""
    await ledger.inbox.put([says(Chat("telegram", str(n)), "hello") for n in range(25)])
    most, lives = 0, 0
    while batches := await ledger.claim(f"life {lives}", 16):
        assert sum(batch.is_suspect for batch in batches) <= 1
        most = max(most, *(batch.crashes for batch in batches))
        await ledger.answer(batches[0])
        clock.move(ledger.inbox.lease_s + 1)
        lives += 1
    assert lives == 25
    assert most < CRASHES


async def test_a_message_that_kills_every_worker_is_found_and_the_others_are_answered(
    ledger: Ledger, clock: Clock
) -> None:
    others = [Chat("telegram", str(n)) for n in range(3, 15)]
    await ledger.inbox.put([says(chat, "hello") for chat in [ANNA, *others]])
    answered: dict[Chat, int] = {}
    deaths = 0
    while deaths < CRASHES:
        batches = await ledger.claim(f"life {deaths}", 24)
        if any(batch.chat == ANNA for batch in batches):  # dead before anything is answered
            deaths += 1
            clock.move(ledger.inbox.lease_s + 1)
            continue
        for batch in batches:
            answered[batch.chat] = batch.crashes
            await ledger.answer(batch)
    assert set(answered) == set(others)
    assert max(answered.values()) <= SUSPECT
    assert (await ledger.claim_one()).crashes == CRASHES


async def test_a_worker_with_a_suspect_in_hand_gets_no_other_and_need_not_ask_again_before_it_is_done(
    ledger: Ledger, clock: Clock
) -> None:
    await ledger.inbox.put([says(ANNA, "hello"), says(BEN, "hello")])
    for _ in range(SUSPECT):
        assert len(await ledger.claim()) == 2
        clock.move(ledger.inbox.lease_s + 1)
    (first,), wait_s = await ledger.inbox.claim("w", 10)
    assert first.is_suspect
    assert wait_s is None
    assert (await ledger.inbox.claim("w", 10, may_suspect=False))[0] == []
    await ledger.inbox.put([says(Chat("telegram", "3"), "hello")])
    (third,), _ = await ledger.inbox.claim("w", 10, may_suspect=False)
    assert not third.is_suspect
    await ledger.answer(first)
    assert (await ledger.claim_one()).is_suspect


async def test_a_renewed_lease_is_kept(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one("one")
    clock.move(ledger.inbox.lease_s - 1)
    await ledger.inbox.renew("one", [ANNA])
    clock.move(ledger.inbox.lease_s - 1)
    assert await ledger.claim("two") == []
    await ledger.answer(batch)


async def test_again_waits_and_counts_only_where_there_is_blame(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    await ledger.inbox.again(await ledger.claim_one(), after_s=5, blame=False)
    await ledger.inbox.put([says(ANNA, "more")])  # newer words do not shorten a pause
    assert await ledger.claim() == []
    clock.move(5.1)
    batch = await ledger.claim_one()
    assert (texts(batch), batch.attempts) == (["hello", "more"], 0)
    await ledger.inbox.again(batch, after_s=0)
    assert (await ledger.claim_one()).attempts == 1


async def test_a_buried_message_is_kept_and_the_chat_goes_on(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "poison")])
    await ledger.inbox.bury(await ledger.claim_one(), "ValueError")
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    assert (texts(batch), batch.attempts) == (["hello"], 0)


async def test_a_start_alone_gives_back_what_the_last_run_held(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    await ledger.claim_one("dead")
    await ledger.inbox.release_all()
    assert texts(await ledger.claim_one("new")) == ["hello"]


# -- superseding ------------------------------------------------------------------------------------


async def test_newer_words_supersede_the_draft_and_one_answer_covers_both(
    ledger: Ledger, db: Database
) -> None:
    await ledger.inbox.put([says(ANNA, "it blinks")])
    batch = await ledger.claim_one()
    await ledger.inbox.put([says(ANNA, "sorry, steady")])
    with pytest.raises(Superseded):
        await ledger.open(batch, "draft about blinking")
    batch = await ledger.claim_one()
    assert (texts(batch), batch.superseded, batch.attempts) == (["it blinks", "sorry, steady"], 1, 0)
    await ledger.answer(batch)
    rows = await db.read(lambda c: c.exec_driver_sql("SELECT state, reply FROM turns ORDER BY id").all())
    assert [tuple(row) for row in rows] == [("superseded", "draft about blinking"), ("closed", "answer")]


async def test_a_customer_who_never_pauses_is_answered(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "0")])
    for number in range(1, SUPERSEDE_LIMIT + 1):
        batch = await ledger.claim_one()
        await ledger.inbox.put([says(ANNA, str(number))])
        with pytest.raises(Superseded):
            await ledger.open(batch)
    batch = await ledger.claim_one()
    await ledger.inbox.put([says(ANNA, "late")])
    await ledger.answer(batch)
    assert texts(batch) == ["0", "1", "2", "3"]
    assert texts(await ledger.claim_one()) == ["late"]


async def test_a_command_does_not_supersede(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "hello")])
    batch = await ledger.claim_one()
    await ledger.inbox.put([commands(ANNA, "reset")])
    await ledger.answer(batch)
    assert (await ledger.claim_one()).arrivals[0].command == "reset"


async def test_a_draft_cancelled_early_counts_as_superseded(ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "one")])
    batch = await ledger.claim_one()
    await ledger.inbox.put([says(ANNA, "two")])
    await ledger.inbox.superseded(batch)
    await ledger.inbox.superseded(batch)
    batch = await ledger.claim_one()
    assert (texts(batch), batch.superseded) == (["one", "two"], 1)
