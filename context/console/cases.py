"""Cases: handoffs as staff see them, with what to know about the customer and what is new.

In the staff's group each case has a topic of its own; its row says which, and up to which message the topic
shows the chat.  All of this can be rebuilt, so it is written after what it records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.console.held import HELD_IN_CHAT
from context.db import Database
from context.facts import photo_in
from context.turns import Chat, Language, Photo

LOOKED_AT = 8
"""How many of the newest turns are summarised."""
NEWS = 30
"""How many lines of a conversation are shown at a time."""


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What is known about a chat that a person should take over."""

    name: str
    reason: str
    since: float | None
    questions: tuple[str, ...]
    """What the customer wrote, newest first."""
    answers: tuple[str, ...]
    """What they were told, apart from notices, newest first."""
    photos: tuple[Photo, ...]
    turns: int
    failed: int
    held: bool
    language: Language


@dataclass(frozen=True, slots=True)
class Case:
    """One handoff, and how the group shows it."""

    chat: Chat
    handoff_id: int
    reason: str
    holder: str | None
    is_closed: bool
    """The handoff is over."""
    closed_by: str
    place: str
    """The chat of the group; empty while it is not shown."""
    thread: int | None
    """Its topic; None if it is shown as plain messages."""
    shown_handoff: int
    """The handoff that is shown; 0 for none."""
    shown_holder: str | None
    shown: int
    """The newest message that is shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """A new message in a case."""

    id: int
    who: Literal["customer", "bot", "staff"]
    by: str
    """The staff account; empty for others."""
    text: str
    photo: Photo | None


class Cases:
    """Reads cases, and records what is shown of them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def facts(self, chat: Chat) -> CaseFacts:
        """What a person who takes the chat should know."""

        def work(connection: Connection) -> CaseFacts:
            values = {"chat": chat.key, "limit": LOOKED_AT}
            known = connection.execute(_KNOWN, values).first()
            turns = connection.execute(_TURNS, values).all()
            photos = {row.photo: photo_in(row) for row in connection.execute(_PHOTOS, values)}
            return CaseFacts(
                name=known.sender if known else "",
                reason=(known.reason or "") if known else "",
                since=known.asked_at if known else None,
                questions=tuple(row.text for row in turns if row.text.strip()),
                answers=tuple(row.reply for row in turns if row.remembered and row.reply),
                photos=tuple(photos.values()),
                turns=int(connection.execute(_COUNT, values).scalar_one()),
                failed=int(connection.execute(_FAILED, values).scalar_one()),
                held=connection.execute(HELD_IN_CHAT, values).first() is not None,
                language="zh" if known is not None and known.language == "zh" else "en",
            )

        return await self._db.read(work)

    async def current(self) -> list[Case]:
        """Cases that are open, or still shown as open, oldest first."""
        return await self._db.read(lambda connection: [_case(row) for row in connection.execute(_CURRENT)])

    async def in_topic(self, place: str, thread: int) -> Chat | None:
        """The chat that a topic of the group shows; None if there is none."""
        values = {"place": place, "thread": thread}

        def work(connection: Connection) -> Chat | None:
            chat = connection.execute(_IN_TOPIC, values).scalar()
            return Chat.parse(chat) if chat else None

        return await self._db.read(work)

    async def gone(self, place: str) -> list[tuple[int, int]]:
        """Topics whose customers were erased: the row's number, for `cleared`, and the topic."""

        def work(connection: Connection) -> list[tuple[int, int]]:
            return [(row.id, row.thread) for row in connection.execute(_GONE, {"place": place})]

        return await self._db.read(work)

    async def cleared(self, number: int) -> None:
        """The topic has been deleted in the group as well."""
        await self._db.write(lambda connection: connection.execute(_CLEARED, {"number": number}))

    async def show(
        self, case: Case, *, place: str, thread: int | None, shown: int, is_told: bool = True
    ) -> None:
        """Record where this handoff is shown, and up to which message."""
        handoff = case.handoff_id if is_told else 0
        values = {"chat": case.chat.key, "place": place, "thread": thread, "handoff": handoff}
        await self._db.write(
            lambda connection: connection.execute(_SHOW, values | {"shown": shown, "holder": None})
        )

    async def note(self, chat: Chat, *, shown: int, holder: str | None, closed: bool) -> None:
        """Record up to which message a case is shown."""
        values = {"chat": chat.key, "shown": shown, "holder": holder, "closed": int(closed)}
        await self._db.write(lambda connection: connection.execute(_NOTE, values))

    async def newest(self, chat: Chat) -> int:
        """The newest message of a chat."""
        return await self._db.read(
            lambda connection: int(connection.execute(_NEWEST, {"chat": chat.key}).scalar_one())
        )

    async def news(self, chat: Chat, after: int) -> list[Line]:
        """Messages after a given one, oldest first, up to the first that is still being sent or processed.

        What staff wrote in the group itself is left out.
        """

        def work(connection: Connection) -> list[Line]:
            lines = []
            for row in connection.execute(_NEWS, {"chat": chat.key, "after": after, "limit": NEWS}):
                if row.state in ("pending", "sending") or (
                    row.file_id and row.state == "waiting" and not (row.photo or row.rejection)
                ):
                    break
                lines.append(_line(row))
            return lines

        return await self._db.read(work)


