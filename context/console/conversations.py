"""A conversation as staff see it: everything that was said, and everything that was not.

The customer's page shows only what arrived.  This includes edits and what they replaced, drafts that newer
messages superseded, drafts that the guard stopped, and parts that could not be delivered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.facts import photo_in
from context.rows import entities_from, rejection_in, turns_in
from context.turns import Chat, Entity, Language, Photo, Rejection, Turn


@dataclass(frozen=True, slots=True)
class Said:
    """One message, in or out."""

    id: int
    who: Literal["customer", "bot", "staff"]
    state: str
    """in: waiting, taken, replaced, ignored, dead; out: pending, sending, sent, ambiguous, dead."""
    at: float
    text: str
    entities: tuple[Entity, ...]
    kind: str
    command: str
    edited: bool
    reply_to: str
    message_id: str
    photo: Photo | None
    rejection: Rejection | None
    has_picture: bool
    """Whether a picture came with it, even if it could not be used."""
    album: str
    """The same for every picture of one message; empty for a picture that came alone."""
    turn_id: int | None
    number: int
    """Number of the part within its reply, from 1."""
    unsure: int
    error: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A turn with everything that was recorded about it."""

    id: int
    chat: Chat
    state: Literal["open", "closed", "superseded", "failed"]
    at: float
    closed_at: float | None
    text: str
    reply: str
    language: Language
    origin: str
    remembered: bool
    handoff: str
    record: dict[str, Any]

    @property
    def action(self) -> str:
        """The guard's action: `allow`, `hold`, `block`; empty if nothing was checked."""
        verdict = self.record.get("verdict")
        return str(verdict.get("action", "")) if isinstance(verdict, dict) else ""

    @property
    def draft(self) -> str:
        """The draft that was stopped; empty if none was."""
        return str(self.record.get("draft") or "")


@dataclass(frozen=True, slots=True)
class Conversation:
    """A section of a chat: messages by time, and the turns among them."""

    chat: Chat
    name: str
    language: Language | None
    created_at: float
    closed_at: float | None
    """When the customer blocked the bot."""
    said: tuple[Said, ...]
    exchanges: dict[int, Exchange]
    has_earlier: bool
    has_later: bool


class Conversations:
    """Reads conversations."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def read(
        self, chat: Chat, *, before: int = 0, since: int = 0, limit: int = 80
    ) -> Conversation | None:
        """The newest `limit` messages, or those before message `before`, or the first since message `since`.

        None if there is no such chat.
        """

        def work(connection: Connection) -> Conversation | None:
            known = connection.execute(_CHAT, {"chat": chat.key}).first()
            if known is None:
                return None
            values = {"chat": chat.key, "before": before or _ENDLESS, "since": since, "limit": limit + 1}
            rows = connection.execute(_SAID_SINCE if since else _SAID, values).all()
            has_more, rows = len(rows) > limit, rows[:limit] if since else rows[:limit][::-1]
            has_earlier, has_later = has_more, bool(before)
            if since:
                values |= {"before": since, "limit": 1}
                has_earlier, has_later = connection.execute(_SAID, values).first() is not None, has_more
            first = rows[0].at if rows and has_earlier else 0.0
            last = rows[-1].at if rows and has_later else float(_ENDLESS)
            among = {"chat": chat.key, "first": first, "last": last, "limit": limit}
            exchanges = {row.id: _exchange(row) for row in connection.execute(_AMONG, among)}
            missing = {row.turn_id for row in rows if row.turn_id} - exchanges.keys()
            if missing:
                found = connection.execute(_TURNS, {"ids": sorted(missing)})
                exchanges |= {row.id: _exchange(row) for row in found}
            return Conversation(
                chat,
                known.sender,
                known.language,
                known.created_at,
                known.closed_at,
                tuple(_said(row, exchanges) for row in rows),
                exchanges,
                has_earlier,
                has_later,
            )

        return await self._db.read(work)

    async def shortly_before(self, chat: Chat, turn_id: int, messages: int) -> int:
        """The id of the message so many before a turn's first one; 0 if the turn has none in this chat."""

        def work(connection: Connection) -> int:
            values = {"chat": chat.key, "turn": turn_id, "messages": messages + 1}
            return int(connection.execute(_SHORTLY_BEFORE, values).scalar_one() or 0)

        return await self._db.read(work)

    async def exchange(self, turn_id: int) -> Exchange | None:
        """One turn."""

        def work(connection: Connection) -> Exchange | None:
            row = connection.execute(_TURNS, {"ids": [turn_id]}).first()
            return _exchange(row) if row is not None else None

        return await self._db.read(work)

    async def before(self, exchange: Exchange, limit: int) -> tuple[Turn, ...]:
        """The turns that were remembered when this one was answered, oldest first; at most `limit`."""

        def work(connection: Connection) -> tuple[Turn, ...]:
            values = {"chat": exchange.chat.key, "turn": exchange.id, "limit": limit}
            rows = connection.execute(_REMEMBERED, values).all()[::-1]
            return turns_in(connection, rows)

        return await self._db.read(work)

    async def pictures(self, turn_id: int) -> tuple[tuple[Photo, ...], tuple[Rejection, ...]]:
        """The photos of a turn, and the pictures that could not be used, numbered in one sequence."""

        def work(connection: Connection) -> tuple[tuple[Photo, ...], tuple[Rejection, ...]]:
            photos, rejections = [], []
            for number, row in enumerate(connection.execute(_PICTURES, {"turn": turn_id}), start=1):
                if row.photo:
                    photos.append(photo_in(row))
                elif rejection := rejection_in(row, number=number):
                    rejections.append(rejection)
            return tuple(photos), tuple(rejections)

        return await self._db.read(work)

    async def photos(self, chat: Chat, shas: Sequence[str]) -> dict[str, Photo]:
        """Photos of a chat, by their names (sha256)."""
        if not shas:
            return {}

        def work(connection: Connection) -> dict[str, Photo]:
            rows = connection.execute(_BY_NAME, {"chat": chat.key, "shas": list(shas)})
            return {row.photo: photo_in(row) for row in rows}

        return await self._db.read(work)


