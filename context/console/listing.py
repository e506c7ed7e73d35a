"""The list of conversations, as staff filter it: one line for each chat.

`context.console.keeper` keeps the lines up to date.  Every line has a revision that only grows, so that a
page can ask for what has changed since.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.statement import Statement
from context.turns import Chat

Chip = Literal["all", "waiting", "held", "flagged", "fallback", "photo", "down", "failed", "mine"]
CHIPS: tuple[Chip, ...] = get_args(Chip)
"""Filters of the list.  Each is a column of `listing`, except `all` and `mine`."""

MOST_COUNTED = 100
"""Highest number that a filter shows, since counting a million takes longer than anybody would wait."""


@dataclass(frozen=True, slots=True)
class Line:
    """The line of one conversation."""

    chat: Chat
    revision: int
    at: float
    """When the last thing was said, Unix seconds."""
    name: str
    """What the channel calls the customer; may be empty."""
    who: Literal["customer", "bot", "staff"]
    """Who said the last thing."""
    preview: str
    """The beginning of the last message."""
    language: str
    turns: int
    origin: str
    """Of the newest turn: engine, `notice:<name>`, `staff:<name>`, `relayed`; empty before the first."""
    reason: str
    """Why a person is wanted; empty if none is."""
    holder: str | None
    """Who holds the chat."""
    waiting_since: float | None
    held: bool
    flagged: bool
    fallback: bool
    photo: bool
    down: bool
    failed: bool

    @property
    def waiting(self) -> bool:
        """Whether the customer waits for a person."""
        return self.waiting_since is not None and self.holder is None


class Listing:
    """Reads the list, and keeps what staff mark in it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def lines(
        self, chip: Chip = "all", *, name: str = "", before: tuple[float, str] | None = None, limit: int = 30
    ) -> list[Line]:
        """The newest conversations that a chip lets through, older ones `before` (at, chat's key).

        Who waits for a person comes the other way round, so that nobody is forgotten: the longest wait first,
        shorter ones `before` (waiting_since, chat's key).  `name` is the account that asks, for `mine`.
        """
        condition, values = _condition(chip, name)
        by, is_before, way = ("waiting_since", ">", "") if chip == "waiting" else ("at", "<", " DESC")
        if before is not None:
            condition += f" AND ({by} {is_before} :at OR ({by} = :at AND chat {is_before} :chat))"
            values |= {"at": before[0], "chat": before[1]}
        statement = sa.text(
            f"SELECT * FROM listing WHERE {condition} ORDER BY {by}{way}, chat{way} LIMIT :limit"  # noqa: S608  (ours)
        )
        return await self._db.read(
            lambda connection: [
                _line(row) for row in connection.execute(statement, values | {"limit": limit})
            ]
        )

    async def named(self, words: str, limit: int) -> list[Line]:
        """Conversations of customers whose name holds these words, the newest first."""
        like = _LIKE.sub(r"\\\g<0>", words.lower())
        values = {"like": f"%{like}%", "limit": limit}
        return await self._db.read(
            lambda connection: [_line(row) for row in connection.execute(_NAMED, values)]
        )

    async def line(self, chat: Chat) -> Line | None:
        """One conversation; None if there is none, or the list does not have it yet."""

        def work(connection: Connection) -> Line | None:
            row = connection.execute(_ONE, {"chat": chat.key}).first()
            return _line(row) if row is not None else None

        return await self._db.read(work)

    async def counts(self, name: str, chips: Iterable[Chip]) -> dict[Chip, int]:
        """How many conversations each chip lets through, up to `MOST_COUNTED`."""

        def work(connection: Connection) -> dict[Chip, int]:
            counts: dict[Chip, int] = {}
            for chip in chips:
                condition, values = _condition(chip, name)
                statement = sa.text(
                    f"SELECT COUNT(*) FROM (SELECT 1 FROM listing WHERE {condition} LIMIT :most) AS counted"  # noqa: S608  (ours)
                )
                counts[chip] = int(
                    connection.execute(statement, values | {"most": MOST_COUNTED}).scalar_one()
                )
            return counts

        return await self._db.read(work)

    async def holders(self) -> dict[str, int]:
        """How many conversations each person holds; nobody else is listed."""
        return await self._db.read(
            lambda connection: {row.holder: row.chats for row in connection.execute(_HOLDERS)}
        )

    async def since(self, revision: int, limit: int) -> list[Line]:
        """Lines changed after a revision, oldest change first."""
        values = {"revision": revision, "limit": limit}
        return await self._db.read(
            lambda connection: [_line(row) for row in connection.execute(_SINCE, values)]
        )

    async def revision(self) -> int:
        """The newest revision; 0 for an empty list."""
        return await self._db.read(lambda connection: int(connection.execute(REVISION).scalar_one()))

    async def erasures(self) -> int:
        """A number that grows when conversations were erased by staff or for their age.

        They leave no line, not even one that says so.  A customer's own wish does: it is answered.
        """
        return await self._db.read(lambda connection: int(connection.execute(_ERASURES).scalar_one()))

    async def flagged_by(self, chat: Chat) -> str | None:
        """Who flagged a conversation by hand; None when nobody did."""
        return await self._db.read(
            lambda connection: connection.execute(_FLAGGED_BY, {"chat": chat.key}).scalar_one_or_none()
        )

    async def flag(self, chat: Chat, name: str, *, flagged: bool) -> None:
        """Flag a conversation by hand, or take the flag off."""

        def work(connection: Connection) -> None:
            values = {"chat": chat.key, "name": name if flagged else None, "now": self._db.now(connection)}
            connection.execute(_FLAG, values)

        await self._db.write(work)

    async def done(self, chat: Chat, name: str) -> None:
        """Nothing in this conversation wants attention any more, until something new happens in it."""

        def work(connection: Connection) -> None:
            values = {"chat": chat.key, "name": name, "now": self._db.now(connection)}
            connection.execute(_DONE, values)

        await self._db.write(work)


