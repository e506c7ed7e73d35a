"""Feedback: what customers say of our answers by pressing a button, or in so many words.

One row a turn and question, and the last word counts: who changes their mind changes the row.  Silence
leaves no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.turns import Chat

Question = Literal["helpful", "fixed", "words"]
"""The buttons below an answer, "did it work?" the next day, and what the customer wrote of it themselves."""
Vote = Literal["up", "down"]
REASONS: tuple[str, ...] = ("wrong", "unclear", "unsafe", "off_topic", "did_not_help")
"""Why an answer was no help, as the buttons offer it."""
TRIES = 2
"""Answers that failed, after which a person is asked for."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One word of a customer's about one answer."""

    chat: Chat
    turn_id: int
    question: Question
    vote: Vote
    reason: str
    """One of `REASONS`; empty where none was given."""
    at: float


class NotTheirs(Exception):
    """This turn is none of that chat's."""


class Cast(Protocol):
    """Keeps a vote: `bot.votes.Votes.cast`."""

    async def __call__(
        self, chat: Chat, turn_id: int, question: Question, vote: Vote, *, reason: str = ""
    ) -> None:
        """Raises `NotTheirs`, or ValueError for a reason that is none."""


class Feedbacks:
    """Keeps them.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(
        self, chat: Chat, turn_id: int, question: Question, vote: Vote, *, reason: str = ""
    ) -> bool:
        """Keep a vote; twice the same is once.  False when nothing changed.

        Raises `NotTheirs` for a turn of another chat, ValueError for a reason that is none.
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
        """Answers that did not help since the case began and since a person last had the chat."""
        values = {"chat": chat.key}
        return await self._db.read(lambda connection: int(connection.execute(_FAILED, values).scalar_one()))

    async def of_chat(self, chat: Chat) -> list[Feedback]:
        """All of one chat, the oldest first."""

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
