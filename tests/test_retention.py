"""What is too old goes by itself, by kind; what is open, newer or somebody else's stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from bot.cli.retention import in_words, run
from bot.metrics import Metrics
from bot.retention import Sweeper
from context.audit import Break
from context.console.accounts import Staff
from context.console.counting import Counting
from context.console.keeper import Keeper
from context.console.listing import Listing
from context.console.reviews import Review, Reviews
from context.console.search import Query, Search
from context.db import Database
from context.duties import Duties
from context.handoffs import Handoffs
from context.inbox import Inbox
from context.outbox import Outbox
from context.turns import Chat, Message, Part, Photo, Receipt, Reply
from context.upkeep.erasure import Erasure
from context.upkeep.retention import DAY_S, Lifetimes, Retention
from context.verdicts import Verdicts
from tests.clock import Clock
from tests.ledger import ANNA, BEN, Ledger, says, shows

OLD, NEW = "canaryold", "canarynew"
CARA = Chat("telegram", "3")
KEY = b"k" * 32


class Copies:
    def __init__(self) -> None:
        self.forgotten: list[tuple[str, int]] = []

    async def forget(self, chat: Chat, last_turn: int) -> bool:
        self.forgotten.append((chat.key, last_turn))
        return True


class Files:
    """The photo store and everything else outside the database, as far as erasing goes."""

    def __init__(self, db: Database) -> None:
        self.copies = Copies()
        self.gone: list[str] = []
        self.erasure = Erasure(
            db,
            forget_photo=self._forget,
            forget_uploads=self._forget_uploads,
            copies={"context": self.copies},
            scrub_copies=self._scrub,
        )

    async def _forget(self, sha256: str) -> None:
        self.gone.append(sha256)

    async def _forget_uploads(self, _ids: Sequence[str]) -> None:
        return None

    async def _scrub(self) -> bool:
        return True


async def said(db: Database, clock: Clock, chat: Chat, word: str, photo: str = "") -> int:
    """A turn with a word in every place that has room for one."""
    ledger = Ledger(db)
    verdicts = Verdicts(db, key=KEY)
    ledger.outbox = Outbox(db, verdicts=verdicts)
    await ledger.inbox.put([shows(chat, caption=word) if photo else says(chat, word)])
    clock.move(10)
    (batch,) = [batch for batch in await ledger.claim() if batch.chat == chat]
    if photo:
        await ledger.inbox.attach([(batch.arrivals[0], Photo(photo * 64, 10, 10, 1))])
    reply = Reply(word, "en", "remote", record={"draft": word, "verdict": {"action": "allow", "why": word}})
    turn = await ledger.outbox.open(batch, Message(chat, word, "en"), reply, [Part(word)])
    await ledger.outbox.sent(batch, turn, turn.parts[0], Receipt(f"r{turn.id}", clock.now))
    await verdicts.seal()
    await Reviews(db).put(Review(turn.id, "mia", "down", (), word, word))
    while await Keeper(db).catch_up():
        pass
    return turn.id


async def words_in(db: Database, word: str) -> dict[str, int]:
    """By table, how many rows hold it."""

    def work(connection: sa.Connection) -> dict[str, int]:
        inspector = sa.inspect(connection)
        found: dict[str, int] = {}
        for table in inspector.get_table_names():
            if table.startswith("search_"):
                continue  # FTS5's own; the files are read as a whole below
            for column in inspector.get_columns(table):
                statement = sa.text(
                    f'SELECT COUNT(*) FROM "{table}" WHERE LOWER(CAST("{column["name"]}" AS TEXT)) LIKE :word'
                )
                if count := connection.execute(statement, {"word": f"%{word}%"}).scalar_one():
                    found[table] = found.get(table, 0) + int(count)
        return found

    return await db.read(work)


async def test_old_turns_go_with_all_that_hangs_on_them_and_the_chat_goes_on(
    db: Database, clock: Clock
) -> None:
    began = clock.now
    files = Files(db)
    first = await said(db, clock, ANNA, OLD, photo="a")
    await said(db, clock, BEN, OLD, photo="b")
    await said(db, clock, CARA, OLD, photo="c")
    await Handoffs(db).ask(CARA, "wants a person")
    await Inbox(db).set_aside("update:9", json.dumps({"text": OLD}), "broken")
    await Staff(db).note("mia", "photo", ANNA.key, "looked")
    clock.move(20 * DAY_S)
    await said(db, clock, ANNA, NEW, photo="a")
    clock.move(11 * DAY_S)
    retention = Retention(db, lifetimes=Lifetimes(chats=30), erasure=files.erasure)
    due = await retention.due()
    assert (due["turns"], due["photos"], due["asides"], due["staff_access"]) == (2, 1, 1, 0)

    swept = await retention.sweep()
    assert swept["messages"] == due["messages"] == 4
    assert swept["photos"] == due["photos"]
    assert files.gone == ["b" * 64], "one photo is shown by a newer message, one by an open case"
    assert set(await words_in(db, OLD)) <= {"messages", "turns", "verdicts", "reviews", "listing", "search"}
    assert await words_in(db, ANNA.key) != {}
    rows = await db.read(
        lambda connection: connection.exec_driver_sql(
            "SELECT DISTINCT chat, text FROM turns ORDER BY chat"
        ).all()
    )
    assert [tuple(row) for row in rows] == [(ANNA.key, NEW), (CARA.key, OLD)]
    assert (ANNA.key, first) in files.copies.forgotten
    assert await words_in(db, BEN.key) == {"changes": 1}  # so that the list drops its line
    while await Keeper(db).catch_up():
        pass
    assert await words_in(db, BEN.key) == {}
    assert await Listing(db).line(ANNA) is not None
    assert [hit.chat for hit in await Search(db).find(Query(text=OLD))] == [CARA]
    count, found = await Verdicts(db, key=KEY).verify()
    assert (count, found) == (4, list[Break]())
    total = (await Counting(db).read(since=began, until=began + DAY_S)).total
    assert (total.turns, total.photos) == (3, 3), "what was counted stays"
    assert await retention.sweep() == {}
    # The case is over: now it is old enough too.
    await Handoffs(db).take(CARA, "mia")
    await Handoffs(db).close(CARA)
    assert (await retention.sweep())["turns"] == 1
    assert await words_in(db, OLD) == {}


async def test_photos_may_go_before_the_words_and_the_log_by_itself(db: Database, clock: Clock) -> None:
    files = Files(db)
    turn = await said(db, clock, ANNA, OLD, photo="a")
    await Staff(db).note("mia", "photo", ANNA.key, "looked")
    clock.move(8 * DAY_S)
    await said(db, clock, BEN, NEW, photo="b")
    await Staff(db).note("mia", "photo", BEN.key, "looked")
    days = Lifetimes(photos=7, access=7)
    retention = Retention(db, lifetimes=days, erasure=files.erasure)
    assert await retention.sweep() == {"photos": 1, "staff_access": 1}
    assert files.gone == ["a" * 64]
    assert files.copies.forgotten == [(ANNA.key, turn)]
    assert {"messages", "turns"} <= set(await words_in(db, OLD))
    assert in_words(days) == "conversations for good, photos 7 days, access log 7 days"


async def test_one_process_sweeps_once_a_day_and_never_unless_asked_to(db: Database, clock: Clock) -> None:
    files, metrics = Files(db), Metrics()
    await said(db, clock, ANNA, OLD)
    clock.move(40 * DAY_S)

    def sweeper(me: str, days: Lifetimes) -> Sweeper:
        retention = Retention(db, lifetimes=days, erasure=files.erasure)
        return Sweeper(retention, Duties(db), me=me, lifetimes=days, tell=metrics.expired, clock=clock)

    assert await sweeper("none", Lifetimes()).look() == {}
    clock.move(3 * 3600)
    one, other = sweeper("one", Lifetimes(chats=30)), sweeper("other", Lifetimes(chats=30))
    assert (await one.look())["turns"] == 1
    assert metrics.registry.get_sample_value("bot_retention_erased_total", {"kind": "turns"}) == 1
    await said(db, clock, BEN, OLD)
    clock.move(3600)
    assert await other.look() == {}
    clock.move(40 * DAY_S)  # the one is gone, and has left its duty
    assert (await other.look())["turns"] == 1


async def test_the_command_says_what_would_go_and_leaves_no_word_in_the_file(
    tmp_path: Path, clock: Clock
) -> None:
    db = Database(f"sqlite:///{tmp_path}/bot.db", clock=clock)
    files = Files(db)
    await said(db, clock, ANNA, OLD)
    clock.move(31 * DAY_S)
    await said(db, clock, ANNA, NEW)
    days = Lifetimes(chats=30)
    retention = Retention(db, lifetimes=days, erasure=files.erasure)

    def found(word: str) -> bool:
        return any(word.encode() in path.read_bytes().lower() for path in tmp_path.iterdir())

    assert await run(retention, days, scrub=files.erasure.scrub, sweep=False) == 0
    assert found(OLD)
    assert await run(retention, days, scrub=files.erasure.scrub, sweep=True) == 0
    assert not found(OLD)
    assert found(NEW)
    await db.close()