def _condition(chip: Chip, name: str) -> tuple[str, dict[str, Any]]:
    match chip:
        case "all":
            return "1 = 1", {}
        case "mine":
            return "holder = :name", {"name": name}
        case _:
            assert chip in CHIPS
            return f"{chip} = 1", {}


def _line(row: Row[Any]) -> Line:
    return Line(
        chat=Chat.parse(row.chat),
        revision=row.revision,
        at=row.at,
        name=row.name,
        who=row.who,
        preview=row.preview,
        language=row.language,
        turns=row.turns,
        origin=row.origin,
        reason=row.reason,
        holder=row.holder,
        waiting_since=row.waiting_since,
        held=bool(row.held),
        flagged=bool(row.flagged),
        fallback=bool(row.fallback),
        photo=bool(row.photo),
        down=bool(row.down),
        failed=bool(row.failed),
    )


_ONE = Statement("SELECT * FROM listing WHERE chat = :chat")
_LIKE = re.compile(r"[%_\\]")
_NAMED = Statement(r"""
    SELECT * FROM listing WHERE lower(name) LIKE :like ESCAPE '\' ORDER BY at DESC, chat DESC LIMIT :limit""")
_HOLDERS = Statement("""
    SELECT holder, COUNT(*) AS chats FROM listing WHERE holder IS NOT NULL GROUP BY holder""")
_SINCE = Statement("SELECT * FROM listing WHERE revision > :revision ORDER BY revision LIMIT :limit")
REVISION = Statement("SELECT COALESCE(MAX(revision), 0) FROM listing")
_ERASURES = Statement("SELECT COALESCE(MAX(id), 0) FROM erasures WHERE wish <> 'customer'")
_FLAGGED_BY = Statement("SELECT flagged_by FROM marks WHERE chat = :chat")
_FLAG = Statement("""
    INSERT INTO marks (chat, flagged_by, flagged_at) VALUES (:chat, :name, :now)
    ON CONFLICT (chat) DO UPDATE SET flagged_by = excluded.flagged_by, flagged_at = excluded.flagged_at""")
_DONE = Statement("""
    INSERT INTO marks (chat, done_by, done_at, done_turn)
    VALUES (:chat, :name, :now, (SELECT COALESCE(MAX(id), 0) FROM turns WHERE chat = :chat))
    ON CONFLICT (chat) DO UPDATE SET flagged_by = NULL, flagged_at = NULL, done_by = excluded.done_by,
                                     done_at = excluded.done_at, done_turn = excluded.done_turn""")