def _case(row: Row[Any]) -> Case:
    return Case(
        chat=Chat.parse(row.chat),
        handoff_id=row.id,
        reason=row.reason,
        holder=row.holder,
        is_closed=row.closed_at is not None,
        closed_by=row.closed_by or "",
        place=row.place or "",
        thread=row.thread,
        shown_handoff=row.handoff_id or 0,
        shown_holder=row.shown_holder,
        shown=row.shown or 0,
    )


def _line(row: Row[Any]) -> Line:
    origin = row.origin or ""
    who: Literal["customer", "bot", "staff"] = "customer"
    if row.direction == "out":
        who = "staff" if origin.startswith("staff:") else "bot"
    text = f"/{row.command} {row.text}".strip() if row.command else row.text
    photo = photo_in(row) if row.photo else None
    return Line(row.id, who, origin.removeprefix("staff:") if who == "staff" else "", text, photo)


_KNOWN = sa.text("""
    SELECT c.sender, c.language, h.reason, h.asked_at
    FROM chats c LEFT JOIN handoffs h ON h.chat = c.chat AND h.closed_at IS NULL WHERE c.chat = :chat""")
_OF_CASE = "chat = :chat AND id > (SELECT window_after FROM chats WHERE chat = :chat)"
_TURNS = sa.text(f"""
    SELECT text, reply, remembered FROM turns WHERE {_OF_CASE} AND state IN ('open', 'closed')
    ORDER BY id DESC LIMIT :limit""")  # noqa: S608  (a constant)
_COUNT = sa.text(f"SELECT COUNT(*) FROM turns WHERE {_OF_CASE} AND state = 'closed'")  # noqa: S608  (a constant)
_PHOTOS = sa.text("""
    SELECT photo, photo_width, photo_height, photo_number, photo_facts FROM messages
    WHERE chat = :chat AND direction = 'in' AND kind <> 'staff' AND photo IS NOT NULL
      AND turn_id > (SELECT window_after FROM chats WHERE chat = :chat)
    ORDER BY photo_number""")
_FAILED = sa.text("""
    SELECT COUNT(DISTINCT turn_id) FROM feedback WHERE chat = :chat AND vote = 'down'
      AND turn_id > (SELECT window_after FROM chats WHERE chat = :chat)""")
_CURRENT = sa.text("""
    SELECT h.id, h.chat, h.reason, h.holder, h.closed_at, h.closed_by, c.place, c.thread, c.handoff_id,
           c.holder AS shown_holder, c.shown
    FROM handoffs h LEFT JOIN cases c ON c.chat = h.chat
    WHERE h.id IN (SELECT id FROM handoffs WHERE closed_at IS NULL
                   UNION SELECT handoff_id FROM cases WHERE closed = 0)
    ORDER BY h.id""")
_GONE = sa.text("SELECT id, thread FROM gone_topics WHERE place = :place ORDER BY id LIMIT 20")
_CLEARED = sa.text("DELETE FROM gone_topics WHERE id = :number")
_IN_TOPIC = sa.text("SELECT chat FROM cases WHERE place = :place AND thread = :thread")
_SHOW = sa.text("""
    INSERT INTO cases (chat, place, thread, handoff_id, shown, holder, closed)
    VALUES (:chat, :place, :thread, :handoff, :shown, :holder, 0)
    ON CONFLICT (chat) DO UPDATE SET place = excluded.place, thread = excluded.thread,
        handoff_id = excluded.handoff_id, shown = excluded.shown, holder = excluded.holder, closed = 0""")
_NOTE = sa.text("""
    UPDATE cases SET shown = :shown, holder = :holder, closed = :closed WHERE chat = :chat""")
_NEWEST = sa.text("SELECT COALESCE(MAX(id), 0) FROM messages WHERE chat = :chat")
_NEWS = sa.text("""
    SELECT m.id, m.direction, m.state, m.text, m.command, m.file_id, m.photo, m.photo_width, m.photo_height,
           m.photo_number, m.photo_facts, m.rejection, t.origin
    FROM messages m LEFT JOIN turns t ON t.id = m.turn_id
    WHERE m.chat = :chat AND m.id > :after AND m.kind <> 'staff'
      AND m.state IN ('waiting', 'taken', 'pending', 'sending', 'sent', 'ambiguous')
      AND NOT EXISTS (SELECT 1 FROM messages deed WHERE deed.turn_id = m.turn_id AND deed.kind = 'staff'
                      AND deed.source LIKE 'staff:group:%')
    ORDER BY m.id LIMIT :limit""")
