"""The database schema, as numbered migrations.

A migration that has shipped is never edited; the next change gets the next number.  They are written as SQL
that SQLite and PostgreSQL both accept, except for three placeholders: `{id}` (an auto-incrementing integer
key), `{real}` and `{bytes}`.  Times are Unix seconds.  JSON is stored as text, because it is always read
whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from context.migrations.api import API
from context.migrations.ledger import BROKEN, SUSPECTS
from context.migrations.readings import READINGS
from context.migrations.records import RECORDS
from context.migrations.releases import RELEASES
from context.migrations.staff import (
    GONE_TOPICS,
    LONGEST_WAIT,
    STAFF_WORK,
    STAFF_WORK_POSTGRES,
    STAFF_WORK_SQLITE,
)

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

STAFF = """
-- People who work in the console.  Names are compared as they are written, in lower case.
CREATE TABLE staff (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password TEXT NOT NULL,
    language TEXT NOT NULL DEFAULT '',
    created_at {real} NOT NULL
);

-- Who is signed in.  The browser has the token, here is its hash.
CREATE TABLE staff_sessions (
    token TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at {real} NOT NULL,
    seen_at {real} NOT NULL
);
CREATE INDEX staff_sessions_name ON staff_sessions (name);

-- Sign-ins that failed lately, by account and by address.
CREATE TABLE staff_failures (
    id {id},
    who TEXT NOT NULL,
    at {real} NOT NULL
);
CREATE INDEX staff_failures_who ON staff_failures (who, at);