def _said(row: Row[Any], exchanges: dict[int, Exchange]) -> Said:
    exchange = exchanges.get(row.turn_id or 0)
    by_staff = exchange is not None and exchange.origin.startswith("staff:")
    writer: Literal["bot", "staff"] = "staff" if by_staff or row.kind == "staff" else "bot"
    return Said(
        id=row.id,
        who="customer" if row.direction == "in" and row.kind != "staff" else writer,
        state=row.state,
        at=row.at,
        text=row.text,
        entities=entities_from(row.entities),
        kind=row.kind,
        command=row.command,
        edited=bool(row.edited),
        reply_to=row.reply_to,
        message_id=row.message_id or "",
        photo=photo_in(row) if row.photo else None,
        rejection=rejection_in(row),
        has_picture=row.file_id is not None,
        album=row.album,
        turn_id=row.turn_id,
        number=row.number,
        unsure=row.unsure,
        error=row.error,
    )


def _exchange(row: Row[Any]) -> Exchange:
    record = json.loads(row.record)
    return Exchange(
        id=row.id,
        chat=Chat.parse(row.chat),
        state=row.state,
        at=row.opened_at,
        closed_at=row.closed_at,
        text=row.text,
        reply=row.reply,
        language=row.language,
        origin=row.origin,
        remembered=bool(row.remembered),
        handoff=row.handoff,
        record=record if isinstance(record, dict) else {},
    )


_ENDLESS = 2**62
_CHAT = sa.text("SELECT sender, language, created_at, closed_at FROM chats WHERE chat = :chat")
_SAID_COLUMNS = """
           id, direction, state, turn_id, at, text, message_id, kind, command, edited, reply_to, file_id,
           album, photo, photo_width, photo_height, photo_number, photo_facts, rejection, rejection_detail,
           number, entities, unsure, error, staff"""
_IS_SAID = "(kind <> 'staff' OR (state <> 'taken' AND command IN ('say', 'release')))"
_SAID = sa.text(f"""
    SELECT {_SAID_COLUMNS} FROM messages WHERE chat = :chat AND id < :before AND {_IS_SAID}
    ORDER BY id DESC LIMIT :limit""")  # noqa: S608  (constants)
_SAID_SINCE = sa.text(f"""
    SELECT {_SAID_COLUMNS} FROM messages WHERE chat = :chat AND id >= :since AND {_IS_SAID}
    ORDER BY id LIMIT :limit""")  # noqa: S608  (constants)
_SHORTLY_BEFORE = sa.text("""
    SELECT MIN(id) FROM (
        SELECT id FROM messages
        WHERE chat = :chat AND id <= (SELECT MIN(id) FROM messages WHERE turn_id = :turn AND chat = :chat)
        ORDER BY id DESC LIMIT :messages) AS before""")
_COLUMNS = """id, chat, state, opened_at, closed_at, text, reply, language, origin, remembered, handoff,
              record"""
_AMONG = sa.text(f"""
    SELECT {_COLUMNS} FROM turns
    WHERE chat = :chat AND opened_at >= :first AND opened_at <= :last ORDER BY id DESC LIMIT :limit""")  # noqa: S608  (a constant)
_TURNS = sa.text(f"SELECT {_COLUMNS} FROM turns WHERE id IN :ids").bindparams(  # noqa: S608  (a constant)
    sa.bindparam("ids", expanding=True)
)
_REMEMBERED = sa.text("""
    SELECT id, text, reply, language, opened_at, answers FROM turns
    WHERE chat = :chat AND id < :turn AND state = 'closed' AND remembered = 1
    ORDER BY id DESC LIMIT :limit""")
_PHOTO_COLUMNS = "photo, photo_width, photo_height, photo_number, photo_facts"
_PICTURES = sa.text(f"""
    SELECT kind, {_PHOTO_COLUMNS}, rejection, rejection_detail FROM messages
    WHERE turn_id = :turn AND direction = 'in' AND file_id IS NOT NULL
    ORDER BY COALESCE(position, id), id""")  # noqa: S608  (a constant)
_BY_NAME = sa.text(f"""
    SELECT {_PHOTO_COLUMNS} FROM messages WHERE chat = :chat AND photo IN :shas
    """).bindparams(sa.bindparam("shas", expanding=True))  # noqa: S608  (a constant)
