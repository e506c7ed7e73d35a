"""Readings: the text on each photo and its fingerprint, found in the background after the photo's turn.

A photo gets its row, still unread, in the transaction that stores its message; `claim` hands out a photo,
`keep` stores what was found.  A reading is named by the photo's content hash, and erased with the photo.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.fingerprints import Fingerprint
from context.statement import Statement
from context.turns import Chat, Fact, Line

TRIES = 3
"""A photo that has failed this often, because the process died or the disk failed, is not tried again."""
COMPARED = 50_000
"""Similar photos are looked for among so many of the newest: this takes a tenth of a second."""
MOST_SIMILAR = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found on a photo."""

    lines: tuple[Line, ...] | None = None
    """None if it could not be read."""
    facts: tuple[Fact, ...] = ()
    """In the order in which they appear on it; those of another source come last."""
    look: Fingerprint | None = None


@dataclass(frozen=True, slots=True)
class SimilarCase:
    """An earlier question whose photo looks much like another one: only a hint for staff.

    A lamp that is on and one that is off also look alike.
    """

    chat: Chat
    name: str
    """The customer's name in the channel; may be empty."""
    turn_id: int
    at: float
    photo: str
    number: int
    """The photo's number within its case."""
    text: str
    reply: str


class Readings:
    """The store of readings.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def is_due(self) -> bool:
        """Whether there are unread photos."""
        values = {"tries": TRIES}
        return await self._db.read(lambda connection: connection.execute(_DUE, values).first() is not None)

    async def claim(self) -> str | None:
        """The newest unread photo; None if there is none.  This counts as a try."""
        values = {"tries": TRIES}
        return await self._db.write(lambda connection: connection.execute(_CLAIM, values).scalar())

    async def keep(self, photo: str, reading: Reading) -> None:
        """Store what was found; does nothing if the photo has been erased meanwhile.

        A photo that could not be read stays unread, until it has been tried `TRIES` times.
        """

        def work(connection: Connection) -> None:
            row = connection.execute(_FACTS_OF_ONE, {"photo": photo}).first()
            others = [fact for fact in _facts(row.facts) if fact.source != "ocr"] if row else []
            values = {
                "photo": photo,
                "at": self._db.now(connection),
                "enough": 0 if reading.lines is not None else TRIES,
                "lines": _lines_written(reading.lines),
                "facts": _written([*reading.facts, *others]),
                "look": str(reading.look or ""),
            }
            connection.execute(_KEEP, values)

        await self._db.write(work)

    async def add(self, photo: str, facts: Sequence[Fact]) -> None:
        """Add facts from another source than OCR; they replace earlier ones from the same source."""

        def work(connection: Connection) -> None:
            row = connection.execute(_FACTS_OF_ONE, {"photo": photo}).first()
            if row is None:
                return
            sources = {fact.source for fact in facts}
            kept = [fact for fact in _facts(row.facts) if fact.source not in sources]
            connection.execute(_SET_FACTS, {"photo": photo, "facts": _written([*kept, *facts])})

        await self._db.write(work)

    async def of(self, photo: str) -> Reading | None:
        """What was found on a photo; None while it is unread."""

        def work(connection: Connection) -> Reading | None:
            row = connection.execute(_READING, {"photo": photo}).first()
            return None if row is None else _reading(row)

        return await self._db.read(work)

    async def facts(self, photos: Sequence[str]) -> Mapping[str, tuple[Fact, ...]]:
        """The facts on these photos, by sha256; photos without facts are left out."""
        if not photos:
            return {}
        rows = await self._db.read(
            lambda connection: connection.execute(_FACTS, {"photos": list(photos)}).all()
        )
        return {row.photo: facts for row in rows if (facts := _facts(row.facts))}

    async def similar(self, chat: Chat, photo: str, *, before: float) -> list[SimilarCase]:
        """Earlier questions in other chats whose photos look much like this one, the most similar first."""

        def work(connection: Connection) -> list[SimilarCase]:
            own = connection.execute(_READING, {"photo": photo}).first()
            if own is None or not own.look:
                return []
            look = Fingerprint.parse(own.look)
            rows = connection.execute(_LOOKS, {"limit": COMPARED})
            apart = {name: look.apart(other) for name, other in _near(look, rows)}
            nearest = sorted(apart, key=lambda name: apart[name])[: 10 * MOST_SIMILAR]
            values = {"chat": chat.key, "photos": nearest, "before": before}
            found = connection.execute(_CASES, values).all() if nearest else []
            cases: dict[str, SimilarCase] = {}
            for row in sorted(found, key=lambda row: (apart[row.photo], -row.at)):
                cases.setdefault(row.chat, _case(row))
            return list(cases.values())[:MOST_SIMILAR]

        return await self._db.read(work)


def expect(connection: Connection, photo: str) -> None:
    """Queue a photo for reading, in the transaction that records it; a second call has no effect."""
    connection.execute(_EXPECT, {"photo": photo})


def erase(connection: Connection, photos: Sequence[str]) -> None:
    """Delete the readings of photos that no message contains any more."""
    for start in range(0, len(photos), 500):
        connection.execute(_ERASE, {"photos": list(photos[start : start + 500])})


def _near(look: Fingerprint, rows: Iterable[Row[Any]]) -> list[tuple[str, Fingerprint]]:
    """Photos that may show the same thing; most are ruled out by a prefix that is cheap to compare."""
    others = [(row.photo, Fingerprint.parse(row.look)) for row in rows if look.may_be_near(row.look)]
    return [(photo, other) for photo, other in others if look.is_near(other)]


def _case(row: Row[Any]) -> SimilarCase:
    return SimilarCase(
        Chat.parse(row.chat),
        row.sender,
        row.turn_id,
        row.at,
        row.photo,
        row.photo_number,
        row.text,
        row.reply,
    )


def _reading(row: Row[Any]) -> Reading:
    lines = None
    if row.lines:
        lines = tuple(
            Line(line["text"], line["confidence"], _corners(line["box"])) for line in json.loads(row.lines)
        )
    return Reading(lines, _facts(row.facts), Fingerprint.parse(row.look) if row.look else None)


def _lines_written(lines: Sequence[Line] | None) -> str:
    return "" if lines is None else json.dumps([asdict(line) for line in lines], ensure_ascii=False)


def _written(facts: Sequence[Fact]) -> str:
    return json.dumps([asdict(fact) for fact in facts], ensure_ascii=False)


def _facts(text: str) -> tuple[Fact, ...]:
    return tuple(
        Fact(fact["kind"], fact["value"], fact["confidence"], _corners(fact["place"]), fact["source"])
        for fact in json.loads(text or "[]")
    )


def _corners(box: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((x, y) for x, y in box)


_EXPECT = Statement("INSERT INTO readings (photo) VALUES (:photo) ON CONFLICT DO NOTHING")
_DUE = Statement("SELECT 1 FROM readings WHERE read_at IS NULL AND tries < :tries LIMIT 1")
_CLAIM = Statement("""
    UPDATE readings SET tries = tries + 1
    WHERE id = (SELECT id FROM readings WHERE read_at IS NULL AND tries < :tries ORDER BY id DESC LIMIT 1)
    RETURNING photo""")
_KEEP = Statement("""
    UPDATE readings SET read_at = CASE WHEN tries >= :enough THEN :at END,
                        lines = :lines, facts = :facts, look = :look
    WHERE photo = :photo""")
_READING = Statement(
    "SELECT photo, lines, facts, look FROM readings WHERE photo = :photo AND read_at IS NOT NULL"
)
_FACTS_OF_ONE = Statement("SELECT facts FROM readings WHERE photo = :photo")
_SET_FACTS = Statement("UPDATE readings SET facts = :facts WHERE photo = :photo")
_FACTS = Statement("SELECT photo, facts FROM readings WHERE photo IN :photos AND facts NOT IN ('', '[]')")
_LOOKS = Statement("SELECT photo, look FROM readings WHERE look <> '' ORDER BY id DESC LIMIT :limit")
_CASES = Statement("""
    SELECT m.chat, c.sender, m.turn_id, m.at, m.photo, m.photo_number, t.text, t.reply
    FROM messages m JOIN turns t ON t.id = m.turn_id JOIN chats c ON c.chat = m.chat
    WHERE m.photo IN :photos AND m.chat <> :chat AND m.at < :before
      AND m.direction = 'in' AND m.kind <> 'staff' AND t.state = 'closed'
    ORDER BY m.id DESC LIMIT 200""")
_ERASE = Statement("""
    DELETE FROM readings WHERE photo IN :photos
      AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.photo = readings.photo)""")
