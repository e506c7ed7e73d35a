"""Retention: deletes what is older than the operator wants to keep, by kind of data.

From a conversation the finished turns that are old enough are deleted, with everything that belongs to them;
if nothing newer is left, the whole conversation.  Cases that wait for a person or that a person holds, held
replies, and everything in progress are kept until that is over.  Each chat is a transaction of its own, so
that no customer has to wait.  An interrupted sweep is completed by the next one.  Figures are counted before
(context/console/counting.py).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from context import verdicts
from context.console import search
from context.console.counting import Counting
from context.db import Database
from context.turns import Chat
from context.upkeep.erasure import Erasure, Gone

DAY_S, HOUR_S = 86_400.0, 3_600.0
CHATS_AT_ONCE, ROWS_AT_ONCE = 200, 500
REST_S = 0.02
"""Pause between two transactions: customers go first."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Days for which each kind of data is kept; 0 means for good."""

    chats: int = 0
    """Messages and turns, verdicts of the guard, reviews of staff, unreadable updates."""
    photos: int = 0
    access: int = 0
    """The access log of staff."""

    @property
    def is_for_good(self) -> bool:
        """Whether everything is kept for good."""
        return not (self.chats or self.photos or self.access)


@dataclass(frozen=True, slots=True)
class _Ends:
    """Unix seconds before which each kind of data is deleted; 0 keeps it."""

    chats: float
    photos: float
    access: float


class Retention:
    """Deletes what is too old.

    Raises StoreDown if the database fails; what was deleted before stays deleted.
    """

    def __init__(self, db: Database, *, lifetimes: Lifetimes, erasure: Erasure) -> None:
        self._db = db
        self._lifetimes = lifetimes
        self._erasure = erasure

    async def due(self) -> dict[str, int]:
        """What a sweep would delete now, counted by kind, without open cases."""

        def work(connection: Connection) -> dict[str, int]:
            ends = self._ends(connection)
            values = {"chats": ends.chats, "photos": ends.photos, "access": ends.access}
            return {name: int(connection.execute(ask, values).scalar_one()) for name, ask in _COUNTS.items()}

        return await self._db.read(work)

    async def sweep(self, *, tell: Callable[[Mapping[str, int]], None] | None = None) -> dict[str, int]:
        """Delete what is too old, in small steps; returns how much, by kind.  `tell` hears of each step."""
        total: Counter[str] = Counter()

        def add(counts: Mapping[str, int]) -> None:
            total.update(counts)
            if tell is not None and counts:
                tell(counts)

        if self._lifetimes.is_for_good:
            return {}
        ends = await self._db.read(self._ends)
        if ends.chats:
            await Counting(self._db).catch_up(until=ends.chats)
        async for chat in self._candidates(ends):
            receipt = await self._erasure.carry_out(
                chat,
                lambda connection, chat=chat: self._expire(connection, chat, ends),  # type: ignore[misc]
            )
            add(receipt.counts)
            await asyncio.sleep(REST_S)
        for table, end in (("asides", ends.chats), ("staff_access", ends.access)):
            while end and (count := await self._delete_rows(table, end)):
                add({table: count})
                await asyncio.sleep(REST_S)
        return dict(total)

    def _ends(self, connection: Connection) -> _Ends:
        now = self._db.now(connection)

        def end(days: int) -> float:
            # Whole hours: one that is counted in the figures is not taken apart.
            return (now - days * DAY_S) // HOUR_S * HOUR_S if days else 0.0

        return _Ends(end(self._lifetimes.chats), end(self._lifetimes.photos), end(self._lifetimes.access))

    async def _candidates(self, ends: _Ends) -> AsyncIterator[Chat]:
        after = ""
        while True:
            values = {"after": after, "limit": CHATS_AT_ONCE, "chats": ends.chats, "photos": ends.photos}
            rows = await self._db.read(
                lambda connection, values=values: connection.execute(_PAGE, values).all()  # type: ignore[misc]
            )
            for row in rows:
                if row.is_due:
                    yield Chat.parse(row.chat)
            if len(rows) < CHATS_AT_ONCE:
                return
            after = rows[-1].chat

    def _expire(self, connection: Connection, chat: Chat, ends: _Ends) -> Gone | None:
        """Check again, within the deleting transaction: somebody may have written meanwhile."""
        values = {"chat": chat.key}
        now = self._db.now(connection)
        connection.execute(_LOCK_LANE, values)  # a message that comes now waits until we are done
        if connection.execute(_BUSY, values).first() is not None:
            return None
        newest = connection.execute(_NEWEST, values).scalar()
        if ends.chats and (newest is None or newest < ends.chats):
            return self._erasure.forget_in(connection, chat, "retention")
        gone = _forget_turns(connection, chat, ends.chats, now) if ends.chats else Gone({}, [], [], 0, now)
        photos = _forget_photos(connection, chat, ends.photos) if ends.photos else []
        last_turn = gone.last_turn
        if not (gone.counts or photos):
            return None
        if photos:  # copies name them, of whatever turn
            last_turn = int(connection.execute(_LAST_TURN, values).scalar() or 0)
        return Gone(gone.counts, list(dict.fromkeys(gone.photos + photos)), gone.uploads, last_turn, now)

    async def _delete_rows(self, table: str, end: float) -> int:
        some = f"SELECT id FROM {table} WHERE at < :end ORDER BY id LIMIT :limit"  # noqa: S608  (a table of ours)
        statement = sa.text(f"DELETE FROM {table} WHERE id IN ({some})")  # noqa: S608  (same)
        values = {"end": end, "limit": ROWS_AT_ONCE}
        return await self._db.write(lambda connection: connection.execute(statement, values).rowcount)


