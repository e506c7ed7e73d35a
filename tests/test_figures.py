"""Figures: counted once, right on both databases, silence shown as silence."""

from __future__ import annotations

import pytest

from context.console.counting import Counting
from context.console.figures import HOUR_S
from context.console.outcomes import Fixes, Outcomes
from context.console.reviews import Review, Reviews
from context.db import Database
from context.feedback import Feedbacks
from context.follow_ups import FollowUps
from context.handoffs import Handoffs
from context.turns import Chat, Message, Part, Reply
from tests.clock import Clock
from tests.ledger import ANNA, BEN, Ledger, forget, says


async def talk(
    db: Database, clock: Clock, chat: Chat, reply: Reply, *, seconds: float = 2.0, question: str = "question"
) -> int:
    ledger = Ledger(db)
    await ledger.inbox.put([says(chat, question)])
    batch = await ledger.claim_one()
    turn = await ledger.outbox.open(batch, Message(chat, question, "en"), reply, [Part(reply.text)])
    clock.move(seconds)
    await ledger.send(batch, turn)
    return turn.id


def by_model(model: str = "m1", template: str = "support@1") -> Reply:
    return Reply("answer", "en", "remote", record={"model": model, "prompt": template})


async def test_turns_are_counted_by_who_answered_and_by_what(db: Database, clock: Clock) -> None:
    start = clock.now
    first = await talk(db, clock, ANNA, by_model(), seconds=1)
    for seconds in (2, 3, 40):
        await talk(db, clock, ANNA, by_model("m2", "support@2"), seconds=seconds)
    await talk(db, clock, BEN, Reply("rules", "en", "fallback"))
    await talk(db, clock, BEN, Reply("colleague", "en", "staff:mia"))
    await talk(db, clock, BEN, Reply("held", "en", "notice:held", remembered=False))
    await Reviews(db).put(Review(first, "mia", "down", ("wrong_code", "tone")))
    handoffs = Handoffs(db)
    await handoffs.ask(ANNA, "asked")
    clock.move(60)
    await handoffs.take(ANNA, "mia")
    figures = await Counting(db).read(since=start, until=clock.now + 1)
    total = figures.total
    assert dict(total.answered) == {"model": 4, "fallback": 1, "person": 1, "notice": 1}
    assert (total.turns, total.messages, total.held, total.blocked, total.failed) == (7, 7, 1, 0, 0)
    assert total.share("model") == pytest.approx(4 / 7)
    assert total.p50_s == pytest.approx(2, rel=0.05)
    assert total.p95_s == pytest.approx(40, rel=0.05)
    assert {name: tally.turns for name, tally in figures.by_model.items()} == {"m1": 1, "m2": 3}
    assert {name: tally.turns for name, tally in figures.by_template.items()} == {
        "support@1": 1,
        "support@2": 3,
    }
    assert (figures.staff_thumbs.up, figures.staff_thumbs.down) == (0, 1)
    assert dict(figures.reasons) == {"wrong_code": 1, "tone": 1}
    assert (figures.waiting.asked, figures.waiting.taken) == (1, 1)
    assert figures.waiting.p50_s == pytest.approx(60, rel=0.05)
    assert figures.is_whole


async def test_silence_is_shown_as_silence(db: Database, clock: Clock) -> None:
    empty = await Counting(db).read(since=clock.now - 86_400, until=clock.now)
    assert (empty.total.turns, empty.total.p50_s, empty.total.share("model")) == (0, None, None)
    assert (empty.staff_thumbs.share_up, empty.waiting.p50_s) == (None, None)
    start = clock.now - clock.now % HOUR_S
    await talk(db, clock, ANNA, by_model())
    clock.move(2 * HOUR_S)
    await talk(db, clock, ANNA, by_model())
    figures = await Counting(db).read(since=start, until=start + 3 * HOUR_S, step="hour")
    assert [(step.turns, step.p50_s is None) for step in figures.steps] == [(1, False), (0, True), (1, False)]


async def test_a_days_beginning_is_the_readers(db: Database, clock: Clock) -> None:
    midnight = clock.now - clock.now % 86_400 + 86_400
    for hour in (-9, -7):  # 23:00 and 01:00 in Shanghai
        clock.now = midnight + hour * HOUR_S
        await talk(db, clock, ANNA, by_model())
    clock.now = midnight
    counting = Counting(db)
    utc = await counting.read(since=midnight - 12 * HOUR_S, until=midnight)
    assert [step.turns for step in utc.steps] == [2]
    shanghai = await counting.read(since=midnight - 12 * HOUR_S, until=midnight, offset_s=8 * HOUR_S)
    assert [step.turns for step in shanghai.steps] == [1, 1]


async def test_the_running_hour_goes_on_and_an_old_one_stays_when_the_chat_is_gone(
    db: Database, clock: Clock
) -> None:
    clock.now -= clock.now % HOUR_S
    start, counting = clock.now, Counting(db)
    for expected in (1, 2):
        await talk(db, clock, ANNA, by_model())
        clock.move(10)
        assert (await counting.read(since=start, until=clock.now)).total.turns == expected
    for wait_s in (HOUR_S + 700, 86_400):
        clock.move(wait_s)
        assert (await counting.read(since=start, until=start + 1)).total.turns == 2
    await forget(db, ANNA)
    clock.move(86_400)
    kept = (await counting.read(since=start, until=start + 1)).total
    assert (kept.turns, kept.answered["model"]) == (2, 2)


async def ask_whether_it_worked(db: Database, chat: Chat, turn_id: int) -> None:
    first = FollowUps(db).asking(chat, turn_id)
    assert await db.write(lambda connection: first(connection, db.now(connection)))


async def test_what_customers_say_is_theirs_and_silence_is_no_yes(db: Database, clock: Clock) -> None:
    start, feedbacks, outcomes = clock.now, Feedbacks(db), Outcomes(db)
    empty = await outcomes.read(since=start, until=start + 1)
    assert (empty.thumbs.share_up, empty.fixes.share_fixed, dict(empty.by_fault)) == (None, None, {})
    says_what = [
        (ANNA, "E4 on the display", "up"),
        (BEN, "it shows e-4!", "down"),
        (ANNA, "E4 again", None),
        (BEN, "红灯 F21", "up"),
        (BEN, "it drips", None),
    ]
    for chat, question, worked in says_what:
        turn = await talk(db, clock, chat, by_model(), question=question)
        await ask_whether_it_worked(db, chat, turn)
        if worked == "up":
            await feedbacks.keep(chat, turn, "fixed", "up")
        elif worked:
            await feedbacks.keep(chat, turn, "fixed", "down")
            await feedbacks.keep(chat, turn, "helpful", "down", reason="unclear")
    await feedbacks.keep(chat, turn, "helpful", "up")
    found = await outcomes.read(since=start, until=clock.now + 1)
    assert (found.thumbs.up, found.thumbs.down, dict(found.reasons)) == (1, 1, {"unclear": 1})
    assert dict(found.by_fault) == {
        "E4": Fixes(asked=3, fixed=1, not_fixed=1),
        "": Fixes(asked=1, fixed=0, not_fixed=0),
        "F21": Fixes(asked=1, fixed=1, not_fixed=0),
    }
    assert (found.fixes.silent, found.by_fault["E4"].silent) == (2, 1)
    assert found.fixes.share_fixed == pytest.approx(2 / 3)
    assert found.by_fault[""].share_fixed is None
    assert (await outcomes.read(since=clock.now + 1, until=clock.now + 2)).fixes.asked == 0
