"""What was found on photos, on SQLite and on PostgreSQL: who reads what next, what is kept and what goes."""

from __future__ import annotations

from dataclasses import replace

from context.db import Database
from context.fingerprints import Fingerprint
from context.readings import TRIES, Reading, Readings
from context.turns import Chat, Fact, Line, Photo
from tests.ledger import ANNA, BEN, Ledger, forget, shows

RED, GREEN, OTHER = ("a" * 64, "b" * 64, "c" * 64)
LOOK = Fingerprint(0b1111, bytes([100] * 48))
E4 = Fact("code", "E4", 0.9, ((1, 2), (3, 4)))
MODEL = Fact("model", "KFR-35GW", 0.8, source="model")


async def with_photo(db: Database, chat: Chat, photo: str, *, caption: str = "look") -> int:
    """A chat that sent a photo and was answered; the turn."""
    ledger = Ledger(db)
    await ledger.inbox.put([shows(chat, caption=caption)])
    batch = await ledger.claim_one()
    await ledger.inbox.attach([(batch.arrivals[0], Photo(photo, 10, 10))])
    return (await ledger.answer(batch, f"answer to {caption}")).id


async def test_every_photo_is_read_once_the_newest_first(db: Database) -> None:
    readings = Readings(db)
    assert not await readings.is_due()
    for chat, photo in ((ANNA, RED), (BEN, GREEN), (BEN, RED)):
        await with_photo(db, chat, photo)
    read = []
    while claimed := await readings.claim():
        read.append(claimed)
        await readings.keep(claimed, Reading((), (), LOOK))
    assert read == [GREEN, RED]
    assert not await readings.is_due()


async def test_a_photo_with_which_the_process_dies_is_left_alone_in_the_end(db: Database) -> None:
    await with_photo(db, ANNA, RED)
    readings = Readings(db)
    assert [await readings.claim() for _ in range(TRIES + 1)] == [*[RED] * TRIES, None]
    assert not await readings.is_due()
    assert await readings.of(RED) is None


async def test_what_is_kept_comes_back_as_it_was_and_sources_do_not_replace_each_other(db: Database) -> None:
    await with_photo(db, ANNA, RED)
    readings = Readings(db)
    await readings.add(RED, [MODEL])
    reading = Reading((Line("E4", 0.9, ((1, 2), (3, 4))),), (E4,), LOOK)
    await readings.keep(RED, reading)
    assert await readings.of(RED) == replace(reading, facts=(E4, MODEL))
    newer = replace(MODEL, value="KFR-72LW")
    await readings.add(RED, [newer])
    assert await readings.facts([RED, GREEN]) == {RED: (E4, newer)}
    await readings.add(GREEN, [MODEL])
    assert await readings.of(GREEN) is None, "a photo that nobody sent has no facts"


async def test_a_photo_that_could_not_be_read_is_tried_again_and_told_from_one_without_text(
    db: Database,
) -> None:
    readings = Readings(db)
    for chat, photo in ((ANNA, RED), (BEN, GREEN)):
        await with_photo(db, chat, photo)
    await readings.keep(RED, Reading(()))
    for _ in range(TRIES):
        assert await readings.claim() == GREEN
        await readings.keep(GREEN, Reading(look=LOOK))
    assert not await readings.is_due()
    assert (await readings.of(RED), await readings.of(GREEN)) == (Reading(()), Reading(look=LOOK))


async def test_a_reading_goes_with_the_last_message_that_shows_its_photo(db: Database) -> None:
    readings = Readings(db)
    for chat in (ANNA, BEN):
        await with_photo(db, chat, RED)
    await readings.keep(RED, Reading((), (E4,), LOOK))
    await forget(db, ANNA)
    assert await readings.facts([RED]) == {RED: (E4,)}
    await forget(db, BEN)
    await readings.keep(RED, Reading((), (E4,), LOOK))  # by whoever was just reading it
    assert await readings.of(RED) is None


async def test_similar_cases_are_earlier_ones_of_others_the_nearest_first(db: Database) -> None:
    readings = Readings(db)
    looks = {
        RED: LOOK,
        GREEN: replace(LOOK, colours=bytes([100] * 47 + [90])),
        OTHER: replace(LOOK, shape=LOOK.shape ^ 0xFFFF0000),
        "d" * 64: replace(LOOK, shape=LOOK.shape ^ 1),
    }
    cast = [Chat("telegram", str(number)) for number in range(11, 15)]
    for chat, photo in zip(cast, looks, strict=True):
        await with_photo(db, chat, photo, caption=photo[0])
        await readings.keep(photo, Reading((), (), looks[photo]))
    await with_photo(db, ANNA, RED)
    now = await db.read(db.now)
    found = await readings.similar(ANNA, RED, before=now + 1)
    assert [(case.chat, case.photo[0], case.text) for case in found] == [
        (cast[0], "a", "a"),
        (cast[3], "d", "d"),
        (cast[1], "b", "b"),
    ]
    assert found[0].reply == "answer to a"
    assert await readings.similar(ANNA, RED, before=0.0) == []
    assert await readings.similar(ANNA, "e" * 64, before=now + 1) == []
