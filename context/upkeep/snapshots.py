"""Snapshots: the whole database as files, and back; consistent, and possible while bots are running.

SQLite is copied page by page with its own online backup, inside one read transaction, so writers neither wait
nor make it start again (https://sqlite.org/backup.html).  PostgreSQL is read with COPY in one REPEATABLE READ
transaction, into one gzipped file per table: servers of any version accept these files, and no PostgreSQL
program has to be installed.

Everything here blocks for as long as the database is large: call it outside the event loop.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, make_url

from context.db import StoreDown, reason_of
from context.migrations import migrate
from context.photos import sync_folder

SQLITE_FILE = "bot.db"
TABLES = "tables"
TIMEOUT_S = 4 * 3600.0
"""A database that takes longer than this to be read or written counts as hanging."""
_PAGES = 2048
"""Pages copied between two checks of the time limit: 8 MB."""
_BUSY_S = 30.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot contains."""

    kind: str
    """`sqlite` or `postgresql`."""
    schema: int
    tables: dict[str, int]
    """Rows by table."""


def kind_of(url: str) -> str:
    """`sqlite` or `postgresql`."""
    return "sqlite" if make_url(url).get_backend_name() == "sqlite" else "postgresql"


def save(url: str, folder: Path) -> tuple[Snapshot, list[str]]:
    """Write the database into an existing, empty folder; returns its snapshot and the photos that it names.

    Raises StoreDown if it cannot be read, OSError if the folder cannot be written.
    """
    with _translated(url):
        return (
            _save_sqlite(make_url(url), folder) if kind_of(url) == "sqlite" else _save_postgres(url, folder)
        )


def inspect(folder: Path, snapshot: Snapshot) -> list[str]:
    """What is wrong with the database in a snapshot, read completely; empty if nothing is."""
    try:
        found = _rows_of_sqlite(folder) if snapshot.kind == "sqlite" else _rows_of_copies(folder, snapshot)
    except (sqlite3.Error, OSError, EOFError) as error:
        return [f"the database cannot be read: {error}"]
    return [
        f"table {name}: {found.get(name, 0)} rows, {rows} were written"
        for name, rows in snapshot.tables.items()
        if found.get(name) != rows
    ]


def rows_in(url: str) -> int:
    """Number of chats and messages in a database, 0 if it does not exist yet.  Raises StoreDown."""
    address = make_url(url)
    if kind_of(url) == "sqlite" and not Path(address.database or "").exists():
        return 0
    with _translated(url), _engine(address).connect() as connection:
        names = set(sa.inspect(connection).get_table_names())
        counts = [
            connection.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one()
            for name in ("chats", "messages", "staff")
            if name in names
        ]
        return sum(counts)


def others_at(url: str) -> int:
    """Number of connections to a PostgreSQL database, bots included.  Raises StoreDown."""
    if kind_of(url) == "sqlite":
        return 0  # whoever works with it holds the data folder
    with _translated(url), _engine(make_url(url)).connect() as connection:
        return int(connection.exec_driver_sql(_OTHERS).scalar_one())


def load(url: str, folder: Path, snapshot: Snapshot) -> None:
    """Replace the contents of the database with a snapshot, completely or not at all.

    After an interruption it can be repeated.  Raises StoreDown.
    """
    with _translated(url):
        if snapshot.kind == "sqlite":
            _load_sqlite(Path(make_url(url).database or ""), folder)
        else:
            _load_postgres(url, folder, snapshot)


# --- SQLite


def _save_sqlite(url: URL, folder: Path) -> tuple[Snapshot, list[str]]:
    path = Path(url.database or "")
    if not path.exists():
        raise StoreDown(f"{path} is not there: nothing was ever kept")
    until = time.monotonic() + TIMEOUT_S

    def look_at_the_clock(_status: int, _remaining: int, _total: int) -> None:
        if time.monotonic() > until:
            raise StoreDown(f"{path} could not be copied in {TIMEOUT_S:.0f} s")

    source = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S, isolation_level=None
    )
    target = sqlite3.connect(folder / SQLITE_FILE, isolation_level=None)
    try:
        source.execute("BEGIN")
        source.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # from here on it is that moment's
        source.backup(target, pages=_PAGES, progress=look_at_the_clock, sleep=0)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, that can be opened read-only
        problem = target.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise StoreDown(f"{path} is damaged: {problem}")
        snapshot = Snapshot("sqlite", _schema(target), _counted(target))
        photos = target.execute("SELECT DISTINCT photo FROM messages WHERE photo IS NOT NULL ORDER BY photo")
        return snapshot, [row[0] for row in photos]
    finally:
        target.close()
        source.close()


