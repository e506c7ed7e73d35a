"""The database says what went wrong, and never with what customers wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url

from context.db import Database, StoreDown, _with_driver
from context.migrations import MIGRATIONS, migrate
from context.statement import Statement
from context.transcripts import Transcripts
from context.turns import Chat

WORDS = "my card is 4111"


async def test_no_error_of_the_database_quotes_what_was_stored(db: Database) -> None:
    def twice(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(
                sa.text("INSERT INTO asides (source, raw, reason, at) VALUES ('update:1', :raw, '', 0)"),
                {"raw": WORDS},
            )

    with pytest.raises((sa.exc.IntegrityError, StoreDown)) as caught:
        await db.write(twice)
    error: BaseException | None = caught.value
    while error is not None:
        assert WORDS not in str(error)
        error = error.__cause__


def test_a_database_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreDown, match=r"bot\.db cannot be opened: Not a directory$"):
        Database(f"sqlite:///{tmp_path}/file/more/bot.db")


async def test_a_statement_means_the_same_on_either_database(db: Database) -> None:
    asked: list[tuple[str, dict[str, Any], object]] = [
        ("SELECT CAST(:a AS TEXT) || '-' || :a", {"a": "x"}, "x-x"),
        ("SELECT COUNT(*) FROM duties WHERE name IN :names", {"names": ["a", "c", "z"]}, 2),
        ("SELECT COUNT(*) FROM duties WHERE name IN :names", {"names": ["a"]}, 1),
        ("SELECT COUNT(*) FROM duties WHERE name IN :names", {"names": []}, 0),
        ("SELECT COUNT(*) FROM duties WHERE holder LIKE 'not%' AND until > :least", {"least": 1}, 2),
        ("SELECT COUNT(*) FROM duties WHERE holder = 'notice:held' AND name <> :name", {"name": "a"}, 2),
        ("SELECT CAST(:a AS INTEGER) % 3", {"a": 4}, 1),
        ("SELECT COUNT(*) FROM duties WHERE until > :least", {"least": 0, "unasked": ["x"]}, 3),
    ]

    def work(connection: Connection) -> None:
        rows = [{"name": name, "until": number} for number, name in enumerate("abc", start=1)]
        insert = Statement("INSERT INTO duties (name, holder, until) VALUES (:name, 'notice:held', :until)")
        connection.execute(insert, rows)
        for sql, values, expected in asked:
            assert connection.execute(Statement(sql), values).scalar_one() == expected, sql

    await db.write(work)


# --- Updates

OLD_ROWS = """
INSERT INTO chats (chat, created_at, last_turn) VALUES ('web:1', 100, 1);
INSERT INTO lanes (chat) VALUES ('web:1');
INSERT INTO turns
    (chat, state, fence, opened_at, closed_at, text, reply, language, origin, remembered)
    VALUES ('web:1', 'closed', 1, 100, 101, 'It shows E4', 'Close the door.', 'en', 'remote', 1);
INSERT INTO messages (chat, direction, state, turn_id, at, text)
    VALUES ('web:1', 'in', 'taken', 1, 100, 'It shows E4')"""


async def test_a_database_of_the_first_version_is_updated_with_all_that_is_in_it(database_url: str) -> None:
    old = sa.create_engine(_with_driver(make_url(database_url)))
    migrate(old, is_sqlite=database_url.startswith("sqlite"), upto=1)
    with old.begin() as connection:
        for statement in OLD_ROWS.split(";"):
            connection.exec_driver_sql(statement)
    old.dispose()
    db = Database(database_url)
    (turn,) = await Transcripts(db).turns(Chat("web", "1"), 5)
    assert (turn.text, turn.reply) == ("It shows E4", "Close the door.")
    assert db.version == len(MIGRATIONS)
    await db.close()


def test_updates_only_add() -> None:
    """While processes are updated one after the other, the old ones work on the new tables."""
    steps = [step if isinstance(step, str) else step.sqlite + step.postgres for step in MIGRATIONS[1:]]
    assert [step for step in steps if re.search(r"\b(DROP|RENAME)\b", step)] == []
    added = re.findall(r"ADD COLUMN (.+?)(?:;|$)", "\n".join(steps), re.MULTILINE)
    assert len(added) > 5
    assert [column for column in added if "NOT NULL" in column and "DEFAULT" not in column] == []