-- Who opened or did what.
CREATE TABLE staff_access (
    id {id},
    at {real} NOT NULL,
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    chat TEXT,
    detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX staff_access_chat ON staff_access (chat, id) WHERE chat IS NOT NULL;

-- Filters that somebody wants to find again.
CREATE TABLE staff_views (
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    query TEXT NOT NULL,
    PRIMARY KEY (name, title)
);
"""

LISTING = """
-- What changed since the list was last brought up to date: written by triggers, so that whoever changes
-- a conversation need not know of the list.  (A table that is copied to be altered loses its triggers.)
CREATE TABLE changes (
    id {id},
    chat TEXT NOT NULL,
    turn_id BIGINT
);

-- What staff decided about a conversation as a whole.  Turns up to done_turn raise no flag any more.
CREATE TABLE marks (
    chat TEXT PRIMARY KEY,
    flagged_by TEXT,
    flagged_at {real},
    done_by TEXT,
    done_at {real},
    done_turn BIGINT NOT NULL DEFAULT 0
);

-- One line a conversation, as the console's list shows and filters it.  Can be made again from the rest.
CREATE TABLE listing (
    chat TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    at {real} NOT NULL,
    name TEXT NOT NULL,
    who TEXT NOT NULL,
    preview TEXT NOT NULL,
    language TEXT NOT NULL,
    turns INTEGER NOT NULL DEFAULT 0,
    last_turn BIGINT NOT NULL DEFAULT 0,
    origin TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    holder TEXT,
    waiting_since {real},
    waiting INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    flagged INTEGER NOT NULL DEFAULT 0,
    fallback INTEGER NOT NULL DEFAULT 0,
    photo INTEGER NOT NULL DEFAULT 0,
    down INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX listing_at ON listing (at);
CREATE INDEX listing_revision ON listing (revision);
CREATE INDEX listing_waiting ON listing (at) WHERE waiting = 1;
CREATE INDEX listing_held ON listing (at) WHERE held = 1;
CREATE INDEX listing_flagged ON listing (at) WHERE flagged = 1;
CREATE INDEX listing_fallback ON listing (at) WHERE fallback = 1;
CREATE INDEX listing_photo ON listing (at) WHERE photo = 1;
CREATE INDEX listing_down ON listing (at) WHERE down = 1;
CREATE INDEX listing_failed ON listing (at) WHERE failed = 1;
CREATE INDEX listing_mine ON listing (holder, at) WHERE holder IS NOT NULL;
"""

LISTING_SQLITE = """
CREATE TRIGGER messages_added AFTER INSERT ON messages
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
CREATE TRIGGER messages_changed AFTER UPDATE OF state, text, photo ON messages
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
CREATE TRIGGER turns_added AFTER INSERT ON turns
    BEGIN INSERT INTO changes (chat, turn_id) VALUES (NEW.chat, NEW.id); END;
CREATE TRIGGER turns_changed AFTER UPDATE ON turns
    BEGIN INSERT INTO changes (chat, turn_id) VALUES (NEW.chat, NEW.id); END;
CREATE TRIGGER handoffs_added AFTER INSERT ON handoffs
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
CREATE TRIGGER handoffs_changed AFTER UPDATE ON handoffs
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
CREATE TRIGGER marks_added AFTER INSERT ON marks
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
CREATE TRIGGER marks_changed AFTER UPDATE ON marks
    BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); END;
CREATE TRIGGER chats_gone AFTER DELETE ON chats
    BEGIN INSERT INTO changes (chat) VALUES (OLD.chat); END;
-- Words are folded and cut by context/console/search.py; the row's number is the turn's.  The prefix index is
-- for single characters, which begin the pairs that Chinese is cut into: 灯 took 200 ms of a million turns.
CREATE VIRTUAL TABLE search USING fts5 (words, facets, tokenize = 'ascii', columnsize = 0, prefix = '1');
"""

LISTING_POSTGRES = """
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO changes (chat) VALUES (NEW.chat); RETURN NULL; END $$;
CREATE FUNCTION note_turn() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO changes (chat, turn_id) VALUES (NEW.chat, NEW.id); RETURN NULL; END $$;
CREATE FUNCTION note_gone() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO changes (chat) VALUES (OLD.chat); RETURN NULL; END $$;
CREATE TRIGGER messages_added AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER messages_changed AFTER UPDATE OF state, text, photo ON messages
    FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER turns_noted AFTER INSERT OR UPDATE ON turns FOR EACH ROW EXECUTE FUNCTION note_turn();
CREATE TRIGGER handoffs_noted AFTER INSERT OR UPDATE ON handoffs FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER marks_noted AFTER INSERT OR UPDATE ON marks FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER chats_gone AFTER DELETE ON chats FOR EACH ROW EXECUTE FUNCTION note_gone();
CREATE TABLE search (turn_id BIGINT PRIMARY KEY, tokens TSVECTOR NOT NULL);
CREATE INDEX search_tokens ON search USING GIN (tokens);
"""

LISTING_BEGIN = """
INSERT INTO changes (chat) SELECT chat FROM chats;
INSERT INTO changes (chat, turn_id) SELECT chat, id FROM turns ORDER BY id;
"""


TOKENS = """
-- What an answer took, prompt and reply: for the ceiling of a day.
ALTER TABLE turns ADD COLUMN tokens BIGINT NOT NULL DEFAULT 0;
"""

TEMPLATES = """
-- Prompt templates as they stood, by version: what was said to the model can be made again from them and the
-- turn, at some 10 KB a version instead of some 5 KB a turn.
CREATE TABLE templates (
    version TEXT PRIMARY KEY,
    sources TEXT NOT NULL,
    at {real} NOT NULL
);
"""


UNSEALED = """
-- What the guard said, on record with the turn, until it has its place in the chain a second later.
-- Erasing a customer empties chat and payload here as there.
CREATE TABLE unsealed (
    id {id},
    chat TEXT,
    turn_id BIGINT NOT NULL,
    at {real} NOT NULL,
    payload TEXT
);
"""


@dataclass(frozen=True, slots=True)
class ByDialect:
    """A step that the two databases word differently."""

    sqlite: str
    postgres: str


Step = str | ByDialect

MIGRATIONS: tuple[Step, ...] = (
    FIRST,
    SECOND,
    VERDICTS,
    CLIPS,
    STAFF,
    ByDialect(LISTING + LISTING_SQLITE + LISTING_BEGIN, LISTING + LISTING_POSTGRES + LISTING_BEGIN),
    API,
    TOKENS,
    TEMPLATES,
    RECORDS,
    RELEASES,
    ByDialect(STAFF_WORK + STAFF_WORK_SQLITE, STAFF_WORK + STAFF_WORK_POSTGRES),
    UNSEALED,
    GONE_TOPICS,
    READINGS,
    BROKEN,
    SUSPECTS,
    LONGEST_WAIT,
)

_WORDS = {
    True: {"id": "INTEGER PRIMARY KEY AUTOINCREMENT", "real": "REAL", "bytes": "BLOB"},
    False: {
        "id": "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        "real": "DOUBLE PRECISION",
        "bytes": "BYTEA",
    },
}
_LOCK = 7_205_140_311
"""PostgreSQL advisory lock: of several workers that start together, one migrates."""


def migrate(engine: Engine, *, is_sqlite: bool, upto: int = len(MIGRATIONS)) -> int:
    """Bring the schema up to date and return its number.  Safe to call from several workers at once.

    `upto` ends at an older number, for what was saved under that one.
    """
    with engine.connect() as connection:
        if is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        _run(connection, "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY)")
        done = int(
            connection.execute(sa.text("SELECT COALESCE(MAX(number), 0) FROM migrations")).scalar_one()
        )
        if done > upto:
            raise sa.exc.InvalidRequestError(
                f"the database is at schema {done}, this version knows {upto}: run the newer one"
                if upto == len(MIGRATIONS)
                else f"the database is at schema {done}, the backup at {upto}: restore into an empty one"
            )
        for number, step in enumerate(MIGRATIONS[done:upto], start=done + 1):
            script = step if isinstance(step, str) else step.sqlite if is_sqlite else step.postgres
            for statement in script.format(**_WORDS[is_sqlite]).split(";\n"):
                _run(connection, statement)
            connection.execute(
                sa.text("INSERT INTO migrations (number) VALUES (:number)"), {"number": number}
            )
        connection.commit()
    return upto


def _run(connection: Connection, statement: str) -> None:
    lines = [line for line in statement.split("\n") if line.strip() and not line.lstrip().startswith("--")]
    if lines:
        connection.exec_driver_sql("\n".join(lines))
