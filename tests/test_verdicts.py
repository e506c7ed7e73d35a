"""The verdict ledger on both databases: every decided draft is on record, and no change stays unseen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.cli import audit
from bot.errors import BotError
from context.audit import Break, Link
from context.db import Database
from context.inbox import Inbox
from context.outbox import Outbox, Superseded
from context.turns import Chat, Message, Part, Reply
from context.verdicts import Verdicts, read_key
from tests.ledger import ANNA, BEN, forget, says
from tests.until import until

KEY = b"k" * 32


class Desk:
    """Answers with a verdict on record."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.verdicts = Verdicts(db, key=KEY)
        self.inbox = Inbox(db)
        self.outbox = Outbox(db, verdicts=self.verdicts)

    async def decide(self, chat: Chat, text: str = "E4", *, newer: str = "") -> None:
        await self.inbox.put([says(chat, text)])
        (batch,), _ = await self.inbox.claim("w", 1)
        if newer:
            await self.inbox.put([says(chat, newer)])
        record: dict[str, object] = {"verdict": {"action": "allow", "reasons": []}, "engine": "remote"}
        reply = Reply("answer", "en", "remote", record=record)
        turn = await self.outbox.open(batch, Message(chat, text, "en"), reply, [Part("answer")])
        await self.outbox.abandon(batch, turn, "test", chat_is_closed=False)

    async def proof(self, head: Link | None = None) -> tuple[int, list[Break]]:
        await self.verdicts.seal()
        return await self.verdicts.verify(head=head)

    async def change(self, statement: str) -> None:
        await self.verdicts.seal()
        await self.db.write(lambda connection: connection.exec_driver_sql(statement))


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def test_every_decided_draft_is_on_record_and_the_chain_is_whole(desk: Desk) -> None:
    for number in range(5):
        await desk.decide(ANNA if number % 2 else BEN)
    assert await desk.proof() == (5, [])


async def test_a_draft_that_was_overtaken_is_on_record_too(desk: Desk) -> None:
    with pytest.raises(Superseded):
        await desk.decide(ANNA, newer="wait")
    assert await desk.proof() == (1, [])


async def test_several_workers_seal_one_chain(desk: Desk) -> None:
    for number in range(7):
        await desk.decide(ANNA if number % 2 else BEN)
    await asyncio.gather(*(Verdicts(desk.db, key=KEY).seal() for _ in range(3)))
    assert await desk.verdicts.verify() == (7, [])


async def test_what_a_worker_left_unsealed_is_sealed_by_the_next_one(desk: Desk) -> None:
    await desk.decide(ANNA)
    sealing = asyncio.create_task(Verdicts(desk.db, key=KEY).keep_sealing(every_s=0.01))

    async def is_sealed() -> bool:
        return await desk.verdicts.verify() == (1, [])

    await until(is_sealed)
    await desk.decide(BEN)  # of which the one that seals knows nothing

    async def is_empty() -> bool:
        return await desk.verdicts.waiting() == 0

    await until(is_empty)
    sealing.cancel()
    assert await desk.verdicts.verify() == (2, [])


async def test_deciding_at_once_keeps_one_chain(desk: Desk) -> None:
    chats = [Chat("telegram", str(number)) for number in range(20)]
    await desk.inbox.put([says(chat, "E4") for chat in chats])
    batches, _ = await desk.inbox.claim("w", 20)

    async def open_turn(number: int) -> None:
        batch = batches[number]
        reply = Reply("answer", "en", "remote", record={"verdict": {"action": "allow"}})
        await desk.outbox.open(batch, Message(batch.chat, "E4", "en"), reply, [Part("answer")])

    await asyncio.gather(*(open_turn(number) for number in range(20)))
    assert await desk.proof() == (20, [])


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE verdicts SET payload = '{}' WHERE number = 2", Break(2, "edited")),
        ("UPDATE verdicts SET at = 1 WHERE number = 2", Break(2, "edited")),
        ("DELETE FROM verdicts WHERE number = 2", Break(2, "missing")),
    ],
)
async def test_a_changed_row_is_named(desk: Desk, statement: str, found: Break) -> None:
    for _ in range(3):
        await desk.decide(ANNA)
    await desk.change(statement)
    assert found in (await desk.proof())[1]


async def test_rows_cut_off_at_the_end_are_seen_against_a_noted_head(desk: Desk) -> None:
    for _ in range(3):
        await desk.decide(ANNA)
    await desk.verdicts.seal()
    head = await desk.verdicts.head()
    await desk.change("DELETE FROM verdicts WHERE number = 3")
    assert (await desk.proof())[1] == []
    assert (await desk.proof(head))[1] == [Break(3, "cut off")]


async def test_another_key_proves_nothing(desk: Desk) -> None:
    await desk.decide(ANNA)
    await desk.verdicts.seal()
    assert (await Verdicts(desk.db, key=b"x" * 32).verify())[1] == [Break(1, "edited")]


@pytest.mark.parametrize("sealed", [True, False])
async def test_forgetting_a_customer_leaves_the_chain_whole_and_says_nothing(
    desk: Desk, *, sealed: bool
) -> None:
    for chat in (ANNA, BEN, ANNA):
        await desk.decide(chat)
    if sealed:
        await desk.verdicts.seal()
    await forget(desk.db, ANNA)
    assert await desk.proof() == (3, [])
    rows = await desk.db.read(
        lambda c: c.exec_driver_sql("SELECT chat, payload FROM verdicts ORDER BY number").all()
    )
    assert [row.chat for row in rows] == [None, BEN.key, None]
    assert [row.payload is None for row in rows] == [True, False, True]


async def test_the_command_names_breaks_and_the_head_to_note(
    desk: Desk, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        await desk.decide(ANNA)
    assert await audit.run(database_url, key=KEY) == 0
    assert (
        capsys.readouterr().out
        == "0 verdicts, whole\n2 more are on record and wait for the bot to seal them\n"
    )
    await desk.verdicts.seal()
    assert await audit.run(database_url, key=KEY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 verdicts, whole"
    head = lines[1].rpartition(" ")[2]
    assert await audit.run(database_url, key=KEY, head=head) == 0
    await desk.change("DELETE FROM verdicts WHERE number = 2")
    assert await audit.run(database_url, key=KEY, head=head) == 1
    assert "verdict 2: cut off" in capsys.readouterr().out
    with pytest.raises(BotError, match="NUMBER:SEAL"):
        await audit.run(database_url, key=KEY, head="2")


def test_the_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    key = read_key(path)
    assert read_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="cut short"):
        read_key(path)


def test_the_key_makes_its_folder_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "audit.key"
    read_key(path)
    assert [file.name for file in path.parent.iterdir()] == ["audit.key"]
    assert path.stat().st_mode & 0o777 == 0o600
