"""Reads a database without changing it: for `check`, which may run beside a running bot."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from context.db import StoreDown, reason_of
from context.migrations import MIGRATIONS

NEWEST = len(MIGRATIONS)
"""Number of the schema that this version uses."""


def schema_of(url: str) -> int | None:
    """Number of the database's schema; 0 before the first start, None if the file does not exist.

    Blocks for up to five seconds.  Raises StoreDown if it cannot be opened or read.
    """
    return _asked(url, "migrations", "SELECT MAX(number) FROM migrations")


def staff_of(url: str) -> int | None:
    """Number of console accounts; otherwise like `schema_of`."""
    return _asked(url, "staff", "SELECT COUNT(*) FROM staff")


def _asked(url: str, table: str, question: str) -> int | None:
    """A number from a table; 0 if there is no such table, None if the file does not exist."""
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
