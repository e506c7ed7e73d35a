"""Ceilings: one customer who asks for too much is told once, loses nothing, and holds up nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from context.db import Database
from context.inbox import Inbox
from context.outbox import Outbox
from context.turns import Chat, Message, Part, Reply
from context.usage import Usage
from prompts.prompts import Prompts
from tests.clock import Clock
from tests.ledger import ANNA, BEN, says
from tests.until import until
from tests.world import World, asked, picture, world

LI, WANG = 42, 43


def notice(name: str, language: str = "en") -> str:
    return Prompts().notice(name, "zh" if language == "zh" else "en")


async def settled(w: World, chat: int) -> list[str]:
    """What the chat has been told once everything that it sent is dealt with."""

    async def is_idle() -> bool:
        return not w.telegram.pending and not await w.app.stores.inbox.depth()

    await until(is_idle)
    return [sent.text for sent in w.telegram.sent_to(chat)]


@pytest.mark.parametrize(
    ("language", "words"), [("en", "The AC shows E4, what now, c1t{}?"), ("zh", "空调显示E4，怎么办 c1t{}？")]
)
async def test_who_writes_too_fast_is_told_once_and_answered_again_later(
    tmp_path: Path, language: str, words: str
) -> None:
    async with world(tmp_path, customer_messages_per_min=2) as w:
        li = w.telegram.customer(LI)
        for turn in range(6):
            li.says(words.format(turn))
            await settled(w, LI)
        told = await settled(w, LI)
        assert told == ["Noted: c1t0.", "Noted: c1t1.", notice("limit_minute", language)]
        assert len(w.model.requests) == 2, "what is beyond the ceiling costs no model time"
        kept = [entry.text for entry in await w.app.stores.transcripts.entries(Chat("telegram", str(LI)))]
        assert [text for text in kept if "c1t5" in text], "and is kept all the same"
        w.telegram.customer(WANG).says("Mine shows E5, c2t0?")
        await w.telegram.replies(WANG)
        await w.app.stores.db.write(lambda c: c.exec_driver_sql("UPDATE messages SET at = at - 61"))
        li.says(words.format(9))
        assert (await settled(w, LI))[-1] == "Noted: c1t9."


async def test_commands_and_danger_are_heard_beyond_a_ceiling(tmp_path: Path) -> None:
    async with world(tmp_path, customer_messages_per_day=1) as w:
        li = w.telegram.customer(LI)
        for words in ("It shows E4, c1t0", "and now, c1t1?", "/human", "I smell gas in the kitchen!"):
            li.says(words)
            await settled(w, LI)
        told = await settled(w, LI)
        assert told[1:3] == [notice("limit_day"), notice("human_asked")]
        assert told[3].startswith(notice("safety_gas"))
        assert len(asked(w, "c1t1")) == 0


async def test_photos_and_tokens_have_ceilings_of_their_own(tmp_path: Path) -> None:
    async with world(tmp_path, customer_photos_per_hour=1, customer_tokens_per_day=150) as w:
        li, wang = w.telegram.customer(LI), w.telegram.customer(WANG)
        for turn in range(2):
            li.sends_photo(picture((200, 20, 20)), caption=f"look, c1t{turn}")
            await settled(w, LI)
        for turn in range(3):  # the model server counts 100 and some for each
            wang.says(f"It shows E4, c2t{turn}")
            await settled(w, WANG)
        assert await settled(w, LI) == ["Noted: c1t0.", notice("limit_photos")]
        assert await settled(w, WANG) == ["Noted: c2t0.", "Noted: c2t1.", notice("limit_day")]


async def test_use_is_counted_from_the_ledger_by_chat_and_age(db: Database, clock: Clock) -> None:
    inbox, outbox, usage = Inbox(db), Outbox(db), Usage(db)
    for text in ("one", "two"):
        await inbox.put([says(ANNA, text)])
        clock.move(50)
    await inbox.put([says(BEN, "mine")])
    (batch, *_), _ = await inbox.claim("w", 1)
    reply = Reply("answer", "en", "notice:limit_day", record={"tokens": [100, 20]})
    await outbox.open(batch, Message(ANNA, "one two", "en"), reply, [Part("answer")])
    recent = await usage.recent(ANNA, most=10)
    assert (recent.messages_in_minute, recent.messages_in_day, recent.photos_in_hour) == (1, 2, 0)
    assert (recent.tokens_in_day, recent.told_s) == (120, 0.0)
    assert (await usage.recent(ANNA, most=1)).messages_in_day == 1
    assert (await usage.recent(BEN, most=10)).told_s is None
    clock.move(90_000)
    recent = await usage.recent(ANNA, most=10)
    assert (recent.messages_in_day, recent.tokens_in_day) == (0, 0)
