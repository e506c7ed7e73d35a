"""Keeps the list of conversations and the search up to date, behind the events.

Triggers leave a row in `changes` for every change of a conversation, in the same transaction.
`Keeper.catch_up` takes these rows in order, works out the lines of the list anew and indexes the turns for
search.  So a turn knows nothing of the console, and no change is missing from the list after a crash.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection, Row

from context.console.held import HELD_IN_CHAT
from context.console.listing import REVISION
from context.console.search import index_in
from context.db import Database
from context.statement import Statement

BATCH, CHATS = 1000, 40
"""Most changes that are read at once, and most conversations that are updated at once: about 20 ms for which
other writes wait.  A conversation with many changes is updated only once."""
PREVIEW_CHARS = 160
LOOKED_AT = 200
"""How many of the newest turns may flag a chat, so that a chat of ten thousand turns does not slow down the
list."""


class Keeper:
    """Brings the list and the search up to date."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.is_behind = False
        """Whether the last `catch_up` left some."""

    async def catch_up(self) -> int:
        """Work in some of what changed, oldest first, and return how many changes it was; 0 when none wait.

        Of several processes one does; what another one did meanwhile is left to it.
        """
        read = await self._db.read(_read)
        self.is_behind = read.is_some
        if not read.changes:
            return 0

        def work(connection: Connection) -> int:
            if connection.dialect.name != "sqlite":
                connection.execute(_TAKE_LOCK, {"lock": _LOCK})
            # Lines are worked out from what was read before: only who finds all of it still there may write.
            deleted = connection.execute(_DROP_CHANGES, {"ids": read.changes}).rowcount
            if deleted != len(read.changes):
                raise _Overtaken
            index_in(connection, read.turns)
            revision = int(connection.execute(REVISION).scalar_one())
            for number, values in enumerate(read.lines, start=1):
                connection.execute(_KEEP, {**values, "revision": revision + number})
            for chat in read.gone:
                connection.execute(_DROP, {"chat": chat})
            return deleted

        try:
            return await self._db.write(work)
        except _Overtaken:
            return 0


class _Overtaken(Exception):
    """Another process worked in the same changes."""


@dataclass(frozen=True, slots=True)
class _Read:
    changes: list[int]
    turns: list[Row[Any]]
    lines: list[dict[str, Any]]
    gone: list[str]
    """Chats that were erased."""
    is_some: bool
    """Whether there are more changes."""


def _read(connection: Connection) -> _Read:
    waiting = connection.execute(_CHANGES, {"limit": BATCH}).all()
    chats = dict.fromkeys(list(dict.fromkeys(row.chat for row in waiting))[:CHATS])
    rows = [row for row in waiting if row.chat in chats]
    turn_ids = sorted({row.turn_id for row in rows if row.turn_id is not None})
    turns = connection.execute(_TURNS, {"ids": turn_ids}).all() if turn_ids else []
    lines, gone = [], []
    for chat in chats:
        values = _work_out(connection, chat)
        if values is None:
            gone.append(chat)
        else:
            lines.append(values)
    lines.sort(key=lambda values: values["at"])
    is_some = len(rows) < len(waiting) or len(waiting) == BATCH
    return _Read([row.id for row in rows], list(turns), lines, gone, is_some)


def _work_out(connection: Connection, chat: str) -> dict[str, Any] | None:
    """The line of a chat; None when there is no such chat, or nothing was said in it."""
    state = connection.execute(_STATE, {"chat": chat}).first()
    last = connection.execute(_LAST, {"chat": chat, "chars": PREVIEW_CHARS}).first()
    if state is None or last is None:
        return None
    # Turns that staff are done with raise no flag any more.
    turns = connection.execute(_RECENT, {"chat": chat, "after": state.done_turn, "limit": LOOKED_AT}).all()
    newest = connection.execute(_NEWEST, {"chat": chat}).first()
    return {
        "chat": chat,
        "at": last.at,
        "name": state.sender,
        "who": _who(last),
        "preview": f"/{last.command} {last.text}".strip() if last.command else last.text,
        "language": state.language or "",
        "turns": int(connection.execute(_COUNT, {"chat": chat, "most": LOOKED_AT}).scalar_one()),
        "last_turn": newest.id if newest else 0,
        "origin": newest.origin if newest else "",
        "reason": state.reason or "",
        "holder": state.holder,
        "waiting_since": state.asked_at,
        "waiting": int(state.asked_at is not None and state.holder is None),
        "held": int(connection.execute(HELD_IN_CHAT, {"chat": chat}).first() is not None),
        "flagged": int(state.flagged_by is not None or any(_is_stopped(turn.verdict) for turn in turns)),
        "fallback": int(any(turn.origin == "fallback" for turn in turns)),
        "photo": int(connection.execute(_PHOTO, {"chat": chat}).first() is not None),
        "down": int(_is_down(connection, chat, state.done_turn)),
        "failed": int(any(turn.state == "failed" for turn in turns)),
    }