def _forget_turns(connection: Connection, chat: Chat, end: float, now: float) -> Gone:
    """Delete the turns that ended before, with their messages and everything that refers to them."""
    values = {"chat": chat.key, "end": end}
    last = int(connection.execute(_LAST_BEFORE, values).scalar() or 0)
    values["last"] = last
    search.erase_in(connection, chat, upto=last)
    rows = connection.execute(_FORGET_MESSAGES, values).all()
    counts = {"messages": len(rows), "verdicts": verdicts.erase(connection, chat, upto=last)}
    for table in ("reviews", "feedback", "follow_ups", "held"):
        statement = sa.text(f"DELETE FROM {table} WHERE chat = :chat AND turn_id <= :last")  # noqa: S608  (a table of ours)
        counts[table] = connection.execute(statement, values).rowcount
    counts["handoffs"] = connection.execute(_FORGET_HANDOFFS, values).rowcount
    counts["turns"] = connection.execute(_FORGET_TURNS, values).rowcount
    counts = {name: count for name, count in counts.items() if count > 0}
    if counts:
        connection.execute(_FORGET_CHANGES, values)
        connection.execute(_CHANGED, values)
    photos = list(dict.fromkeys(row.photo for row in rows if row.photo))
    uploads = [row.file_id for row in rows if row.file_id and chat.channel == "web"]
    return Gone(counts, photos, uploads, last if counts else 0, now)


def _forget_photos(connection: Connection, chat: Chat, end: float) -> list[str]:
    """Delete photos, but not the messages with which they came."""
    values = {"chat": chat.key, "end": end}
    photos = [row.photo for row in connection.execute(_OLD_PHOTOS, values)]
    if photos:
        connection.execute(_FORGET_PHOTOS, values)
    return photos


_WORK = """
    SELECT 1 FROM handoffs h WHERE h.chat = c.chat AND h.closed_at IS NULL
    UNION ALL SELECT 1 FROM held d WHERE d.chat = c.chat AND d.state = 'open'
    UNION ALL SELECT 1 FROM turns t WHERE t.chat = c.chat AND t.state = 'open'
    UNION ALL SELECT 1 FROM messages m WHERE m.chat = c.chat AND m.state = 'waiting'
    UNION ALL SELECT 1 FROM lanes l
              WHERE l.chat = c.chat AND (l.due_at IS NOT NULL OR l.lease_until IS NOT NULL)"""
