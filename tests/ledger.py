"""Small hands for tests of the ledger: customers' messages, and answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from context.db import Database
from context.inbox import Inbox
from context.outbox import Outbox
from context.turns import (
    Arrival,
    Attachment,
    Batch,
    Chat,
    Kind,
    Message,
    OpenTurn,
    Part,
    Receipt,
    Reply,
)
from context.upkeep.erasure import Erasure, Wish
from context.upkeep.erasure import Receipt as Erased

ANNA = Chat("telegram", "1")
BEN = Chat("telegram", "2")
_numbers = count(1)


def says(chat: Chat, text: str, *, message_id: str = "", source: str = "", edited: bool = False) -> Arrival:
    number = next(_numbers)
    return Arrival(
        chat=chat,
        source=source or f"update:{number}",
        message_id=message_id or f"m{number}",
        kind=Kind.TEXT,
        text=text,
        sent_at=1_800_000_000.0,
        edited=edited,
    )


def commands(chat: Chat, name: str) -> Arrival:
    number = next(_numbers)
    return Arrival(chat, f"update:{number}", f"m{number}", Kind.COMMAND, command=name)


def shows(chat: Chat, *, caption: str = "", album: str = "") -> Arrival:
    number = next(_numbers)
    picture = Attachment(f"file{number}", 1000)
    return Arrival(
        chat, f"update:{number}", f"m{number}", Kind.PHOTO, caption, attachment=picture, album=album
    )


class Ledger:
    """Both halves, and the shortest way of answering."""

    def __init__(self, db: Database) -> None:
        self.inbox = Inbox(db)
        self.outbox = Outbox(db)

    async def claim(self, worker: str = "w", limit: int = 10) -> list[Batch]:
        batches, _ = await self.inbox.claim(worker, limit)
        return batches

    async def claim_one(self, worker: str = "w") -> Batch:
        (batch,) = await self.claim(worker)
        return batch

    async def open(self, batch: Batch, text: str = "answer", parts: Sequence[str] = ()) -> OpenTurn:
        words = "\n".join(arrival.text for arrival in batch.arrivals)
        message = Message(batch.chat, words, "en")
        reply = Reply(text, "en", "test")
        return await self.outbox.open(batch, message, reply, [Part(part) for part in parts or (text,)])

    async def send(self, batch: Batch, turn: OpenTurn) -> None:
        for part in turn.parts:
            if part.state != "sent":
                await self.outbox.sent(batch, turn, part, Receipt(f"r{part.id}", 1.0))

    async def answer(self, batch: Batch, text: str = "answer") -> OpenTurn:
        turn = await self.open(batch, text)
        await self.send(batch, turn)
        return turn


async def talk(db: Database, chat: Chat, asked: str, reply: Reply) -> int:
    """A question and its answer, sent; returns the turn."""
    ledger = Ledger(db)
    await ledger.inbox.put([says(chat, asked)])
    batch = await ledger.claim_one()
    turn = await ledger.outbox.open(batch, Message(chat, asked, "en"), reply, [Part(reply.text)])
    await ledger.send(batch, turn)
    return turn.id


async def forget(db: Database, chat: Chat, *, wish: Wish = "operator") -> tuple[Erased, list[str]]:
    """Erase a chat; what was erased, and the photos that nobody else shows."""
    photos: list[str] = []

    async def forget_photo(sha256: str) -> None:
        photos.append(sha256)

    async def forget_uploads(_ids: Sequence[str]) -> None:
        return None

    async def scrub() -> bool:
        return True

    erasure = Erasure(
        db, forget_photo=forget_photo, forget_uploads=forget_uploads, copies={}, scrub_copies=scrub
    )
    return await erasure.forget(chat, wish=wish), photos


def texts(batch: Batch) -> list[str]:
    return [arrival.text for arrival in batch.arrivals]
