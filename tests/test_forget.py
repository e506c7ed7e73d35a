"""Forgetting a customer: what was planted everywhere is found nowhere, and the others keep what is theirs."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

from bot.app.stores import audit_key, open_erasure
from bot.cli import audit, forget
from bot.errors import BotError
from context.console.accounts import Staff
from context.console.keeper import Keeper
from context.console.listing import Listing
from context.console.reviews import Review, Reviews
from context.db import Database
from context.handoffs import Handoffs
from context.inbox import Inbox
from context.outbox import Outbox
from context.photos import Photos
from context.readings import Reading, Readings
from context.redis_child import programs
from context.turns import Chat, Fact, Line, Message, Part, Photo, Reply
from context.window import ContextWindow
from prompts.prompts import Prompts
from tests.bot_api import Person
from tests.clock import Clock
from tests.ledger import ANNA, BEN, Ledger, says, shows
from tests.ledger import forget as forget_chat
from tests.model_server import ModelServer, Received
from tests.until import until
from tests.world import World, settings_for, world

WORD, CAPTION, NAME, REPLY, DRAFT, ASIDE, NOTE, FILE, PLATE = (
    f"canary{what}q7"
    for what in ("word", "caption", "name", "reply", "draft", "aside", "note", "file", "plate")
)
KEPT = (WORD, CAPTION, NAME, REPLY, DRAFT, ASIDE, NOTE, PLATE)
CANARIES = (*KEPT, FILE)
"""The name of a file is kept nowhere, not even before."""
LI, BO = Chat("telegram", "4711"), Chat("telegram", "4712")


def noise(seed: int) -> bytes:
    """A picture like no other."""
    image = Image.effect_noise((160, 120), 80 + seed).convert("RGB")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def answer(request: Received) -> str:
    if "promise" in request.last_text:
        return f"Full refund, {DRAFT}!"
    return f"The plate says {REPLY}." if "canary" in request.last_text else "Could you send a photo?"


def found_in(folder: Path, words: tuple[str, ...], pieces: tuple[bytes, ...] = ()) -> dict[str, set[str]]:
    """Every file that holds one of these, in whatever case, or a piece of a photo."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        hits = {word for word in words if word.encode() in data.lower()}
        hits |= {f"photo {number}" for number, piece in enumerate(pieces) if piece in data}
        if hits:
            found[str(path.relative_to(folder))] = hits
    return found


async def confide(w: World, customer: Person, photos: tuple[bytes, ...]) -> None:
    """Say and show a canary in every way that there is."""
    customer.says(f"the lamp blinks {WORD}")
    await w.telegram.replies(customer.room.id, 1)
    for photo in photos:
        customer.sends_photo(photo, caption=f"look {CAPTION}")
        await w.telegram.replies(customer.room.id, 1)
    customer.sends_file(noise(3), name=f"{FILE}.jpg", mime="image/jpeg")
    await w.telegram.replies(customer.room.id, 1)
    customer.says("promise me my money")
    await w.telegram.replies(customer.room.id, 1)


async def look_closely(w: World) -> None:
    """What staff and the bot's own workings keep about a chat."""
    db = w.app.stores.db
    listing, staff = Listing(db), Staff(db)
    await until(lambda: _is_listed(listing))
    turn = await db.read(
        lambda connection: connection.execute(
            sa.text("SELECT MIN(id) FROM turns WHERE chat = :chat"), {"chat": LI.key}
        ).scalar_one()
    )
    await Reviews(db).put(Review(turn, "mia", "down", ("wrong",), NOTE, NOTE))
    await staff.note("mia", "photo", LI.key, NOTE)
    photos = sa.text("SELECT photo FROM messages WHERE chat = :chat AND photo IS NOT NULL ORDER BY id DESC")
    photo = await db.read(
        lambda connection: str(connection.execute(photos, {"chat": LI.key}).scalars().first())
    )
    await Readings(db).keep(photo, Reading((Line(PLATE, 0.9, ()),), (Fact("model", PLATE, 0.9),)))
    await listing.flag(LI, "mia", flagged=True)
    raw = f'{{"update_id": 9, "message": {{"chat": {{"id": {LI.address}}}, "caption": "{ASIDE}"}}}}'
    await w.app.stores.inbox.set_aside("update:9", raw, "broken")
    await w.app.stores.inbox.set_aside(
        "update:10", raw.replace("4711", "47110").replace(ASIDE, "x"), "broken"
    )


