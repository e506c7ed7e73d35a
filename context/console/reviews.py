"""Reviews: how staff rate answers, and what should have been said.

Several people may review the same answer; each review is kept.  Reviews are never sent to a customer.  The
queue has no state of its own: a reviewer continues at the first answer that they have not reviewed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.turns import Chat

Thumb = Literal["up", "down", ""]
Reason = Literal["wrong_code", "wrong", "unsafe", "missed_photo", "tone", "off_topic", "language", "too_long"]
REASONS: tuple[Reason, ...] = (
    "wrong_code",
    "wrong",
    "unsafe",
    "missed_photo",
    "tone",
    "off_topic",
    "language",
    "too_long",
)
MOST_CHARS = 8000
"""Longest correction or note."""

_NUMBERS: dict[Thumb, int] = {"up": 1, "down": -1, "": 0}
_THUMBS: dict[int, Thumb] = {number: thumb for thumb, number in _NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Review:
    """One person's review of one answer."""

    turn_id: int
    reviewer: str
    thumb: Thumb = ""
    """Empty: reviewed without a rating."""
    reasons: tuple[Reason, ...] = ()
    correction: str = ""
    """What should have been said."""
    note: str = ""
    """For colleagues."""
    at: float = 0.0
    """Unix seconds; set when it is stored."""


@dataclass(frozen=True, slots=True)
class Place:
    """A reviewer's position in the queue."""

    turn_id: int | None
    """The oldest answer that they have not reviewed; None when there is none left."""
    chat: Chat | None
    done: int
    total: int
    """Number of answers to review, including those already reviewed by them."""


@dataclass(frozen=True, slots=True)
class Correction:
    """An answer with its correction, for evaluation or fine-tuning."""

    turn_id: int
    chat: Chat
    at: float
    """When the question was answered, Unix seconds."""
    question: str
    photos: tuple[str, ...]
    """sha256, in the order in which they were sent."""
    answer: str
    """The draft, also if the guard held it back."""
    correction: str
    reasons: tuple[str, ...]
    language: str
    template: str
    model: str


class NoSuchTurn(Exception):
    """There is no such answer, or not any more."""


