"""What staff do, on both databases: held replies, cases, votes, follow-ups, staff's words in a lane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from context.console.cases import Cases
from context.console.held import DecidedAlready, HeldReplies, MovedOn, releasing
from context.db import Database
from context.feedback import Feedbacks, NotTheirs
from context.follow_ups import FollowUps
from context.handoffs import Handoffs, NotWaiting, closing, taking
from context.inbox import NoSuchChat
from context.transcripts import Transcripts
from context.turns import Arrival, Batch, Kind, Message, OpenTurn, Part, Reply
from tests.clock import Clock
from tests.ledger import ANNA, BEN, Ledger, forget, says, shows


@pytest.fixture
def ledger(db: Database) -> Ledger:
    return Ledger(db)


def deed(name: str, text: str = "", *, about: int = 0) -> Arrival:
    return Arrival(
        ANNA,
        f"staff:{name}",
        f"staff:{name}",
        Kind.STAFF,
        text=text,
        command="say",
        staff="mei",
        reply_to=str(about or ""),
    )


async def say(ledger: Ledger, batch: Batch, reply: Reply, text: str = "question") -> OpenTurn:
    message = Message(batch.chat, text, "en")
    turn = await ledger.outbox.open(batch, message, reply, [Part(reply.text)])
    await ledger.send(batch, turn)
    return turn


def held_reply() -> Reply:
    record: dict[str, Any] = {"draft": "draft", "verdict": {"action": "hold", "reasons": [{"rule": "r"}]}}
    return Reply("checked", "en", "notice:held", handoff="held: r", remembered=False, record=record)


async def test_staffs_words_go_first_and_are_said_under_a_holder(db: Database, ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "one")])
    await ledger.answer(await ledger.claim_one())
    await ledger.inbox.put([says(ANNA, "two")])
    await ledger.inbox.put([deed("a", "1234 5678")], first=taking(ANNA, "mei", is_enough=True))
    batch = await ledger.claim_one()
    assert [arrival.kind for arrival in batch.arrivals] == [Kind.STAFF]
    assert (batch.holder, batch.arrivals[0].staff, batch.may_grow) == ("mei", "mei", False)
    await say(ledger, batch, Reply("1234 5678", "en", "staff:mei"))
    lines = await Transcripts(db).entries(ANNA)
    assert [(line.who, line.text) for line in lines] == [
        ("customer", "one"),
        ("bot", "answer"),
        ("customer", "two"),
        ("staff", "1234 5678"),
    ]
    assert [bool(line.ask) for line in lines] == [False, True, False, False]
    assert [arrival.text for arrival in (await ledger.claim_one()).arrivals] == ["two"]


async def test_an_open_turn_of_staffs_is_carried_on_after_a_death(ledger: Ledger, clock: Clock) -> None:
    await ledger.inbox.put([says(ANNA, "one")])
    await ledger.answer(await ledger.claim_one())
    await ledger.inbox.put([deed("b", "hello")], first=taking(ANNA, "mei", is_enough=True))
    batch = await ledger.claim_one()
    message = Message(ANNA, "", "en")
    turn = await ledger.outbox.open(batch, message, Reply("hello", "en", "staff:mei"), [Part("hello")])
    clock.move(60)
    again = await ledger.claim_one("another")
    assert again.open_turn is not None
    assert again.open_turn.id == turn.id


async def test_nobody_writes_into_a_chat_that_is_not_there(db: Database, ledger: Ledger) -> None:
    with pytest.raises(NoSuchChat):
        await ledger.inbox.put([deed("z", "hello")], first=taking(ANNA, "mei", is_enough=True))
    assert await Handoffs(db).current(ANNA) is None
    await ledger.inbox.put([says(BEN, "one")])
    assert [batch.chat for batch in await ledger.claim()] == [BEN]


async def test_of_two_who_take_or_close_one_does(db: Database, ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "one")])
    assert await ledger.inbox.put([deed("c")], first=taking(ANNA, "mei")) == 1
    assert await ledger.inbox.put([deed("d")], first=taking(ANNA, "mei")) == 0
    for first in (taking(ANNA, "ben"), closing(ANNA, "ben")):
        with pytest.raises(NotWaiting):
            await ledger.inbox.put([deed("e")], first=first)
    assert await ledger.inbox.put([deed("g")], first=closing(ANNA, "ana", over=True)) == 1
    assert await Handoffs(db).holder(ANNA) is None
    assert (await ledger.claim_one()).handed_back_at > 0


async def test_a_held_reply_is_decided_once_and_not_when_left_behind(db: Database, ledger: Ledger) -> None:
    held = HeldReplies(db)
    for chat in (ANNA, BEN):
        await ledger.inbox.put([says(chat, "one")])
        await say(ledger, await ledger.claim_one(), held_reply())
    anna, ben = await held.open()
    assert (anna.draft, anna.reasons, anna.moved_on) == ("draft", ("r",), "")
    release = releasing(anna.turn_id, "mei", why="fine", words="other")
    assert await ledger.inbox.put([deed("h", "other", about=anna.turn_id)], first=release) == 1
    assert await Handoffs(db).current(ANNA) is None
    with pytest.raises(DecidedAlready):
        await ledger.inbox.put([deed("i")], first=release)
    await ledger.inbox.put([says(BEN, "two")])
    for batch in await ledger.claim():
        if batch.chat == BEN:
            await ledger.answer(batch)
    with pytest.raises(MovedOn):
        await ledger.inbox.put([deed("j")], first=releasing(ben.turn_id, "mei", why="", words=None))
    assert await held.open() == []
    assert (await held.refuse(ben.turn_id, "mei")).moved_on == "answered"


async def test_votes_are_one_a_question_and_the_last_one_counts(db: Database, ledger: Ledger) -> None:
    votes = Feedbacks(db)
    await ledger.inbox.put([says(ANNA, "one")])
    turn = await ledger.answer(await ledger.claim_one())
    assert await votes.keep(ANNA, turn.id, "helpful", "up")
    assert not await votes.keep(ANNA, turn.id, "helpful", "up")
    assert await votes.keep(ANNA, turn.id, "helpful", "down", reason="wrong")
    assert [(one.vote, one.reason) for one in await votes.of_chat(ANNA)] == [("down", "wrong")]
    assert await votes.failed_tries(ANNA) == 1
    (_, line) = await Transcripts(db).entries(ANNA)
    assert line.vote == "down wrong"
    with pytest.raises(NotTheirs):
        await votes.keep(BEN, turn.id, "helpful", "up")
    with pytest.raises(ValueError, match="no reason"):
        await votes.keep(ANNA, turn.id, "helpful", "down", reason="because")


async def test_a_case_is_shown_with_what_is_new(db: Database, ledger: Ledger) -> None:
    cases, handoffs = Cases(db), Handoffs(db)
    await ledger.inbox.put([says(ANNA, "it shows E4")])
    await ledger.answer(await ledger.claim_one(), "1. switch it off")
    await handoffs.ask(ANNA, "asked")
    (case,) = await cases.current()
    facts = await cases.facts(ANNA)
    assert (facts.reason, facts.questions, facts.answers) == (
        "asked",
        ("it shows E4",),
        ("1. switch it off",),
    )
    await cases.show(case, place="-1", thread=7, shown=await cases.newest(ANNA))
    assert await cases.in_topic("-1", 7) == ANNA
    await ledger.inbox.put([says(ANNA, "more")])
    (shown,) = await cases.current()
    assert [line.text for line in await cases.news(ANNA, shown.shown)] == ["more"]
    await handoffs.close(ANNA)
    (over,) = await cases.current()
    assert over.is_closed
    await cases.note(ANNA, shown=over.shown, holder=None, closed=True)
    assert await cases.current() == []


async def test_follow_ups_are_due_a_day_later(db: Database, ledger: Ledger, clock: Clock) -> None:
    follow = FollowUps(db)
    await ledger.inbox.put([replace(shows(ANNA), text="it blinks")])
    await db.write(lambda c: c.exec_driver_sql("UPDATE chats SET photos = 1"))
    turn = await ledger.answer(await ledger.claim_one())
    assert await follow.due(after_s=86_400) == []
    clock.move(90_000)
    assert await follow.due(after_s=86_400) == [(ANNA, turn.id)]
    assert await ledger.inbox.put([deed("k")], first=follow.asking(ANNA, turn.id)) == 1
    assert await ledger.inbox.put([deed("l")], first=follow.asking(ANNA, turn.id)) == 0
    assert await follow.due(after_s=86_400) == []


async def test_forgetting_a_chat_forgets_what_staff_did_with_it(db: Database, ledger: Ledger) -> None:
    await ledger.inbox.put([says(ANNA, "one")])
    turn = await say(ledger, await ledger.claim_one(), held_reply())
    await Feedbacks(db).keep(ANNA, turn.id, "helpful", "down")
    (case,) = await Cases(db).current()
    await Cases(db).show(case, place="-1", thread=7, shown=0)
    await forget(db, ANNA)
    for table in ("held", "feedback", "cases", "handoffs", "follow_ups"):
        count = await db.read(
            lambda c, t=table: c.exec_driver_sql(f"SELECT COUNT(*) FROM {t}").scalar_one()  # type: ignore[misc]
        )
        assert count == 0, table
