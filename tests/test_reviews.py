"""Reviews: several colleagues, one answer; a queue that goes on where each of them was."""

from __future__ import annotations

import pytest

from context.console.reviews import NoSuchTurn, Review, Reviews
from context.db import Database
from context.turns import Message, Part, Photo, Reply
from tests.clock import Clock
from tests.ledger import ANNA, BEN, Ledger, forget, shows, talk

DAY = 86_400.0


def by_model(text: str, **record: object) -> Reply:
    return Reply(text, "en", "remote", record={"model": "m1", "prompt": "support@1"} | record)


async def test_everybodys_review_is_kept_and_ones_own_is_replaced(db: Database, clock: Clock) -> None:
    turn = await talk(db, ANNA, "E4?", by_model("It is E5."))
    reviews = Reviews(db)
    await reviews.put(Review(turn, "mia", "up"))
    clock.move(5)
    await reviews.put(Review(turn, "li", "down", ("wrong_code", "tone"), "It is E4.", "read the photo again"))
    clock.move(5)
    await reviews.put(Review(turn, "mia", "down", ("wrong_code",)))
    li, mia = (await reviews.of([turn]))[turn]
    assert (li.reviewer, li.reasons, li.correction) == ("li", ("wrong_code", "tone"), "It is E4.")
    assert (mia.reviewer, mia.thumb, mia.at) == ("mia", "down", clock.now)
    assert await reviews.drop(turn, "mia")
    assert not await reviews.drop(turn, "mia")
    assert [review.reviewer for review in (await reviews.of([turn]))[turn]] == ["li"]


async def test_a_review_of_nothing_or_with_words_that_are_none_of_ours_is_refused(db: Database) -> None:
    turn = await talk(db, ANNA, "E4?", by_model("It is E5."))
    reviews = Reviews(db)
    with pytest.raises(NoSuchTurn):
        await reviews.put(Review(turn + 1, "mia", "up"))
    with pytest.raises(ValueError, match="not a thumb"):
        await reviews.put(Review(turn, "mia", "down", ("ugly",)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="characters"):
        await reviews.put(Review(turn, "mia", "down", note="x" * 8001))
    assert await reviews.of([turn]) == {}


async def test_the_queue_goes_on_at_the_first_answer_without_a_review_of_ones_own(
    db: Database, clock: Clock
) -> None:
    reviews = Reviews(db)
    turns = [await talk(db, chat, f"question {n}", by_model("answer")) for n, chat in enumerate((ANNA, BEN))]
    turns.append(await talk(db, ANNA, "refund?", Reply("held", "en", "notice:held", remembered=False)))
    await talk(db, ANNA, "/help", Reply("help", "en", "notice:help", remembered=False))
    await talk(db, BEN, "are you there?", Reply("I am.", "en", "staff:mia"))
    since, until = clock.now - 7 * DAY, clock.now + 1
    place = await reviews.next("mia", since=since, until=until)
    assert (place.turn_id, place.chat, place.done, place.total) == (turns[0], ANNA, 0, 3)
    await reviews.put(Review(turns[0], "mia", "up"))
    await reviews.put(Review(turns[2], "mia", "down", ("unsafe",)))
    place = await reviews.next("mia", since=since, until=until)
    assert (place.turn_id, place.chat, place.done, place.total) == (turns[1], BEN, 2, 3)
    assert (await reviews.next("mia", since=since, until=until, after=turns[1])).turn_id is None
    assert (await reviews.next("li", since=since, until=until)).turn_id == turns[0]
    assert (await reviews.next("li", since=clock.now + 1, until=clock.now + DAY)).total == 0


async def test_corrections_come_with_question_photos_and_draft(db: Database, clock: Clock) -> None:
    ledger, reviews = Ledger(db), Reviews(db)
    await ledger.inbox.put([shows(ANNA, caption="E4?")])
    clock.move(10)
    batch = await ledger.claim_one()
    await ledger.inbox.attach([(batch.arrivals[0], Photo("a" * 64, 10, 10))])
    held = Reply("wait", "en", "notice:held", remembered=False, record={"draft": "You get a refund."})
    turn = await ledger.outbox.open(batch, Message(ANNA, "E4?", "en"), held, [Part("wait")])
    await ledger.send(batch, turn)
    await reviews.put(Review(turn.id, "mia", "down", ("unsafe",), "Please see the manual."))
    clock.move(1)
    await reviews.put(Review(turn.id, "li", "down", ("unsafe",), "Please switch it off."))
    (correction,) = await reviews.corrections()
    assert (correction.question, correction.answer, correction.correction) == (
        "E4?",
        "You get a refund.",
        "Please switch it off.",
    )
    assert correction.photos == ("a" * 64,)
    assert await reviews.corrections(after=turn.id) == []
    await forget(db, ANNA)
    assert await reviews.of([turn.id]) == {}