_LOCK_LANE = sa.text("UPDATE lanes SET superseded = superseded WHERE chat = :chat")
_BUSY = sa.text(f"SELECT 1 FROM (SELECT CAST(:chat AS TEXT) AS chat) c WHERE EXISTS ({_WORK})")  # noqa: S608  (a constant)
# A chat's first row is its oldest.
_PAGE = sa.text("""
    SELECT c.chat, (COALESCE((SELECT m.at FROM messages m WHERE m.chat = c.chat ORDER BY m.id LIMIT 1),
                             c.created_at) < :chats
                    OR EXISTS (SELECT 1 FROM messages m WHERE m.chat = c.chat AND m.photo IS NOT NULL
                               AND m.at < :photos)) AS is_due
    FROM chats c WHERE c.chat > :after ORDER BY c.chat LIMIT :limit""")
_NEWEST = sa.text("""
    SELECT MAX(at) FROM (SELECT MAX(at) AS at FROM messages WHERE chat = :chat
                         UNION ALL SELECT created_at FROM chats WHERE chat = :chat) AS moments""")
_LAST_TURN = sa.text("SELECT MAX(id) FROM turns WHERE chat = :chat")
_LAST_BEFORE = sa.text("SELECT MAX(id) FROM turns WHERE chat = :chat AND opened_at < :end")
_FORGET_MESSAGES = sa.text("""
    DELETE FROM messages WHERE chat = :chat AND (turn_id <= :last OR (turn_id IS NULL AND at < :end))
    RETURNING photo, file_id""")
_FORGET_HANDOFFS = sa.text("DELETE FROM handoffs WHERE chat = :chat AND closed_at < :end")
_FORGET_TURNS = sa.text("DELETE FROM turns WHERE chat = :chat AND id <= :last")
_FORGET_CHANGES = sa.text("DELETE FROM changes WHERE chat = :chat AND turn_id <= :last")
_CHANGED = sa.text("INSERT INTO changes (chat) VALUES (:chat)")
_OLD_PHOTOS = sa.text(
    "SELECT DISTINCT photo FROM messages WHERE chat = :chat AND photo IS NOT NULL AND at < :end"
)
_FORGET_PHOTOS = sa.text("""
    UPDATE messages SET photo = NULL, photo_facts = NULL
    WHERE chat = :chat AND photo IS NOT NULL AND at < :end""")
_COUNTS = {
    "messages": sa.text(f"""
        SELECT COUNT(*) FROM messages n JOIN chats c ON c.chat = n.chat
        WHERE n.at < :chats AND NOT EXISTS ({_WORK})"""),  # noqa: S608  (a constant)
    "turns": sa.text(f"""
        SELECT COUNT(*) FROM turns n JOIN chats c ON c.chat = n.chat
        WHERE n.opened_at < :chats AND NOT EXISTS ({_WORK})"""),  # noqa: S608  (a constant)
    "photos": sa.text(f"""
        SELECT COUNT(DISTINCT n.photo) FROM messages n JOIN chats c ON c.chat = n.chat
        WHERE n.photo IS NOT NULL AND (n.at < :photos OR n.at < :chats) AND NOT EXISTS ({_WORK})
          AND NOT EXISTS (SELECT 1 FROM messages k WHERE k.photo = n.photo AND k.at >= :photos
                          AND k.at >= :chats)"""),  # noqa: S608  (a constant)
    "asides": sa.text("SELECT COUNT(*) FROM asides WHERE at < :chats"),
    "staff_access": sa.text("SELECT COUNT(*) FROM staff_access WHERE at < :access"),
}
"""What a sweep deletes; each statement takes all three times."""
