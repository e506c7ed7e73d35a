"""The schema, as the numbered steps that lead to it.

A step that has shipped is never edited; the next change is the next number.  Written as SQL that
SQLite and PostgreSQL both take, but for two words: `{id}` (a growing integer key) and `{real}`.
Times are Unix seconds.  JSON is text: it is read whole, by us.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

FIRST = """
-- A customer's conversation and what we know of it.
CREATE TABLE chats (
    chat TEXT PRIMARY KEY,
    sender TEXT NOT NULL DEFAULT '',
    language TEXT,
    language_chosen INTEGER NOT NULL DEFAULT 0,
    window_after BIGINT NOT NULL DEFAULT 0,
    last_turn BIGINT NOT NULL DEFAULT 0,
    photos INTEGER NOT NULL DEFAULT 0,
    closed_at {real},
    created_at {real} NOT NULL
);

-- The queue: one row a chat.  Idle: due_at and lease_until are NULL.
-- Whoever claims it raises the fence; a write under an older fence is refused.
CREATE TABLE lanes (
    chat TEXT PRIMARY KEY,
    first_at {real},
    due_at {real},
    not_before {real} NOT NULL DEFAULT 0,
    lease_until {real},
    worker TEXT NOT NULL DEFAULT '',
    fence BIGINT NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    superseded INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX lanes_due ON lanes (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX lanes_leased ON lanes (lease_until) WHERE lease_until IS NOT NULL;

-- The transcript: every line of every conversation, both directions, in one order.
-- in:  waiting -> taken | replaced (edited before the answer) | ignored (an edit of no word) | dead
-- out: pending -> sending -> sent | ambiguous | dead
CREATE TABLE messages (
    id {id},
    chat TEXT NOT NULL,
    direction TEXT NOT NULL,
    state TEXT NOT NULL,
    turn_id BIGINT,
    at {real} NOT NULL,
    text TEXT NOT NULL DEFAULT '',
    message_id TEXT,
    -- in
    source TEXT UNIQUE,
    position BIGINT,
    kind TEXT NOT NULL DEFAULT 'text',
    command TEXT NOT NULL DEFAULT '',
    album TEXT NOT NULL DEFAULT '',
    hint TEXT NOT NULL DEFAULT '',
    sent_at {real} NOT NULL DEFAULT 0,
    edited INTEGER NOT NULL DEFAULT 0,
    file_id TEXT,
    file_size BIGINT,
    photo TEXT,
    photo_width INTEGER,
    photo_height INTEGER,
    photo_number INTEGER,
    rejection TEXT,
    rejection_detail TEXT,
    -- out
    number INTEGER NOT NULL DEFAULT 0,
    entities TEXT NOT NULL DEFAULT '[]',
    unsure INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX messages_chat ON messages (chat, id);
CREATE INDEX messages_turn ON messages (turn_id);
CREATE INDEX messages_waiting ON messages (chat) WHERE state = 'waiting';
CREATE UNIQUE INDEX messages_once ON messages (chat, message_id) WHERE direction = 'in' AND edited = 0;
CREATE INDEX messages_photo ON messages (photo) WHERE photo IS NOT NULL;

-- One exchange and how it came about.
-- open -> closed; superseded: a draft that newer words overtook; failed: given up, the customer was told.
CREATE TABLE turns (
    id {id},
    chat TEXT NOT NULL,
    state TEXT NOT NULL,
    fence BIGINT NOT NULL,
    opened_at {real} NOT NULL,
    closed_at {real},
    text TEXT NOT NULL,
    reply TEXT NOT NULL,
    language TEXT NOT NULL,
    origin TEXT NOT NULL,
    remembered INTEGER NOT NULL,
    handoff TEXT NOT NULL DEFAULT '',
    record TEXT NOT NULL DEFAULT '{{}}'
);
CREATE INDEX turns_chat ON turns (chat, id);
CREATE INDEX turns_open ON turns (chat) WHERE state = 'open';

-- Updates that could not be read: kept, counted, in nobody's way.
CREATE TABLE asides (
    id {id},
    source TEXT NOT NULL UNIQUE,
    raw TEXT NOT NULL,
    reason TEXT NOT NULL,
    at {real} NOT NULL
);

-- Who holds a chat: asked for (no holder yet) -> taken by a person -> closed.
CREATE TABLE handoffs (
    id {id},
    chat TEXT NOT NULL,
    reason TEXT NOT NULL,
    asked_at {real} NOT NULL,
    holder TEXT,
    taken_at {real},
    closed_at {real}
);
CREATE UNIQUE INDEX handoffs_current ON handoffs (chat) WHERE closed_at IS NULL;
"""

SECOND = """
-- Claims that ended without a word from the worker: it died, or could not reach the database.
ALTER TABLE lanes ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
-- Before this an answer would only be overtaken by the rest of an album.
ALTER TABLE lanes ADD COLUMN settles_at {real} NOT NULL DEFAULT 0;
-- When staff were told of it; that happens once, and after the handoff itself is recorded.
ALTER TABLE handoffs ADD COLUMN told_at {real};
-- Edits by the message they belong to: an original may come after its own edit.
CREATE INDEX messages_edits ON messages (chat, message_id) WHERE edited = 1;

-- What one of several processes does at a time, and which one: receiving from Telegram.
CREATE TABLE duties (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until {real} NOT NULL
);
"""

VERDICTS = """
-- What the guard said of each draft, in a chain (context.audit).  Erasing a customer empties chat,
-- payload and salt; the rest stays, and says nothing about anybody.
CREATE TABLE verdicts (
    number BIGINT PRIMARY KEY,
    chat TEXT,
    turn_id BIGINT NOT NULL,
    at {real} NOT NULL,
    payload TEXT,
    salt TEXT,
    digest TEXT NOT NULL,
    seal TEXT NOT NULL
);
CREATE INDEX verdicts_chat ON verdicts (chat) WHERE chat IS NOT NULL;
"""

CLIPS = """
-- What was measured on a photo or in a clip, as context/facts.py writes it.
ALTER TABLE messages ADD COLUMN photo_facts TEXT;
-- The channel's id of the message that this one replies to.
ALTER TABLE messages ADD COLUMN reply_to TEXT NOT NULL DEFAULT '';
"""

MIGRATIONS: tuple[str, ...] = (FIRST, SECOND, VERDICTS, CLIPS)

_WORDS = {
    True: {"id": "INTEGER PRIMARY KEY AUTOINCREMENT", "real": "REAL"},
    False: {"id": "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "real": "DOUBLE PRECISION"},
}
_LOCK = 7_205_140_311
"""PostgreSQL advisory lock: of several workers that start together, one migrates."""


def migrate(engine: Engine, *, is_sqlite: bool) -> int:
    """Bring the schema up to date and return its number.  Safe to call from several workers at once."""
    with engine.connect() as connection:
        if is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        _run(connection, "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY)")
        done = int(
            connection.execute(sa.text("SELECT COALESCE(MAX(number), 0) FROM migrations")).scalar_one()
        )
        if done > len(MIGRATIONS):
            raise sa.exc.InvalidRequestError(
                f"the database is at schema {done}, this version knows {len(MIGRATIONS)}: run the newer one"
            )
        for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
            for statement in script.format(**_WORDS[is_sqlite]).split(";\n"):
                _run(connection, statement)
            connection.execute(
                sa.text("INSERT INTO migrations (number) VALUES (:number)"), {"number": number}
            )
        connection.commit()
    return len(MIGRATIONS)


def _run(connection: Connection, statement: str) -> None:
    lines = [line for line in statement.split("\n") if line.strip() and not line.lstrip().startswith("--")]
    if lines:
        connection.exec_driver_sql("\n".join(lines))
