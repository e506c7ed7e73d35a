"""The list of conversations and the search: kept up behind the events, the same on both databases."""

from __future__ import annotations

import sqlalchemy as sa

from context.console.keeper import Keeper
from context.console.listing import Line, Listing
from context.console.search import Query, Search
from context.db import Database
from context.handoffs import Handoffs
from context.turns import Batch, Chat, Message, Part, Reply
from tests.clock import Clock
from tests.ledger import ANNA, BEN, Ledger, commands, forget, says


class Desk:
    """A ledger with its list."""

    def __init__(self, db: Database) -> None:
        self.ledger = Ledger(db)
        self.listing = Listing(db)
        self.search = Search(db)
        self.handoffs = Handoffs(db)
        self.keeper = Keeper(db)

    async def talk(self, chat: Chat, asked: str, reply: Reply) -> None:
        await self.ledger.inbox.put([says(chat, asked)])
        batch = await self.ledger.claim_one()
        await self._answer(batch, asked, reply)

    async def _answer(self, batch: Batch, asked: str, reply: Reply) -> None:
        turn = await self.ledger.outbox.open(
            batch, Message(batch.chat, asked, "en"), reply, [Part(reply.text)]
        )
        await self.ledger.send(batch, turn)

    async def keep_up(self) -> None:
        while await self.keeper.catch_up():
            pass

    async def line(self, chat: Chat) -> Line:
        await self.keep_up()
        line = await self.listing.line(chat)
        assert line is not None
        return line

    async def found(self, text: str = "", **more: object) -> list[str]:
        await self.keep_up()
        hits = await self.search.find(Query(text, **more))  # type: ignore[arg-type]  # a table of fields
        return [hit.text for hit in hits]


def answered(text: str = "answer", *, action: str = "allow", origin: str = "remote", **more: object) -> Reply:
    record = {"verdict": {"action": action, "reasons": []}, "model": "m1", "prompt": "support@1"} | more
    return Reply(text, "en", origin, record=record)


async def test_the_list_follows_a_conversation(db: Database, clock: Clock) -> None:
    desk = Desk(db)
    await desk.ledger.inbox.put([says(ANNA, "my heater shows E4")])
    line = await desk.line(ANNA)
    assert (line.who, line.preview, line.turns, line.waiting) == ("customer", "my heater shows E4", 0, False)

    await desk.ledger.answer(await desk.ledger.claim_one(), "unplug it")
    newer = await desk.line(ANNA)
    assert (newer.who, newer.preview, newer.turns) == ("bot", "unplug it", 1)
    assert newer.revision > line.revision

    await desk.handoffs.ask(ANNA, "asked")
    assert (await desk.line(ANNA)).waiting
    assert [found.chat for found in await desk.listing.lines("waiting")] == [ANNA]
    await desk.handoffs.take(ANNA, "mei")
    line = await desk.line(ANNA)
    assert (line.waiting, line.holder) == (False, "mei")
    assert [found.chat for found in await desk.listing.lines("mine", name="mei")] == [ANNA]
    assert await desk.listing.lines("mine", name="bob") == []
    assert await desk.listing.counts("mei", ["waiting", "mine"]) == {"waiting": 0, "mine": 1}


async def test_what_staff_are_done_with_is_raised_again_by_something_new_only(db: Database) -> None:
    desk = Desk(db)
    await desk.talk(ANNA, "one", answered(action="hold"))
    await desk.talk(BEN, "two", answered(origin="fallback"))
    assert (await desk.line(ANNA)).flagged
    assert (await desk.line(BEN)).fallback
    await desk.listing.done(ANNA, "mei")
    assert not (await desk.line(ANNA)).flagged
    await desk.talk(ANNA, "three", answered())
    assert not (await desk.line(ANNA)).flagged
    await desk.talk(ANNA, "four", answered(action="block"))
    assert (await desk.line(ANNA)).flagged
    assert [line.chat for line in await desk.listing.lines("flagged")] == [ANNA]

    await desk.listing.flag(BEN, "mei", flagged=True)
    assert (await desk.line(BEN)).flagged
    await desk.listing.flag(BEN, "mei", flagged=False)
    assert not (await desk.line(BEN)).flagged


