"""Erasure: removes a customer's words, photos and traces everywhere, leaving only a note that it was done.

Every table with a column `chat` is cleared, so that a new table cannot be forgotten here.  Workers on the
chat are locked out by its lane; what they still hold in memory is refused by the ledger's fencing number, by
a mark in Redis, and because no row names their photos any more.  The chain of verdicts keeps its links but
loses their payloads (context/audit.py).

`forget` makes the data unreachable at once.  `scrub` also removes it from the files, where deleted data
remains until a database or Redis overwrites it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from context import readings, verdicts
from context.console import search
from context.db import Database, StoreDown
from context.turns import Chat

log = logging.getLogger(__name__)

Wish = Literal["customer", "operator", "retention"]
ASKED_WITHIN_S = 900.0
"""How long the question for confirmation stays valid."""
SCRUB_TIMEOUT_S = 600.0
SCRUB_EVERY_S = 300.0
"""Delay after an erasure, so that several are scrubbed together."""


class Copies(Protocol):
    """A store outside the database with copies of a chat's data."""

    async def forget(self, chat: Chat, last_turn: int) -> bool:
        """Drop the copies, and accept no late ones of turns up to this; False if it could not be reached."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased."""

    at: float
    counts: Mapping[str, int]
    """Rows by table, and `photos`: files that no other chat contains."""
    left: tuple[str, ...] = ()
    """Stores that could not be reached: erase again when they are back."""

    @property
    def messages(self) -> int:
        """Messages, either way."""
        return self.counts.get("messages", 0)

    @property
    def photos(self) -> int:
        """Photo files."""
        return self.counts.get("photos", 0)


@dataclass(frozen=True, slots=True)
class Gone:
    """What was deleted from the database, for erasing the copies."""

    counts: dict[str, int]
    photos: list[str]
    """Of these messages, each once."""
    uploads: list[str]
    last_turn: int
    at: float


