"""Feedback: whether an answer helped, as customers say by pressing a button or in words.

There is one row per turn and question, with the customer's last vote.  Customers who say nothing leave no
row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.turns import Chat

Question = Literal["helpful", "fixed", "words"]
"""`helpful`: the buttons below an answer; `fixed`: "did it work?" on the next day; `words`: what customers
wrote about it themselves."""
Vote = Literal["up", "down"]
REASONS: tuple[str, ...] = ("wrong", "unclear", "unsafe", "off_topic", "did_not_help")
"""Reasons that the buttons offer for an answer that did not help."""
TRIES = 2
"""After so many answers that did not help, a person is called."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One vote of a customer on one answer."""

    chat: Chat
    turn_id: int
    question: Question
    vote: Vote
    reason: str
    """One of `REASONS`; empty if none was given."""
    at: float


class NotTheirs(Exception):
    """The turn belongs to another chat."""


class Cast(Protocol):
    """Stores a vote; `bot.votes.Votes.cast` implements it."""

    async def __call__(
        self, chat: Chat, turn_id: int, question: Question, vote: Vote, *, reason: str = ""
    ) -> None:
        """Raises `NotTheirs`, or ValueError for an unknown reason."""


class Feedbacks:
    """Stores feedback.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(
        self, chat: Chat, turn_id: int, question: Question, vote: Vote, *, reason: str = ""
    ) -> bool:
        """Store a vote; False if nothing changed, as when it is repeated.

        Raises `NotTheirs` for a turn of another chat, ValueError for an unknown reason.
        """
        if reason and reason not in REASONS:
            raise ValueError(f"{reason!r} is no reason")
        values = {"chat": chat.key, "turn": turn_id, "question": question, "vote": vote, "reason": reason}

        def work(connection: Connection) -> bool:
            if connection.execute(_OWN, values).first() is None:
                raise NotTheirs(f"turn {turn_id} is none of {chat.key}")
            return connection.execute(_KEEP, values | {"now": self._db.now(connection)}).rowcount > 0

        return await self._db.write(work)

    async def failed_tries(self, chat: Chat) -> int:
        """Answers that did not help, since the case began and since a person last had the chat."""
        values = {"chat": chat.key}
        return await self._db.read(lambda connection: int(connection.execute(_FAILED, values).scalar_one()))

    async def of_chat(self, chat: Chat) -> list[Feedback]:
        """All feedback of a chat, oldest first."""

        def work(connection: Connection) -> list[Feedback]:
            return [_feedback(row) for row in connection.execute(_OF_CHAT, {"chat": chat.key})]

        return await self._db.read(work)


def _feedback(row: Row[Any]) -> Feedback:
    return Feedback(Chat.parse(row.chat), row.turn_id, row.question, row.vote, row.reason, row.at)


_OWN = sa.text("SELECT 1 FROM turns WHERE id = :turn AND chat = :chat")
_KEEP = sa.text("""
    INSERT INTO feedback (chat, turn_id, question, vote, reason, at)
    VALUES (:chat, :turn, :question, :vote, :reason, :now)
    ON CONFLICT (turn_id, question) DO UPDATE SET vote = excluded.vote, reason = excluded.reason,
                                                  at = excluded.at
    WHERE feedback.vote <> excluded.vote OR feedback.reason <> excluded.reason""")
_FAILED = sa.text("""
    SELECT COUNT(DISTINCT f.turn_id) FROM feedback f JOIN chats c ON c.chat = f.chat
    WHERE f.chat = :chat AND f.vote = 'down' AND f.turn_id > c.window_after
      AND f.at > COALESCE((SELECT MAX(closed_at) FROM handoffs WHERE chat = :chat), 0)""")
_OF_CHAT = sa.text(
    "SELECT chat, turn_id, question, vote, reason, at FROM feedback WHERE chat = :chat ORDER BY id"
)
