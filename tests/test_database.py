"""The database says what went wrong, and never with what customers wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from context.db import Database, StoreDown

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
