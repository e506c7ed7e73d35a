"""Looks at a database without changing it: for `check`, which may run beside a bot that is at work."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from context.db import StoreDown, reason_of
from context.migrations import MIGRATIONS

NEWEST = len(MIGRATIONS)
"""The number of the schema that this version works with."""


def schema_of(url: str) -> int | None:
    """The number of the database's schema, 0 before the first start; None for a file that is not there yet.

    Blocks for up to five seconds.  Raises StoreDown when it cannot be opened or read.
    """
    return _asked(url, "migrations", "SELECT MAX(number) FROM migrations")


def staff_of(url: str) -> int | None:
    """How many accounts the console has; like `schema_of`."""
    return _asked(url, "staff", "SELECT COUNT(*) FROM staff")


def _asked(url: str, table: str, question: str) -> int | None:
    """A number from a table, 0 where there is no such table; None for a file that is not there yet."""
    address = make_url(url)
    is_sqlite = address.get_backend_name() == "sqlite"
    if is_sqlite and not (address.database and Path(address.database).exists()):
        return None
    try:
        engine = sa.create_engine(_read_only(address)) if is_sqlite else _postgres(address)
        try:
            with engine.connect() as connection:
                if not sa.inspect(connection).has_table(table):
                    return 0
                return int(connection.execute(sa.text(question)).scalar_one() or 0)
        finally:
            engine.dispose()
    except sa.exc.SQLAlchemyError as error:
        where = address.render_as_string(hide_password=True)
        raise StoreDown(f"database {where}: {reason_of(error)}") from error


def _read_only(address: URL) -> URL:
    return address.set(database=f"file:{address.database}").update_query_dict({"mode": "ro", "uri": "true"})


def _postgres(address: URL) -> sa.Engine:
    limits = {"connect_timeout": 5, "options": "-c statement_timeout=5000"}
    return sa.create_engine(address.set(drivername="postgresql+psycopg"), connect_args=limits)
