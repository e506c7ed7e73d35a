"""The transcripts of conversations, as they are read: for prompts, for the chat page, for staff.

Everything here reads the ledger's own tables; nothing is stored twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.facts import photo_in
from context.rows import entities_from, photos_of, rejection_in, turns_in
from context.statement import Statement
from context.turns import Ask, Chat, Entity, Photo, Rejection, Turn


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a conversation."""

    id: int
    """Increases with time over both sides of the chat."""
    who: Literal["customer", "bot", "staff"]
    text: str
    entities: tuple[Entity, ...]
    photos: tuple[Photo, ...]
    rejections: tuple[Rejection, ...]
    at: float
    """Unix seconds: when it was received or sent."""
    origin: str
    """For a reply: the engine, `notice:<name>` or `staff:<name>`; empty for a customer's words."""
    source: str
    """For a customer's words: the channel's id of the delivery; empty for a reply."""
    ask: Ask | None = None
    """What the customer may press below it."""
    vote: str = ""
    """What they pressed: `up` or `down`, with the reason behind a space; empty before that."""


HEARD_TURNS, HEARD_CHARS = 20, 4000
"""How much of what a customer said is remembered with a person's answer."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a customer said and nobody has really answered."""

    text: str
    turn_id: int
    """The newest of its turns with photos, otherwise the newest; 0 if there is none."""
    photos: tuple[Photo, ...]


class Transcripts:
    """Reads conversations."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def turns(self, chat: Chat, limit: int) -> tuple[Turn, ...]:
        """The last `limit` remembered turns since the chat was last reset, oldest first."""

        def work(connection: Connection) -> tuple[Turn, ...]:
            rows = connection.execute(_TURNS, {"chat": chat.key, "limit": limit}).all()
            return turns_in(connection, rows[::-1])

        return await self._db.read(work)

    async def entries(self, chat: Chat, after: int = 0, limit: int = 100) -> list[Entry]:
        """The newest `limit` lines with an id above `after`, oldest first; unsent parts are not shown."""

        def work(connection: Connection) -> list[Entry]:
            values = {"chat": chat.key, "after": after, "limit": limit}
            return [_entry(row) for row in reversed(connection.execute(_ENTRIES, values).all())]

        return await self._db.read(work)

    async def heard(self, chat: Chat) -> Heard:
        """What the customer said since their last answer: a person's words are an answer to it."""

        def work(connection: Connection) -> Heard:
            rows = connection.execute(_HEARD, {"chat": chat.key, "limit": HEARD_TURNS}).all()[::-1]
            photos = photos_of(connection, [row.id for row in rows])
            text = "\n".join(row.text for row in rows if row.text)[-HEARD_CHARS:]
            turn_id = max(photos, default=rows[-1].id if rows else 0)
            return Heard(text, turn_id, photos.get(turn_id, ()))

        return await self._db.read(work)

    async def photos_of_turn(self, turn_id: int) -> tuple[Photo, ...]:
        """The photos that came with a turn's question."""
        return await self._db.read(lambda connection: photos_of(connection, [turn_id]).get(turn_id, ()))

    async def has_photo(self, chat: Chat, sha256: str) -> bool:
        """Whether this photo was sent in this chat."""
        values = {"chat": chat.key, "photo": sha256}
        return await self._db.read(
            lambda connection: connection.execute(_HAS_PHOTO, values).first() is not None
        )

    async def reset(self, chat: Chat) -> None:
        """Start a new case: earlier turns stay recorded but no longer appear in prompts."""
        await self._db.write(lambda connection: connection.execute(_RESET, {"chat": chat.key}))

    async def choose_language(self, chat: Chat, language: str) -> None:
        """Answer this chat in this language from now on, whatever language it is written in."""
        values = {"chat": chat.key, "language": language}
        await self._db.write(lambda connection: connection.execute(_CHOOSE_LANGUAGE, values))


def _entry(row: Row[Any]) -> Entry:
    is_reply = row.direction == "out"
    photo = (photo_in(row),) if row.photo else ()
    rejection = rejection_in(row)
    text = f"/{row.command} {row.text}".strip() if row.command else row.text
    return Entry(
        id=row.id,
        who=("staff" if row.origin.startswith("staff:") else "bot") if is_reply else "customer",
        text=text,
        entities=entities_from(row.entities),
        photos=photo,
        rejections=(rejection,) if rejection else (),
        at=row.at,
        origin=row.origin if is_reply else "",
        source=row.source or "",
        ask=_ask(row),
        vote=row.vote or "",
    )


def _ask(row: Row[Any]) -> Ask | None:
    """As `bot.sender` asks below the last part of an answer."""
    if row.direction != "out" or row.number != row.parts or row.photo:
        return None
    if row.origin == "notice:follow_up":
        return Ask("fixed", row.answers or 0, row.language)
    if not row.remembered or row.origin.startswith(("notice:", "staff:")):
        return None
    return Ask("helpful", row.turn_id, row.language)


_TURNS = Statement("""
    SELECT id, text, reply, language, opened_at, answers FROM turns
    WHERE chat = :chat AND state = 'closed' AND remembered = 1
      AND id > (SELECT window_after FROM chats WHERE chat = :chat)
    ORDER BY id DESC LIMIT :limit""")
_HEARD = Statement("""
    SELECT id, text FROM turns
    WHERE chat = :chat AND state = 'closed'
      AND (origin IN ('relayed', 'notice:held', 'notice:blocked', 'notice:engine_down', 'notice:turn_failed')
           OR origin LIKE 'notice:limit%')
      AND id > (SELECT window_after FROM chats WHERE chat = :chat)
      AND id > COALESCE((SELECT MAX(id) FROM turns WHERE chat = :chat AND remembered = 1
                         AND state = 'closed'), 0)
    ORDER BY id DESC LIMIT :limit""")
_ENTRIES = Statement("""
    SELECT m.id, m.kind, m.direction, m.text, m.command, m.entities, m.at, m.source, m.photo, m.photo_width,
           m.photo_height, m.photo_number, m.photo_facts, m.rejection, m.rejection_detail,
           COALESCE(t.origin, '') AS origin, m.number, m.turn_id, t.remembered, t.language, t.answers,
           CASE WHEN m.direction = 'out' THEN (
               SELECT MAX(number) FROM messages p WHERE p.turn_id = m.turn_id AND p.direction = 'out'
           ) END AS parts,
           f.vote || CASE WHEN f.reason = '' THEN '' ELSE ' ' || f.reason END AS vote
    FROM messages m LEFT JOIN turns t ON t.id = m.turn_id
    LEFT JOIN feedback f ON m.direction = 'out' AND
        (CASE WHEN t.origin = 'notice:follow_up' THEN f.turn_id = t.answers AND f.question = 'fixed'
              ELSE f.turn_id = t.id AND f.question = 'helpful' END)
    WHERE m.chat = :chat AND m.id > :after AND m.kind <> 'staff'
      AND m.state IN ('waiting', 'taken', 'sending', 'sent', 'ambiguous')
    ORDER BY m.id DESC LIMIT :limit""")
_HAS_PHOTO = Statement("SELECT 1 FROM messages WHERE photo = :photo AND chat = :chat LIMIT 1")
_RESET = Statement("""
    UPDATE chats SET photos = 0, last_turn = 0,
                     window_after = COALESCE((SELECT MAX(id) FROM turns WHERE chat = :chat), 0)
    WHERE chat = :chat""")
_CHOOSE_LANGUAGE = Statement("UPDATE chats SET language = :language, language_chosen = 1 WHERE chat = :chat")
