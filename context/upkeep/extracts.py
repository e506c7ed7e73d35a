"""Extracts: conversations as rows, page by page, for exports of any size.

Each page is read in a transaction of its own, so that exporting years takes no more memory than exporting a
day, and blocks nobody.  Messages that arrive during the export are left out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.turns import Chat

PAGE = 500
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects conversations; empty fields select everything."""

    chat: Chat | None = None
    channel: str = ""
    since: float | None = None
    until: float | None = None
    """Unix seconds; `since` is included, `until` is not."""


@dataclass(frozen=True, slots=True)
class Line:
    """A message, in or out."""

    id: int
    chat: str
    at: float
    who: str
    """`customer`, `bot` or `staff`."""
    kind: str
    text: str
    photo: str
    """sha256, or empty."""
    photo_number: int | None
    photo_text: str
    """What text recognition read on it, line by line; empty if nothing was read."""
    rejection: str
    """Code of the reason why a picture could not be used."""
    turn: int | None
    state: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn, with how its answer was made."""

    id: int
    chat: str
    at: float
    question: str
    reply: str
    origin: str
    language: str
    state: str
    template: str
    model: str
    action: str
    """The guard's action; empty if nothing was checked."""
    draft: str
    """The draft that the guard stopped."""
    handoff: str
    seconds: float | None
    """From opening the turn to its end."""


class Extracts:
    """Reads the selected data, oldest first."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def lines(self, selection: Selection) -> AsyncIterator[list[Line]]:
        """Messages, a page at a time."""
        where, values = _where(selection, "m.at", "m.chat")
        statement = sa.text(_LINES.format(where=where))
        end = await self._number("SELECT COALESCE(MAX(id), 0) FROM messages")
        async for page in self._pages(statement, values | {"end": end}, _line, lambda line: line.id):
            yield page

    async def answers(self, selection: Selection) -> AsyncIterator[list[Answer]]:
        """Turns, a page at a time."""
        where, values = _where(selection, "opened_at", "chat")
        statement = sa.text(_ANSWERS.format(where=where))
        end = await self._number("SELECT COALESCE(MAX(id), 0) FROM turns")
        async for page in self._pages(statement, values | {"end": end}, _answer, lambda answer: answer.id):
            yield page

    async def photos(self, selection: Selection) -> AsyncIterator[list[str]]:
        """Names (sha256) of the selected photos, each once, a page at a time."""
        where, values = _where(selection, "m.at", "m.chat")
        statement = sa.text(_PHOTOS.format(where=where))
        after = ""
        while page := await self._db.read(
            lambda connection, after=after: [  # type: ignore[misc]  # mypy knows no lambda with a default
                row.photo for row in connection.execute(statement, values | {"after": after, "limit": PAGE})
            ]
        ):
            yield page
            after = page[-1]

    async def _number(self, statement: str) -> int:
        return await self._db.read(
            lambda connection: int(connection.execute(sa.text(statement)).scalar_one())
        )

    async def _pages(
        self,
        statement: sa.TextClause,
        values: dict[str, Any],
        made: Callable[[Row[Any]], T],
        id_of: Callable[[T], int],
    ) -> AsyncIterator[list[T]]:
        after = 0

        def work(connection: Connection) -> list[T]:
            rows = connection.execute(statement, values | {"after": after, "limit": PAGE})
            return [made(row) for row in rows]

        while page := await self._db.read(work):
            yield page
            after = id_of(page[-1])


def _where(selection: Selection, at: str, chat: str) -> tuple[str, dict[str, Any]]:
    conditions: list[str] = []
    values: dict[str, Any] = {}
    if selection.chat is not None:
        conditions.append(f"{chat} = :chat")
        values["chat"] = selection.chat.key
    if selection.channel:
        conditions.append(f"substr({chat}, 1, :length) = :channel")
        values |= {"channel": f"{selection.channel}:", "length": len(selection.channel) + 1}
    if selection.since is not None:
        conditions.append(f"{at} >= :since")
        values["since"] = selection.since
    if selection.until is not None:
        conditions.append(f"{at} < :until")
        values["until"] = selection.until
    return "".join(f" AND {condition}" for condition in conditions), values


def _line(row: Row[Any]) -> Line:
    is_staffs = (row.origin or "").startswith("staff:")
    return Line(
        id=row.id,
        chat=row.chat,
        at=row.at,
        who="customer" if row.direction == "in" else "staff" if is_staffs else "bot",
        kind=row.kind,
        text=f"/{row.command} {row.text}".strip() if row.command else row.text,
        photo=row.photo or "",
        photo_number=row.photo_number,
        photo_text="\n".join(line["text"] for line in json.loads(row.lines or "[]")),
        rejection=row.rejection or "",
        turn=row.turn_id,
        state=row.state,
    )


def _answer(row: Row[Any]) -> Answer:
    record = json.loads(row.record)
    verdict = record.get("verdict")
    return Answer(
        id=row.id,
        chat=row.chat,
        at=row.opened_at,
        question=row.text,
        reply=row.reply,
        origin=row.origin,
        language=row.language,
        state=row.state,
        template=str(record.get("prompt") or ""),
        model=str(record.get("model") or ""),
        action=str(verdict.get("action", "")) if isinstance(verdict, dict) else "",
        draft=str(record.get("draft") or ""),
        handoff=row.handoff,
        seconds=round(row.closed_at - row.opened_at, 3) if row.closed_at is not None else None,
    )


_LINES = """
    SELECT m.id, m.chat, m.at, m.direction, m.kind, m.command, m.text, m.photo, m.photo_number, m.rejection,
           m.turn_id, m.state, t.origin, r.lines
    FROM messages m LEFT JOIN turns t ON t.id = m.turn_id AND m.direction = 'out'
         LEFT JOIN readings r ON r.photo = m.photo
    WHERE m.id > :after AND m.id <= :end AND m.kind <> 'staff'{where} ORDER BY m.id LIMIT :limit"""
_ANSWERS = """
    SELECT id, chat, opened_at, closed_at, text, reply, origin, language, state, handoff, record
    FROM turns WHERE id > :after AND id <= :end{where} ORDER BY id LIMIT :limit"""
_PHOTOS = """
    SELECT DISTINCT m.photo FROM messages m WHERE m.photo > :after{where} ORDER BY m.photo LIMIT :limit"""
