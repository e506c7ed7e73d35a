"""What a chat has used recently: messages, photos and tokens, counted from the ledger itself.

Nothing is stored for it that could be lost or drift: a message that arrives twice counts once, and every
process sees the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection

from context.db import Database
from context.statement import Statement
from context.turns import Chat

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
_MOST_TURNS = 1000
"""Most turns of one day that are counted."""


@dataclass(frozen=True, slots=True)
class Recent:
    """What a chat has sent, and what its answers used."""

    messages_in_minute: int
    messages_in_day: int
    photos_in_hour: int
    tokens_in_day: int
    told_s: float | None
    """Seconds since it was last told that a limit is reached; None if never."""


class Usage:
    """Reads what chats have used."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def recent(self, chat: Chat, *, most: int) -> Recent:
        """The recent usage, counted over at most the newest `most` messages: more need not be known."""

        def work(connection: Connection) -> Recent:
            now = self._db.now(connection)
            values = {"chat": chat.key, "most": most, "turns": _MOST_TURNS}
            since = {"minute": now - MINUTE_S, "hour": now - HOUR_S, "day": now - DAY_S}
            sent = connection.execute(_SENT, values | since).one()
            used = connection.execute(_USED, values | since).one()
            told_s = now - used.told_at if used.told_at else None
            return Recent(sent.minute, sent.day, sent.photos, int(used.tokens), told_s)

        return await self._db.read(work)


# Newest first and bounded before anything is compared: a long chat costs no more than a busy day.
_SENT = Statement("""
    SELECT COALESCE(SUM(CASE WHEN at > :minute THEN 1 ELSE 0 END), 0) AS minute,
           COALESCE(SUM(CASE WHEN at > :day THEN 1 ELSE 0 END), 0) AS day,
           COALESCE(SUM(CASE WHEN at > :hour AND file_id IS NOT NULL THEN 1 ELSE 0 END), 0) AS photos
    FROM (SELECT at, file_id FROM messages WHERE chat = :chat AND direction = 'in' AND kind <> 'staff'
          ORDER BY id DESC LIMIT :most) AS newest""")
_USED = Statement("""
    SELECT COALESCE(SUM(CASE WHEN opened_at > :day THEN tokens ELSE 0 END), 0) AS tokens,
           MAX(CASE WHEN origin LIKE 'notice:limit%' THEN opened_at END) AS told_at
    FROM (SELECT tokens, opened_at, origin FROM turns WHERE chat = :chat
          ORDER BY id DESC LIMIT :turns) AS newest""")