class Reviews:
    """Stores reviews.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, review: Review) -> Review:
        """Store a review, replacing an earlier one by the same reviewer; returns it as stored.

        Raises `NoSuchTurn`; ValueError for an unknown thumb or reason, or for a text that is too long.
        """
        unknown = set(review.reasons) - set(REASONS)
        if unknown or review.thumb not in _NUMBERS:
            raise ValueError(f"not a thumb or a reason: {sorted(unknown) or review.thumb!r}")
        if max(len(review.correction), len(review.note)) > MOST_CHARS:
            raise ValueError(f"a correction or a note has at most {MOST_CHARS} characters")

        def work(connection: Connection) -> Review:
            chat = connection.execute(_CHAT, {"turn": review.turn_id}).scalar()
            if chat is None:
                raise NoSuchTurn(f"turn {review.turn_id}")
            values = {
                "turn": review.turn_id,
                "reviewer": review.reviewer,
                "chat": chat,
                "thumb": _NUMBERS[review.thumb],
                "reasons": " ".join(dict.fromkeys(review.reasons)),
                "correction": review.correction.strip(),
                "note": review.note.strip(),
                "at": self._db.now(connection),
            }
            row = connection.execute(_PUT, values).one()
            connection.execute(_CHANGED, {"chat": chat})  # the list shows thumbs
            return _review(row)

        return await self._db.write(work)

    async def drop(self, turn_id: int, reviewer: str) -> bool:
        """Delete a review.  False if there was none."""
        values = {"turn": turn_id, "reviewer": reviewer}

        def work(connection: Connection) -> bool:
            chat = connection.execute(_DROP, values).scalar()
            if chat is not None:
                connection.execute(_CHANGED, {"chat": chat})
            return chat is not None

        return await self._db.write(work)

    async def of(self, turn_ids: Sequence[int]) -> dict[int, tuple[Review, ...]]:
        """The reviews of these turns, oldest first."""
        if not turn_ids:
            return {}

        def work(connection: Connection) -> dict[int, tuple[Review, ...]]:
            found: dict[int, tuple[Review, ...]] = {}
            for row in connection.execute(_OF, {"turns": list(turn_ids)}):
                found[row.turn_id] = (*found.get(row.turn_id, ()), _review(row))
            return found

        return await self._db.read(work)

    async def next(self, reviewer: str, *, since: float, until: float, after: int = 0) -> Place:
        """Where this reviewer continues among the answers of a period (Unix seconds).

        `after` skips answers up to this turn without marking them as reviewed.  Answers are what a model, or
        the rules in its place, wrote, including what the guard held back.
        """
        values = {"reviewer": reviewer, "since": since, "until": until, "after": after}

        def work(connection: Connection) -> Place:
            first = connection.execute(_NEXT, values).first()
            counted = connection.execute(_PROGRESS, values).one()
            return Place(
                turn_id=first.id if first else None,
                chat=Chat.parse(first.chat) if first else None,
                done=int(counted.done or 0),
                total=int(counted.total),
            )

        return await self._db.read(work)

    async def corrections(self, *, after: int = 0, limit: int = 500) -> list[Correction]:
        """Corrected answers with a turn id above `after`, oldest first; of several corrections the newest."""

        def work(connection: Connection) -> list[Correction]:
            rows = connection.execute(_CORRECTED, {"after": after, "limit": limit}).all()
            return list(_corrections(connection, rows))

        return await self._db.read(work)


def _corrections(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[Correction]:
    photos: dict[int, list[str]] = {}
    if rows:
        for row in connection.execute(_PHOTOS, {"turns": [row.turn_id for row in rows]}):
            photos.setdefault(row.turn_id, []).append(row.photo)
    for row in rows:
        record = json.loads(row.record)
        yield Correction(
            turn_id=row.turn_id,
            chat=Chat.parse(row.chat),
            at=row.opened_at,
            question=row.text,
            photos=tuple(photos.get(row.turn_id, ())),
            answer=str(record.get("draft") or row.reply),
            correction=row.correction,
            reasons=tuple(row.reasons.split()),
            language=row.language,
            template=str(record.get("prompt", "")),
            model=str(record.get("model", "")),
        )


def _review(row: Row[Any]) -> Review:
    return Review(
        turn_id=row.turn_id,
        reviewer=row.reviewer,
        thumb=_THUMBS[row.thumb],
        reasons=tuple(row.reasons.split()),
        correction=row.correction,
        note=row.note,
        at=row.at,
    )


_COLUMNS = "turn_id, reviewer, thumb, reasons, correction, note, at"
_CHAT = sa.text("SELECT chat FROM turns WHERE id = :turn")
_PUT = sa.text(f"""
    INSERT INTO reviews (turn_id, reviewer, chat, thumb, reasons, correction, note, at)
    VALUES (:turn, :reviewer, :chat, :thumb, :reasons, :correction, :note, :at)
    ON CONFLICT (turn_id, reviewer) DO UPDATE SET
        thumb = excluded.thumb, reasons = excluded.reasons, correction = excluded.correction,
        note = excluded.note, at = excluded.at
    RETURNING {_COLUMNS}""")  # noqa: S608  (a constant)
_DROP = sa.text("DELETE FROM reviews WHERE turn_id = :turn AND reviewer = :reviewer RETURNING chat")
_CHANGED = sa.text("INSERT INTO changes (chat) VALUES (:chat)")
_OF = sa.text(f"""
    SELECT {_COLUMNS} FROM reviews WHERE turn_id IN :turns ORDER BY turn_id, at
    """).bindparams(sa.bindparam("turns", expanding=True))  # noqa: S608  (a constant)
# Held and blocked drafts are a model's words too; open turns and those of people and fixed notices are not.
_ANSWERS = """
    FROM turns t LEFT JOIN reviews r ON r.turn_id = t.id AND r.reviewer = :reviewer
    WHERE t.opened_at >= :since AND t.opened_at < :until AND t.state = 'closed'
      AND (t.remembered = 1 OR t.origin IN ('notice:held', 'notice:blocked'))
      AND t.origin NOT LIKE 'staff:%'"""
_NEXT = sa.text(f"""
    SELECT t.id, t.chat {_ANSWERS} AND t.id > :after AND r.turn_id IS NULL
    ORDER BY t.opened_at, t.id LIMIT 1""")
_PROGRESS = sa.text(f"SELECT COUNT(*) AS total, COUNT(r.turn_id) AS done {_ANSWERS}")
_CORRECTED = sa.text("""
    SELECT r.turn_id, r.chat, t.opened_at, r.correction, r.reasons, t.text, t.reply, t.record, t.language
    FROM reviews r JOIN turns t ON t.id = r.turn_id
    WHERE r.turn_id > :after AND r.correction <> ''
      AND NOT EXISTS (SELECT 1 FROM reviews later WHERE later.turn_id = r.turn_id AND later.correction <> ''
                      AND (later.at > r.at OR (later.at = r.at AND later.reviewer > r.reviewer)))
    ORDER BY r.turn_id LIMIT :limit""")
_PHOTOS = sa.text("""
    SELECT turn_id, photo FROM messages WHERE turn_id IN :turns AND direction = 'in' AND photo IS NOT NULL
    ORDER BY COALESCE(position, id), id""").bindparams(sa.bindparam("turns", expanding=True))
