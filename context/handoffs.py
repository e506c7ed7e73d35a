"""Who holds a chat: the bot, or a person.

A handoff is asked for (by the customer, the guard or a failure), taken by a person, and closed
when the chat goes back to the bot.  While a person holds a chat the bot says nothing in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from context.db import Database
from context.turns import Chat


@dataclass(frozen=True, slots=True)
class Handoff:
    """The current handoff of a chat."""

    id: int
    chat: Chat
    reason: str
    asked_at: float
    holder: str | None
    """Who took it; None while the customer waits for a person."""


class NotWaiting(Exception):
    """There is no handoff to take, or somebody else has taken it."""


class Handoffs:
    """Asks for, takes and closes handoffs.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def current(self, chat: Chat) -> Handoff | None:
        """The open handoff of this chat, waiting or taken."""

        def work(connection: Connection) -> Handoff | None:
            row = connection.execute(_CURRENT, {"chat": chat.key}).first()
            if row is None:
                return None
            return Handoff(row.id, chat, row.reason, row.asked_at, row.holder)

        return await self._db.read(work)

    async def holder(self, chat: Chat) -> str | None:
        """The person who holds this chat; None when the bot answers it."""
        handoff = await self.current(chat)
        return handoff.holder if handoff else None

    async def ask(self, chat: Chat, reason: str) -> bool:
        """Ask for a person.  False when one was asked for already."""
        return await self._db.write(
            lambda connection: ask_in(connection, chat.key, reason, self._db.now(connection))
        )

    async def announce(self, chat: Chat) -> bool:
        """Whether staff are still to be told that this chat waits for a person; they are told once."""

        def work(connection: Connection) -> bool:
            values = {"chat": chat.key, "now": self._db.now(connection)}
            return connection.execute(_ANNOUNCE, values).first() is not None

        return await self._db.write(work)

    async def take(self, chat: Chat, holder: str) -> None:
        """A person takes the chat, asked for or not.  Raises `NotWaiting` when somebody else holds it."""

        def work(connection: Connection) -> None:
            now = self._db.now(connection)
            connection.execute(_ASK, {"chat": chat.key, "reason": "taken", "now": now})
            taken = connection.execute(_TAKE, {"chat": chat.key, "holder": holder, "now": now}).first()
            if taken is None:
                raise NotWaiting(f"chat {chat.key} is held by somebody else")

        await self._db.write(work)

    async def close(self, chat: Chat) -> bool:
        """Give the chat back to the bot.  False when it already was."""

        def work(connection: Connection) -> bool:
            values = {"chat": chat.key, "now": self._db.now(connection)}
            return connection.execute(_CLOSE, values).first() is not None

        return await self._db.write(work)

    async def waiting(self) -> int:
        """How many customers wait for a person."""
        return await self._db.read(lambda connection: int(connection.execute(_WAITING).scalar_one()))


def ask_in(connection: Connection, chat: str, reason: str, now: float) -> bool:
    """Ask for a person as part of another transaction.  False when one was asked for already."""
    values = {"chat": chat, "reason": reason, "now": now}
    return connection.execute(_ASK, values).first() is not None


_CURRENT = sa.text(
    "SELECT id, reason, asked_at, holder FROM handoffs WHERE chat = :chat AND closed_at IS NULL"
)
_ASK = sa.text("""
    INSERT INTO handoffs (chat, reason, asked_at) VALUES (:chat, :reason, :now)
    ON CONFLICT DO NOTHING RETURNING id""")
_TAKE = sa.text("""
    UPDATE handoffs SET holder = :holder, taken_at = COALESCE(taken_at, :now)
    WHERE chat = :chat AND closed_at IS NULL AND (holder IS NULL OR holder = :holder) RETURNING id""")
_ANNOUNCE = sa.text("""
    UPDATE handoffs SET told_at = :now
    WHERE chat = :chat AND closed_at IS NULL AND holder IS NULL AND told_at IS NULL RETURNING id""")
_CLOSE = sa.text("UPDATE handoffs SET closed_at = :now WHERE chat = :chat AND closed_at IS NULL RETURNING id")
_WAITING = sa.text("SELECT COUNT(*) FROM handoffs WHERE closed_at IS NULL AND holder IS NULL")
