"""Handoffs: who answers a chat, the bot or a person.

A handoff is requested (by the customer, the guard or a failure), taken by a member of staff, and closed when
the chat goes back to the bot.  While a person holds a chat, the bot says nothing in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from context.arrivals import First
from context.db import Database
from context.statement import Statement
from context.turns import Chat


@dataclass(frozen=True, slots=True)
class Handoff:
    """The open handoff of a chat."""

    id: int
    chat: Chat
    reason: str
    asked_at: float
    holder: str | None
    """The account that took it; None while the customer waits."""


class NotWaiting(Exception):
    """Somebody else holds the chat: `holder`."""

    def __init__(self, message: str, *, holder: str = "") -> None:
        super().__init__(message)
        self.holder = holder


class Handoffs:
    """Requests, takes and closes handoffs.  Every method is one transaction."""

    def __init__(self, db: Database, *, tell: Callable[..., None] = lambda *_: None) -> None:
        self._db = db
        self._tell = tell  # the other processes
        self._held: set[str] = set()

    async def current(self, chat: Chat) -> Handoff | None:
        """The open handoff of this chat, waiting or taken; None if there is none."""

        def work(connection: Connection) -> Handoff | None:
            row = connection.execute(_CURRENT, {"chat": chat.key}).first()
            if row is None:
                return None
            return Handoff(row.id, chat, row.reason, row.asked_at, row.holder)

        return await self._db.read(work)

    async def holder(self, chat: Chat) -> str | None:
        """The account that holds this chat; None if the bot answers it."""
        handoff = await self.current(chat)
        return handoff.holder if handoff else None

    async def ask(self, chat: Chat, reason: str) -> bool:
        """Request a person.  False if one was requested already."""
        return await self._db.write(
            lambda connection: ask_in(connection, chat.key, reason, self._db.now(connection))
        )

    async def announce(self, chat: Chat) -> bool:
        """Whether staff have yet to be told that this chat waits.  True only once for each handoff."""

        def work(connection: Connection) -> bool:
            values = {"chat": chat.key, "now": self._db.now(connection)}
            return connection.execute(_ANNOUNCE, values).first() is not None

        return await self._db.write(work)

    async def take(self, chat: Chat, holder: str) -> None:
        """A person takes the chat, requested or not.  Raises `NotWaiting` if somebody else holds it."""
        await self._db.write(
            lambda connection: take_in(connection, chat.key, holder, self._db.now(connection))
        )
        self.note(chat, held=True)

    async def close(self, chat: Chat) -> bool:
        """Give the chat back to the bot.  False if it had it already."""
        is_closed = await self._db.write(
            lambda connection: close_in(connection, chat.key, "", self._db.now(connection))
        )
        self.note(chat, held=False)
        return is_closed

    def note(self, chat: Chat, *, held: bool) -> None:
        """Remember that a person now has the chat, or not any more, and tell the other processes."""
        (self._held.add if held else self._held.discard)(chat.key)
        self._tell("held", chat.key, str(int(held)))

    def hear(self, words: Sequence[str]) -> None:
        """Remember the same, told by another process."""
        if words:
            chat, held = words
            (self._held.add if held == "1" else self._held.discard)(chat)

    def is_known_held(self, chat: Chat) -> bool:
        """Whether a person is known to have the chat: a quick check just before something is sent.

        It knows only what happened in this process or was announced by others; the ledger asks the database
        as well.
        """
        return chat.key in self._held

    async def look(self, chat: Chat) -> None:
        """Ask the database, in case the chat was erased while somebody held it."""
        current = await self.current(chat)
        if current is None or current.holder is None:
            self._held.discard(chat.key)

    async def place(self, chat: Chat) -> int:
        """How many customers wait for a person before this one, who need not be waiting yet."""
        values = {"chat": chat.key}
        return await self._db.read(lambda connection: int(connection.execute(_PLACE, values).scalar_one()))

    async def waiting(self) -> int:
        """How many customers wait for a person."""
        return await self._db.read(lambda connection: int(connection.execute(_WAITING).scalar_one()))


def take_in(connection: Connection, chat: str, holder: str, now: float) -> bool:
    """Take the chat within another transaction.  False if this person had it already.

    Raises `NotWaiting` if somebody else holds it.
    """
    before = connection.execute(_CURRENT, {"chat": chat}).first()
    if before is not None and before.holder == holder:
        return False
    connection.execute(_ASK, {"chat": chat, "reason": "taken", "now": now})
    if connection.execute(_TAKE, {"chat": chat, "holder": holder, "now": now}).first() is None:
        current = connection.execute(_CURRENT, {"chat": chat}).first()
        raise NotWaiting(f"chat {chat} is held by somebody else", holder=current.holder if current else "")
    return True


def close_in(connection: Connection, chat: str, by: str, now: float, *, over: bool = False) -> bool:
    """Close the handoff within another transaction.  False if there is none.

    `by` may close only a handoff that is theirs or nobody's, unless `over` is set: raises `NotWaiting` if
    somebody else holds the chat.
    """
    current = connection.execute(_CURRENT, {"chat": chat}).first()
    if current is None:
        return False
    if by and not over and current.holder not in {None, by}:
        raise NotWaiting(f"chat {chat} is held by somebody else", holder=current.holder)
    values = {"chat": chat, "by": by or None, "now": now}
    return connection.execute(_CLOSE, values).first() is not None


def taking(chat: Chat, holder: str, *, is_enough: bool = False) -> First:
    """`take_in` for `Inbox.put`: store only if this person did not have the chat yet, or in any case."""
    return lambda connection, now: take_in(connection, chat.key, holder, now) or is_enough


def closing(chat: Chat, by: str, *, over: bool = False) -> First:
    """`close_in` for `Inbox.put`: store if there was a handoff to close."""
    return lambda connection, now: close_in(connection, chat.key, by, now, over=over)


def asking(chat: Chat, reason: str) -> First:
    """`ask_in` for `Inbox.put`: store if no person was requested yet."""
    return lambda connection, now: ask_in(connection, chat.key, reason, now)


def ask_in(connection: Connection, chat: str, reason: str, now: float) -> bool:
    """Request a person within another transaction.  False if one was requested already."""
    values = {"chat": chat, "reason": reason, "now": now}
    return connection.execute(_ASK, values).first() is not None


_CURRENT = Statement(
    "SELECT id, reason, asked_at, holder FROM handoffs WHERE chat = :chat AND closed_at IS NULL"
)
_ASK = Statement("""
    INSERT INTO handoffs (chat, reason, asked_at) VALUES (:chat, :reason, :now)
    ON CONFLICT DO NOTHING RETURNING id""")
_TAKE = Statement("""
    UPDATE handoffs SET holder = :holder, taken_at = COALESCE(taken_at, :now)
    WHERE chat = :chat AND closed_at IS NULL AND (holder IS NULL OR holder = :holder) RETURNING id""")
_ANNOUNCE = Statement("""
    UPDATE handoffs SET told_at = :now
    WHERE chat = :chat AND closed_at IS NULL AND holder IS NULL AND told_at IS NULL RETURNING id""")
_CLOSE = Statement("""
    UPDATE handoffs SET closed_at = :now, closed_by = :by
    WHERE chat = :chat AND closed_at IS NULL RETURNING id""")
_PLACE = Statement("""
    SELECT COUNT(*) FROM handoffs WHERE closed_at IS NULL AND holder IS NULL AND chat <> :chat
      AND id < COALESCE((SELECT id FROM handoffs WHERE chat = :chat AND closed_at IS NULL), id + 1)""")
_WAITING = Statement("SELECT COUNT(*) FROM handoffs WHERE closed_at IS NULL AND holder IS NULL")