def _is_down(connection: Connection, chat: str, done_turn: int) -> bool:
    """Whether staff or the customer called an answer bad since staff were last done with the chat."""
    values = {"chat": chat, "after": done_turn}
    return any(connection.execute(look, values).first() is not None for look in (_BAD, _DOWN))


def _is_stopped(record: str | None) -> bool:
    """Whether the guard held or blocked the draft; the record is read only where it may say so."""
    verdict = json.loads(record).get("verdict") if record else None
    return isinstance(verdict, dict) and verdict.get("action") in ("hold", "block")


def _who(last: Row[Any]) -> str:
    if last.direction == "in":
        return "customer"
    return "staff" if (last.origin or "").startswith("staff:") else "bot"


_LOCK = 7_205_140_313
"""PostgreSQL advisory lock: revisions are given out by one process at a time, so none is seen too late."""
_TAKE_LOCK = Statement("SELECT pg_advisory_xact_lock(:lock)")
_CHANGES = Statement("SELECT id, chat, turn_id FROM changes ORDER BY id LIMIT :limit")
_DROP_CHANGES = Statement("DELETE FROM changes WHERE id IN :ids")
_TURNS = Statement("SELECT id, chat, text, reply, origin, record FROM turns WHERE id IN :ids")
_STATE = Statement("""
    SELECT c.sender, c.language, h.reason, h.asked_at, h.holder, m.flagged_by,
           COALESCE(m.done_turn, 0) AS done_turn
    FROM chats c LEFT JOIN marks m ON m.chat = c.chat
                 LEFT JOIN handoffs h ON h.chat = c.chat AND h.closed_at IS NULL
    WHERE c.chat = :chat""")
_LAST = Statement("""
    SELECT substr(m.text, 1, :chars) AS text, m.direction, m.command, m.at, t.origin
    FROM messages m LEFT JOIN turns t ON t.id = m.turn_id
    WHERE m.chat = :chat AND m.state NOT IN ('replaced', 'ignored') AND m.kind <> 'staff'
    ORDER BY m.id DESC LIMIT 1""")
_RECENT = Statement("""
    SELECT origin, state,
           CASE WHEN record LIKE '%"hold"%' OR record LIKE '%"block"%' THEN record END AS verdict
    FROM turns WHERE chat = :chat AND id > :after ORDER BY id DESC LIMIT :limit""")
_NEWEST = Statement("SELECT id, origin FROM turns WHERE chat = :chat ORDER BY id DESC LIMIT 1")
_COUNT = Statement("SELECT COUNT(*) FROM (SELECT 1 FROM turns WHERE chat = :chat LIMIT :most) AS counted")
_BAD = Statement("SELECT 1 FROM reviews WHERE chat = :chat AND thumb < 0 AND turn_id > :after LIMIT 1")
_DOWN = Statement("""
    SELECT 1 FROM feedback WHERE chat = :chat AND vote = 'down' AND question <> 'words' AND turn_id > :after
    LIMIT 1""")
_PHOTO = Statement("SELECT 1 FROM messages WHERE chat = :chat AND photo IS NOT NULL LIMIT 1")
_KEEP = Statement("""
    INSERT INTO listing (chat, revision, at, name, who, preview, language, turns, last_turn, origin, reason,
                         holder, waiting_since, waiting, held, flagged, fallback, photo, down, failed)
    VALUES (:chat, :revision, :at, :name, :who, :preview, :language, :turns, :last_turn, :origin, :reason,
            :holder, :waiting_since, :waiting, :held, :flagged, :fallback, :photo, :down, :failed)
    ON CONFLICT (chat) DO UPDATE SET
        revision = excluded.revision, at = excluded.at, name = excluded.name, who = excluded.who,
        preview = excluded.preview, language = excluded.language, turns = excluded.turns,
        last_turn = excluded.last_turn, origin = excluded.origin, reason = excluded.reason,
        holder = excluded.holder, waiting_since = excluded.waiting_since, waiting = excluded.waiting,
        held = excluded.held, flagged = excluded.flagged, fallback = excluded.fallback,
        photo = excluded.photo, down = excluded.down, failed = excluded.failed""")
_DROP = Statement("DELETE FROM listing WHERE chat = :chat")