def _load_sqlite(path: Path, folder: Path) -> None:
    """Copy, then rename into place: until then the old database stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".restoring")
    with (folder / SQLITE_FILE).open("rb") as source, beside.open("wb") as target:
        os.fchmod(target.fileno(), 0o600)
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
    for ending in ("-wal", "-shm"):  # of the old one: they would be played into the new one
        path.with_name(path.name + ending).unlink(missing_ok=True)
    beside.replace(path)
    sync_folder(path.parent)


def _rows_of_sqlite(folder: Path) -> dict[str, int]:
    connection = sqlite3.connect(f"{(folder / SQLITE_FILE).absolute().as_uri()}?mode=ro", uri=True)
    try:
        problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        return _counted(connection)
    finally:
        connection.close()


def _schema(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT MAX(number) FROM migrations").fetchone()[0])


def _counted(connection: sqlite3.Connection) -> dict[str, int]:
    names = connection.execute("""
        SELECT name FROM sqlite_master
        WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'search%' ORDER BY name""")
    return {
        name: connection.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0]  # noqa: S608  (a table of ours)
        for (name,) in names.fetchall()
    }


# --- PostgreSQL


def _save_postgres(url: str, folder: Path) -> tuple[Snapshot, list[str]]:
    (folder / TABLES).mkdir()
    with _engine(make_url(url)).connect() as connection:
        # The first statement takes the snapshot that all the others see.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if not sa.inspect(connection).has_table("migrations"):
            raise StoreDown("the database is empty: nothing was ever kept")
        schema = int(connection.exec_driver_sql("SELECT MAX(number) FROM migrations").scalar_one())
        tables = {name: _copy_out(connection, name, folder) for name in _tables(connection)}
        photos = connection.exec_driver_sql(
            "SELECT DISTINCT photo FROM messages WHERE photo IS NOT NULL ORDER BY photo"
        )
        return Snapshot("postgresql", schema, tables), list(photos.scalars())


def _copy_out(connection: Connection, table: str, folder: Path) -> int:
    cursor: Any = connection.connection.cursor()
    with gzip.open(_copy_of(folder, table), "wb", compresslevel=3) as file:
        file.write(("\t".join(_columns(connection, table)) + "\n").encode())
        with cursor.copy(f'COPY "{table}" ({_listed(_columns(connection, table))}) TO STDOUT') as copy:
            for block in copy:
                file.write(block)
        rows = int(cursor.rowcount)
    cursor.close()
    return rows


def _load_postgres(url: str, folder: Path, snapshot: Snapshot) -> None:
    engine = _engine(make_url(url))
    migrate(engine, is_sqlite=False, upto=snapshot.schema)
    with engine.begin() as connection:
        tables = [name for name in _tables(connection) if name in snapshot.tables]
        # Whoever connects meanwhile waits until all of it is there.
        connection.exec_driver_sql(f"TRUNCATE {_listed(tables)} RESTART IDENTITY")
        for table in tables:
            connection.exec_driver_sql(f'ALTER TABLE "{table}" DISABLE TRIGGER USER')
            _copy_in(connection, table, folder)
            connection.exec_driver_sql(f'ALTER TABLE "{table}" ENABLE TRIGGER USER')
            if any(column.get("identity") for column in sa.inspect(connection).get_columns(table)):
                connection.execute(sa.text(_GO_ON.format(table=table)), {"table": table})
        connection.exec_driver_sql("DELETE FROM duties")  # whoever had one then is gone
    engine.dispose()


def _copy_in(connection: Connection, table: str, folder: Path) -> None:
    cursor: Any = connection.connection.cursor()
    with gzip.open(_copy_of(folder, table), "rb") as file:
        columns = file.readline().decode().rstrip("\n").split("\t")
        with cursor.copy(f'COPY "{table}" ({_listed(columns)}) FROM STDIN') as copy:
            while block := file.read(1 << 20):
                copy.write(block)
    cursor.close()


def _rows_of_copies(folder: Path, snapshot: Snapshot) -> dict[str, int]:
    """Rows by table.  A row is a line, since COPY escapes line ends within values."""
    found = {}
    for table in snapshot.tables:
        with gzip.open(_copy_of(folder, table), "rb") as file:
            found[table] = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1
    return found


def _copy_of(folder: Path, table: str) -> Path:
    return folder / TABLES / f"{table}.copy.gz"


def _tables(connection: Connection) -> list[str]:
    """All tables except the one of migrations, which says how far this database itself has come."""
    return sorted(set(sa.inspect(connection).get_table_names()) - {"migrations"})


def _columns(connection: Connection, table: str) -> list[str]:
    return [column["name"] for column in sa.inspect(connection).get_columns(table)]


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_OTHERS = """
    SELECT COUNT(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
_GO_ON = """
    SELECT setval(seq, GREATEST((SELECT COALESCE(MAX(id), 0) FROM "{table}"), 1),
                  (SELECT COUNT(*) > 0 FROM "{table}"))
    FROM pg_get_serial_sequence(:table, 'id') AS seq WHERE seq IS NOT NULL"""


# --- Both


def _engine(url: URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        return sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": _BUSY_S})
    limit = int(TIMEOUT_S * 1000)
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 10,
            "options": f"-c statement_timeout={limit} -c lock_timeout=30000",
        },
    )


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn database errors into StoreDown without passwords or customers' data."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        reason = reason_of(error) if isinstance(error, sa.exc.SQLAlchemyError) else str(error)
        raise StoreDown(f"database {make_url(url).render_as_string(hide_password=True)}: {reason}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "psycopg":  # COPY goes past SQLAlchemy
            raise
        raise StoreDown(
            f"database {make_url(url).render_as_string(hide_password=True)}: {reason_of(error)}"
        ) from error