class Erasure:
    """Erases chats.

    `forget_photo` deletes a photo from its store, `forget_uploads` waiting uploads of the chat page.
    `copies` are the other stores with copies, by the names that operators know; `scrub_copies` removes
    deleted values from their files.
    """

    def __init__(
        self,
        db: Database,
        *,
        forget_photo: Callable[[str], Awaitable[None]],
        forget_uploads: Callable[[Sequence[str]], Awaitable[None]],
        copies: Mapping[str, Copies],
        scrub_copies: Callable[[], Awaitable[bool]],
    ) -> None:
        self.db = db
        self._forget_photo = forget_photo
        self._forget_uploads = forget_uploads
        self._copies = dict(copies)
        self._scrub_copies = scrub_copies
        self._is_unscrubbed = asyncio.Event()

    async def forget(self, chat: Chat, *, wish: Wish) -> Receipt:
        """Erase everything that was said in this chat.  Repeating it is harmless.

        If the customer asked for it, their request and what they sent after it stay, so that they can be
        answered; an erasure by the operator leaves nothing.  Raises StoreDown, and then nothing is erased.
        """
        receipt = await self.carry_out(chat, lambda connection: self.forget_in(connection, chat, wish))
        log.info("a chat was erased", extra={"reason": wish, "messages": receipt.messages})
        return receipt

    async def carry_out(self, chat: Chat, work: Callable[[Connection], Gone | None]) -> Receipt:
        """Run `work`, which deletes from the database, then erase the copies.

        None means nothing.  Raises StoreDown.
        """

        def erase(connection: Connection) -> Gone | None:
            gone = work(connection)
            if gone is not None:
                readings.erase(connection, gone.photos)
            return gone

        gone = await self.db.write(erase)
        if gone is None:
            return Receipt(0.0, {})
        left = [name for name, copy in self._copies.items() if not await copy.forget(chat, gone.last_turn)]
        erased, is_clean = await self._drop_photos(gone.photos)
        if not is_clean:
            left.append("photos")
        try:
            await self._forget_uploads(gone.uploads)
        except OSError:
            left.append("uploads")
        self._is_unscrubbed.set()
        counts = gone.counts | {"photos": erased}
        return Receipt(gone.at, {name: count for name, count in counts.items() if count}, tuple(left))

    async def look(self, chat: Chat) -> dict[str, int]:
        """What an operator's `forget` would erase now, counted as on its receipt; empty for nothing."""

        def work(connection: Connection) -> dict[str, int]:
            values = {"chat": chat.key}
            counts = {"photos": int(connection.execute(_THEIRS_ALONE, values).scalar_one())}
            for table in _tables_with_chat(connection):
                if table not in ("lanes", "changes"):
                    statement = sa.text(f"SELECT COUNT(*) FROM {table} WHERE chat = :chat")  # noqa: S608  (a table of ours)
                    counts[table] = int(connection.execute(statement, values).scalar_one())
            counts["verdicts"] += counts.pop("unsealed")
            return {name: count for name, count in counts.items() if count}

        return await self.db.read(work)

    async def is_confirmed(self, chat: Chat) -> bool:
        """Whether this chat was recently asked for confirmation, or has just been erased."""

        def work(connection: Connection) -> bool:
            values = {"chat": chat.key, "since": self.db.now(connection) - ASKED_WITHIN_S}
            return connection.execute(_ASKED, values).first() is not None

        return await self.db.read(work)

    async def scrub(self) -> bool:
        """Remove erased data from the files.  False if somebody was using them; the next scrub will do it.

        It may read and rewrite all of them, so do not call it for each chat.
        """
        if self.db.is_sqlite:
            await self._merge_search()
        in_files = await self.db.scrub()
        return await self._scrub_copies() and in_files

    async def keep_scrubbing(self, *, every_s: float = SCRUB_EVERY_S) -> None:
        """Scrub after each erasure by this process, until cancelled."""
        while True:
            await self._is_unscrubbed.wait()
            await asyncio.sleep(every_s)
            self._is_unscrubbed.clear()
            try:
                is_done = await self.scrub()
            except (StoreDown, OSError) as error:
                log.warning("what was erased is not overwritten yet", extra={"reason": str(error)})
                is_done = False
            if not is_done:
                self._is_unscrubbed.set()

    def forget_in(self, connection: Connection, chat: Chat, wish: Wish) -> Gone:
        """The part of `forget` that concerns the database, within the caller's transaction."""
        now = self.db.now(connection)
        values = {"chat": chat.key, "now": now}
        is_kept = wish == "customer"
        # First: whoever works on the chat is locked out by it.
        connection.execute(_LOCK_LANE if is_kept else _FORGET_LANE, values)
        # Whoever has read the chat for the list and the index finds these gone, and reads again.
        connection.execute(_FORGET_CHANGES, values)
        search.erase_in(connection, chat)
        last_turn = int(connection.execute(_LAST_TURN, values).scalar() or 0)
        rows = connection.execute(_FORGET_MESSAGES_BEFORE if is_kept else _FORGET_MESSAGES, values).all()
        counts = {"messages": len(rows)}
        counts["verdicts"] = verdicts.erase(connection, chat)
        counts["staff_access"] = connection.execute(_FORGET_ACCESS, values).rowcount
        connection.execute(_NOTE_TOPIC, values)
        counts["asides"] = _forget_asides(connection, chat)
        spared = {"messages", "verdicts", "unsealed", "staff_access", "changes"} | (
            {"chats", "lanes"} if is_kept else set()
        )
        for table in _tables_with_chat(connection):
            if table not in spared:
                statement = sa.text(f"DELETE FROM {table} WHERE chat = :chat")  # noqa: S608  (a table of ours)
                counts[table] = connection.execute(statement, values).rowcount
        if is_kept:
            connection.execute(_BEGIN_ANEW, values)
            connection.execute(_CHANGED, values)
        counts = {name: count for name, count in counts.items() if count > 0}
        if rows or counts:
            kept = {"wish": wish, "counts": json.dumps(counts), "at": now}
            connection.execute(_NOTE, kept)
        photos = list(dict.fromkeys(row.photo for row in rows if row.photo))
        uploads = [row.file_id for row in rows if row.file_id and chat.channel == "web"]
        return Gone(counts, photos, uploads, last_turn, now)

    async def _drop_photos(self, photos: Sequence[str]) -> tuple[int, bool]:
        """Delete photo files that no message names any more; how many, and whether all were deleted."""
        unnamed = await self.db.read(lambda connection: unnamed_among(connection, photos))
        count = 0
        for sha256 in unnamed:
            try:
                await self._forget_photo(sha256)
            except OSError:
                log.exception("a photo could not be erased")
            else:
                count += 1
        return count, count == len(unnamed)

    async def _merge_search(self) -> None:
        """Rewrite the search index in small steps: its older segments still contain erased words."""
        pages = -search.MERGE_PAGES
        async with asyncio.timeout(SCRUB_TIMEOUT_S):
            while await self.db.write(lambda connection, pages=pages: search.merge_in(connection, pages)):  # type: ignore[misc]
                pages = search.MERGE_PAGES
                await asyncio.sleep(0.01)  # turns go first


