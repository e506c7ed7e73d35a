"""Which answers to a fault need the question "did it work?", and which had it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from context.arrivals import First
from context.db import Database
from context.turns import Chat

TOO_LATE_S = 86_400.0
"""If a question is later than this, it is not asked at all: the bot was down, or the feature is new."""
AT_ONCE = 50


class FollowUps:
    """Finds them, and records that they were asked."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def due(self, *, after_s: float) -> list[tuple[Chat, int]]:
        """Private chats that end with an answer to a fault, at least `after_s` old; with the answer's turn.

        An answer to a fault is one of the model or the rules in a case with a photo.  Left out are chats
        where a person was or is wanted since, and customers who have already said whether it worked.
        """

        def work(connection: Connection) -> list[tuple[Chat, int]]:
            now = self._db.now(connection)
            values = {"before": now - after_s, "after": now - after_s - TOO_LATE_S, "limit": AT_ONCE}
            return [(Chat.parse(row.chat), row.id) for row in connection.execute(_DUE, values)]

        return await self._db.read(work)

    def asking(self, chat: Chat, turn_id: int) -> First:
        """For `Inbox.put`: store the question only if it was not asked before."""

        def first(connection: Connection, now: float) -> bool:
            values = {"turn": turn_id, "chat": chat.key, "now": now}
            return connection.execute(_ASK, values).rowcount > 0

        return first


# A private chat of Telegram's is a positive number without a topic; a page's visitor is always alone.
_DUE = sa.text("""
    SELECT t.chat, t.id FROM turns t JOIN chats c ON c.chat = t.chat
    WHERE t.opened_at <= :before AND t.opened_at > :after AND c.last_turn = t.id
      AND t.state = 'closed' AND t.remembered = 1 AND t.handoff = '' AND c.closed_at IS NULL
      AND t.origin NOT LIKE 'staff:%' AND t.origin NOT LIKE 'notice:%'
      AND (t.chat LIKE 'web:%' OR (t.chat LIKE 'telegram:%' AND t.chat NOT LIKE 'telegram:-%'
                                   AND t.chat NOT LIKE 'telegram:%:%'))
      AND c.photos > 0
      AND NOT EXISTS (SELECT 1 FROM turns later WHERE later.chat = t.chat AND later.id > t.id)
      AND NOT EXISTS (SELECT 1 FROM handoffs h WHERE h.chat = t.chat
                      AND (h.closed_at IS NULL OR h.asked_at >= t.opened_at))
      AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.turn_id = t.id)
      AND NOT EXISTS (SELECT 1 FROM follow_ups f WHERE f.turn_id = t.id)
    ORDER BY t.id LIMIT :limit""")
_ASK = sa.text("""
    INSERT INTO follow_ups (turn_id, chat, at) VALUES (:turn, :chat, :now) ON CONFLICT DO NOTHING""")