async def _is_listed(listing: Listing) -> bool:
    return await listing.line(LI) is not None


async def photo_pieces(db: Database, photos: Path, chat: Chat) -> tuple[bytes, ...]:
    """From the middle of each photo of this chat, as it lies on disk."""
    rows = await db.read(
        lambda connection: connection.execute(
            sa.text("SELECT photo FROM messages WHERE chat = :chat AND photo IS NOT NULL ORDER BY id"),
            {"chat": chat.key},
        ).all()
    )
    files = [(photos / row.photo[:2] / f"{row.photo}.jpg").read_bytes() for row in rows]
    return tuple(data[len(data) // 2 :][:48] for data in files)


@pytest.mark.skipif(not programs(), reason="no redis-server is installed")
@pytest.mark.parametrize("who", ["customer", "operator"])
async def test_no_byte_of_a_forgotten_customer_is_left_and_the_others_keep_theirs(
    tmp_path: Path, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared, own = noise(1), noise(2)
    data = tmp_path / "data"
    model = ModelServer(answer=answer)
    async with world(tmp_path, model=model, cache_ttl_s=3600) as w:
        stores = w.app.stores
        li = w.telegram.customer(int(LI.address), name=NAME)
        bo = w.telegram.customer(int(BO.address), name="Bo")
        bo.sends_photo(shared, caption="mine")
        await w.telegram.replies(bo.room.id, 1)
        await confide(w, li, (shared, own))
        await look_closely(w)
        pieces = await photo_pieces(stores.db, data / "photos", LI)
        before = found_in(data, CANARIES, pieces)
        assert set().union(*before.values()) == {*KEPT, "photo 0", "photo 1", "photo 2"}
        assert any(name.startswith("redis") for name in before), before

        if who == "customer":
            said = len(w.telegram.sent_to(li.room.id))
            li.says("/forgetme_yes")  # nobody asked
            li.says("/forgetme")
            li.says("/forgetme yes")
            await w.telegram.replies(li.room.id, 3)
            texts = [sent.text for sent in w.telegram.sent_to(li.room.id)[said:]]
            assert texts == [
                Prompts().notice("forget_ask", "en"),
                Prompts().notice("forget_ask", "en"),
                Prompts().notice("forget_done", "en", messages=14, photos=2),
            ]
            scrubbing = asyncio.create_task(stores.erasure.keep_scrubbing(every_s=0))
            await until(lambda: not found_in(data, CANARIES, pieces[1:]))
            scrubbing.cancel()
        else:
            async with open_erasure(settings_for(tmp_path, w.telegram, w.model)) as erasure:
                assert await forget.run(erasure, LI.key) == 0
            assert re.search(r"10  messages\b", capsys.readouterr().out)
        assert found_in(data, CANARIES, pieces[1:]) == {}

        assert len(found_in(data, (), pieces[:1])) == 1
        (photo,) = await photo_pieces(stores.db, data / "photos", BO)
        assert photo == pieces[0]
        assert await stores.db.read(
            lambda connection: connection.exec_driver_sql("SELECT source FROM asides").scalars().all()
        ) == ["update:10"]
        li.says("hello again c1t1")
        await until(lambda: _said(w, li, "send a photo"))
        assert WORD not in w.model.requests[-1].text
        assert CAPTION not in w.model.requests[-1].text
    settings = settings_for(tmp_path, None, None)
    assert await audit.run(settings.database, key=audit_key(settings)) == 0


async def _said(w: World, customer: Person, word: str) -> bool:
    return any(word in sent.text for sent in w.telegram.sent_to(customer.room.id)[-1:])


# --- On both databases


async def columns(db: Database) -> list[tuple[str, str]]:
    """Every column that may hold somebody's words."""

    def work(connection: sa.Connection) -> list[tuple[str, str]]:
        inspector = sa.inspect(connection)
        return [
            (table, column["name"])
            for table in inspector.get_table_names()
            for column in inspector.get_columns(table)
            if not isinstance(column["type"], sa.Integer | sa.Float | sa.Numeric)
        ]

    return await db.read(work)


async def rows_with(db: Database, word: str) -> dict[str, int]:
    found = {}
    for table, column in await columns(db):
        statement = sa.text(f"SELECT COUNT(*) FROM {table} WHERE LOWER(CAST({column} AS TEXT)) LIKE :word")
        count = await db.read(
            lambda connection, statement=statement: connection.execute(  # type: ignore[misc]
                statement, {"word": f"%{word}%"}
            ).scalar_one()
        )
        if count:
            found[f"{table}.{column}"] = count
    return found


async def plant(db: Database, chat: Chat) -> Ledger:
    ledger = Ledger(db)
    await ledger.inbox.put([shows(chat, caption=f"look {WORD}")])
    batch = await ledger.claim_one()
    await ledger.inbox.attach([(batch.arrivals[0], Photo("a" * 64, 10, 10))])
    reply = Reply(WORD, "en", "remote", record={"draft": WORD, "verdict": {"action": "hold"}})
    turn = await ledger.outbox.open(batch, Message(chat, WORD, "en"), reply, [Part(WORD)])
    await ledger.send(batch, turn)
    await Handoffs(db).ask(chat, WORD)
    line = Line(WORD, 0.9, ())
    await Readings(db).keep("a" * 64, Reading((line,), (Fact("model", WORD, 0.9),)))
    await Reviews(db).put(Review(turn.id, "mia", "down", (), WORD, WORD))
    await Staff(db).note("mia", "photo", chat.key, WORD)
    await Listing(db).flag(chat, "mia", flagged=True)
    await ledger.inbox.set_aside(
        f"update:{chat.key}", f'{{"id": {chat.address}, "text": "{WORD}"}}', "broken"
    )
    while await Keeper(db).catch_up():
        pass
    await ledger.inbox.put([says(chat, f"and then {WORD}")])
    return ledger


async def test_no_column_of_any_table_holds_a_forgotten_customers_words(db: Database) -> None:
    ledger = await plant(db, ANNA)
    before = await rows_with(db, WORD)
    assert {name.partition(".")[0] for name in before} >= {
        "messages",
        "turns",
        "handoffs",
        "reviews",
        "staff_access",
        "listing",
        "asides",
        "readings",
    }
    receipt, photos = await forget_chat(db, ANNA)
    assert (receipt.messages, photos) == (3, ["a" * 64])
    assert await rows_with(db, WORD) == {}
    assert await rows_with(db, ANNA.key) == {"changes.chat": 1}  # so that the list drops its line
    while await Keeper(db).catch_up():
        pass
    assert await rows_with(db, ANNA.key) == {}
    assert await ledger.claim() == []
    again, _ = await forget_chat(db, ANNA)
    assert again.counts == {}


async def test_what_the_list_has_read_before_is_not_written_after(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(db)
    await ledger.inbox.put([says(ANNA, WORD)])
    await ledger.answer(await ledger.claim_one(), WORD)
    write = db.write

    async def late(work: Callable[[sa.Connection], Any]) -> Any:
        monkeypatch.undo()  # once
        await forget_chat(db, ANNA)
        return await write(work)

    monkeypatch.setattr(db, "write", late)
    await Keeper(db).catch_up()
    while await Keeper(db).catch_up():
        pass
    assert await rows_with(db, WORD) == {}
    assert await rows_with(db, ANNA.key) == {}


async def test_what_a_customer_sends_after_the_wish_is_not_erased_with_it(db: Database, clock: Clock) -> None:
    ledger = await plant(db, ANNA)
    await ledger.inbox.put([shows(BEN, caption="mine")])
    (batch,) = [batch for batch in await ledger.claim() if batch.chat == BEN]
    await ledger.inbox.attach([(batch.arrivals[0], Photo("a" * 64, 10, 10))])
    await ledger.answer(batch)
    theirs = await rows_with(db, BEN.key)
    receipt, photos = await forget_chat(db, ANNA, wish="customer")
    assert (receipt.messages, photos) == (2, [])  # Ben shows the same photo
    assert await rows_with(db, BEN.key) == theirs
    clock.move(ledger.inbox.lease_s + 1)
    batch = await ledger.claim_one()
    assert [arrival.text for arrival in batch.arrivals] == [f"and then {WORD}"]
    await ledger.answer(batch)


# --- While a turn is in work


def at(kind: type, method: str, *, before: bool) -> tuple[type, str, bool]:
    return kind, method, before


MOMENTS = (
    at(Photos, "take_in", before=False),
    at(Inbox, "attach", before=True),
    at(Inbox, "attach", before=False),
    at(ContextWindow, "last", before=False),
    at(Outbox, "open", before=True),
    at(Outbox, "open", before=False),
    at(Outbox, "sent", before=False),
    at(ContextWindow, "push", before=True),
    at(ContextWindow, "push", before=False),
)


@pytest.mark.skipif(not programs(), reason="no redis-server is installed")
async def test_a_turn_in_work_writes_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, model=ModelServer(answer=answer), cache_ttl_s=3600) as w:
        stores, data = w.app.stores, tmp_path / "data"
        for number, (kind, method, before) in enumerate(MOMENTS):
            li = w.telegram.customer(5000 + number, name=NAME)
            li.says(f"first {WORD}")
            await w.telegram.replies(li.room.id, 1)
            await until(lambda: _is_idle(stores.db))  # the moment is one of the second turn
            chat = Chat("telegram", str(li.room.id))
            erased = _erase_at(monkeypatch, kind, method, chat, w, before=before)
            li.sends_photo(noise(number), caption=f"look {CAPTION}")
            await until(erased)
            await until(lambda: _is_idle(stores.db))
            monkeypatch.undo()
            moment = (kind.__name__, method, before)
            assert await rows_with(stores.db, WORD) == {}, moment
            assert await rows_with(stores.db, CAPTION) == {}, moment
            await until(lambda chat=chat: _is_gone(stores.db, chat), every_s=0.2)  # type: ignore[misc]
            await stores.erasure.scrub()
            assert found_in(data, CANARIES) == {}, moment
            assert not list((data / "photos").rglob("*.jpg")), moment


def _erase_at(
    monkeypatch: pytest.MonkeyPatch, kind: type, method: str, chat: Chat, w: World, *, before: bool
) -> Callable[[], Awaitable[bool]]:
    """Erase the chat once, right before or after this call is made; returns whether that has happened."""
    real: Callable[..., Awaitable[Any]] = getattr(kind, method)
    begun: list[bool] = []
    done: list[bool] = []

    async def erase() -> None:
        if not begun:
            begun.append(True)
            await w.app.stores.erasure.forget(chat, wish="operator")
            done.append(True)

    async def called(self: object, *args: Any, **more: Any) -> Any:
        if before:
            await erase()
        result = await real(self, *args, **more)
        if not before:
            await erase()
        return result

    async def is_done() -> bool:
        return bool(done)

    monkeypatch.setattr(kind, method, called)
    return is_done


async def _is_gone(db: Database, chat: Chat) -> bool:
    return await rows_with(db, chat.key) == {}


async def _is_idle(db: Database) -> bool:
    statement = sa.text("SELECT COUNT(*) FROM lanes WHERE due_at IS NOT NULL OR lease_until IS NOT NULL")
    return not await db.read(lambda connection: connection.execute(statement).scalar_one())


async def test_the_command_refuses_what_is_no_chat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_erasure(settings_for(tmp_path, None, None)) as erasure:
        with pytest.raises(BotError, match="telegram:42"):
            await forget.run(erasure, "nobody")
        assert await forget.run(erasure, "telegram:42") == 0
    assert "nothing was there" in capsys.readouterr().out