def unnamed_among(connection: Connection, photos: Sequence[str]) -> list[str]:
    """The photos among these that no message names."""
    named: set[str] = set()
    for start in range(0, len(photos), 500):
        found = connection.execute(_NAMED, {"photos": list(photos[start : start + 500])})
        named.update(row.photo for row in found)
    return [sha256 for sha256 in photos if sha256 not in named]


def _tables_with_chat(connection: Connection) -> list[str]:
    """All tables with a column `chat`, as the database itself says, so that the list is never outdated."""
    inspector = sa.inspect(connection)
    names = sorted(name for name in inspector.get_table_names() if not name.startswith("search"))
    return [name for name in names if any(column["name"] == "chat" for column in inspector.get_columns(name))]


def _forget_asides(connection: Connection, chat: Chat) -> int:
    """Delete unreadable updates that mention this chat; returns how many."""
    mark = re.compile(rf"(?<![\w-]){re.escape(chat.address)}(?!\w)")
    rows = connection.execute(_ASIDES, {"like": f"%{chat.address}%"}).all()
    ids = [row.id for row in rows if mark.search(row.raw)]
    if ids:
        connection.execute(_FORGET_ASIDES, {"ids": ids})
    return len(ids)


_ASKED = sa.text("""
    SELECT 1 FROM turns WHERE chat = :chat AND origin = 'notice:forget_ask' AND opened_at > :since
    UNION ALL SELECT 1 FROM chats WHERE chat = :chat AND erased_at > :since""")
_LOCK_LANE = sa.text("UPDATE lanes SET superseded = 0 WHERE chat = :chat")
_FORGET_LANE = sa.text("DELETE FROM lanes WHERE chat = :chat")
_FORGET_CHANGES = sa.text("DELETE FROM changes WHERE chat = :chat")
_CHANGED = sa.text("INSERT INTO changes (chat) VALUES (:chat)")
_LAST_TURN = sa.text("SELECT MAX(id) FROM turns WHERE chat = :chat")
# Deleted first and asked what they named: a picture that is recorded meanwhile is not overlooked.
_FORGET_MESSAGES = sa.text("DELETE FROM messages WHERE chat = :chat RETURNING photo, file_id")
_FORGET_MESSAGES_BEFORE = sa.text("""
    DELETE FROM messages WHERE chat = :chat AND state <> 'waiting' RETURNING photo, file_id""")
# That a colleague looked at a photo stays; whose it was does not.
_FORGET_ACCESS = sa.text("UPDATE staff_access SET chat = NULL, detail = '' WHERE chat = :chat")
_ASIDES = sa.text("SELECT id, raw FROM asides WHERE raw LIKE :like")
_FORGET_ASIDES = sa.text("DELETE FROM asides WHERE id IN :ids").bindparams(
    sa.bindparam("ids", expanding=True)
)
_BEGIN_ANEW = sa.text("""
    UPDATE chats SET sender = '', window_after = 0, last_turn = 0, photos = 0, created_at = :now,
                     erased_at = :now
    WHERE chat = :chat""")
_NOTE_TOPIC = sa.text("""
    INSERT INTO gone_topics (place, thread)
    SELECT place, thread FROM cases WHERE chat = :chat AND thread IS NOT NULL""")
_NOTE = sa.text("INSERT INTO erasures (at, wish, counts) VALUES (:at, :wish, :counts)")
_THEIRS_ALONE = sa.text("""
    SELECT COUNT(DISTINCT m.photo) FROM messages m
    WHERE m.chat = :chat AND m.photo IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM messages o WHERE o.photo = m.photo AND o.chat <> m.chat)""")
_NAMED = sa.text("SELECT DISTINCT photo FROM messages WHERE photo IN :photos").bindparams(
    sa.bindparam("photos", expanding=True)
)