async def test_pages_of_the_list_neither_skip_nor_repeat(db: Database, clock: Clock) -> None:
    desk = Desk(db)
    chats = [Chat("telegram", str(number)) for number in range(7)]
    for chat in chats:
        await desk.ledger.inbox.put([commands(chat, "start")])
    await desk.keep_up()
    seen: list[Chat] = []
    before = None
    while page := await desk.listing.lines(before=before, limit=3):
        seen += [line.chat for line in page]
        before = (page[-1].at, page[-1].chat.key)
    assert sorted(seen) == chats
    assert (await desk.listing.lines())[0].preview == "/start"

    for chat in reversed(chats):  # who waits longest comes first
        await desk.handoffs.ask(chat, "asked")
        clock.now += 1.0
    await desk.keep_up()
    seen, before = [], None
    while page := await desk.listing.lines("waiting", before=before, limit=3):
        seen += [line.chat for line in page]
        before = (page[-1].waiting_since or 0.0, page[-1].chat.key)
    assert seen == chats[::-1]


async def test_changes_are_told_in_order_and_once(db: Database) -> None:
    desk = Desk(db)
    await desk.talk(ANNA, "one", answered())
    await desk.keep_up()
    revision = await desk.listing.revision()
    await desk.talk(BEN, "two", answered())
    await desk.keep_up()
    changed = await desk.listing.since(revision, 10)
    assert {line.chat for line in changed} == {BEN}
    assert await desk.listing.since(changed[-1].revision, 10) == []
    assert await desk.keeper.catch_up() == 0


async def test_search_finds_chinese_and_english_words(db: Database) -> None:
    desk = Desk(db)
    await desk.talk(ANNA, "空调红灯亮了", answered("请先断电"))
    await desk.talk(BEN, "The display shows ＥＲＲ-07 and a RED light", answered("过热保护"))
    for words in ("红灯", "灯", "了", "空调红灯", "断电", "空调 断电"):
        assert await desk.found(words) == ["空调红灯亮了"], words
    for words in ("err-07", "red", "display light", "过热", "热"):
        assert (await desk.found(words)) == ["The display shows ＥＲＲ-07 and a RED light"], words
    for words in ("绿灯", "blue", "灯红", "空调 red", "!?", "红绿"):
        assert await desk.found(words) == [], words
    assert len(await desk.found()) == 2


async def test_search_narrows_by_model_template_verdict_and_date(db: Database, clock: Clock) -> None:
    desk = Desk(db)
    began = clock()
    await desk.talk(ANNA, "E4", answered("blocked words", action="block", draft="call 123"))
    clock.move(1000)
    await desk.talk(ANNA, "E4 again", answered(model="m2", prompt="support@2"))
    assert await desk.found("e4", model="m2") == ["E4 again"]
    assert await desk.found("e4", template="support@1") == ["E4"]
    assert await desk.found(verdict="block") == ["E4"]
    assert await desk.found("123") == ["E4"]
    assert await desk.found("e4", since=began + 500) == ["E4 again"]
    assert await desk.found(until=began + 500) == ["E4"]
    assert await desk.found("e4", until=began - 5) == []
    await desk.keep_up()
    hits = await desk.search.find(Query("e4"), chips={"flagged": "1"}, limit=1)
    assert [hit.text for hit in hits] == ["E4 again"]
    older = await desk.search.find(Query("e4"), before=hits[0].turn_id)
    assert [hit.text for hit in older] == ["E4"]
    assert await desk.search.find(Query("e4"), chips={"photo": "1"}) == []


async def test_a_question_made_of_search_syntax_is_only_words(db: Database) -> None:
    desk = Desk(db)
    await desk.talk(ANNA, "near the AND gate", answered())
    for words in ('"', "a OR", "words:x", "NEAR(", "':*", "gate' | 'x", "\x00", "*", "%", "{}"):
        assert isinstance(await desk.found(words), list), words
    assert await desk.found("AND") == ["near the AND gate"]


async def test_a_forgotten_chat_leaves_the_list_and_the_search(db: Database) -> None:
    desk = Desk(db)
    await desk.talk(ANNA, "canaryword", answered())
    await desk.keep_up()
    await forget(db, ANNA)
    await desk.keep_up()
    assert await desk.listing.line(ANNA) is None
    assert await desk.found("canaryword") == []
    column = "words" if db.is_sqlite else "CAST(tokens AS text)"
    statement = sa.text(f"SELECT COUNT(*) FROM search WHERE {column} LIKE '%canaryword%'")
    assert await db.read(lambda connection: connection.execute(statement).scalar_one()) == 0
