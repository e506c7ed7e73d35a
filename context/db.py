"""The database: everything that must not be lost is stored here.

Work is passed in as a plain function of a connection, and runs in a thread as one transaction.  On SQLite a
single writer thread commits everything that waits as one group, so that many chats share one fsync.  On
PostgreSQL a small pool of threads commits each piece of work separately, and the server groups the commits.
Both run the same SQL, which is written out where it is used, since a ledger is read more often than it is
ported.

Why threads and not an async driver: the same SQLAlchemy statements through aiosqlite take 16 to 34 times as
long per commit (a thread switch for every statement, and no group commit).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url

from context.health import Health
from context.migrations import MIGRATIONS, migrate

log = logging.getLogger(__name__)
T = TypeVar("T")
Work = Callable[[Connection], T]

GROUP = 64
"""Most pieces of work per SQLite transaction: with more, a commit waits longer than it saves."""
WRITE_TIMEOUT_S = 15.0
"""A database that does not commit within this time counts as down; nothing is confirmed to anybody."""

TRIES = 3
"""Attempts at a transaction that was certainly undone: another one collided with it, or the connection was
dead."""
SCRUB_TRIES = 40
_BUSY_S = 10
CLOCK_S = 5.0
"""How often PostgreSQL is asked for the time; in between, our own clock counts on from there."""


class StoreDown(Exception):
    """The database cannot be reached, is full, or refuses; nothing of the work was stored."""


class StoreAway(StoreDown):
    """A server gives us no connection when we start: it is away, still starting, or refuses us."""


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Database:
    """Runs transactions.

    Times come from PostgreSQL's clock if there is one, so that workers on several machines agree about leases
    whatever their own clocks say.  A given `clock` (Unix seconds) is used instead.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None) -> None:
        """Connect to `sqlite:///path` or `postgresql://...`.  Raises StoreDown if that fails.

        `StoreAway`, a kind of it, is the fault of a server that may well be there a moment later.
        """
        self._url = _with_driver(make_url(url))
        self._clock = clock
        # If the system clock were set while we run, all leases would end at once, or none for hours.
        self._epoch = time.time() - time.monotonic()
        self._clock_until = 0.0
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        try:
            self._engine = _sqlite_engine(self._url) if self.is_sqlite else _postgres_engine(self._url)
            self.version = migrate(self._engine, is_sqlite=self.is_sqlite)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            is_away = not self.is_sqlite and isinstance(error, sa.exc.OperationalError)
            kind = StoreAway if is_away else StoreDown
            raise kind(f"database {self.name} cannot be opened: {reason_of(error)}") from error
        if self.is_sqlite:
            self._writer = _GroupCommit(self._engine)
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="sql-read")
        else:
            self._threads = ThreadPoolExecutor(8, thread_name_prefix="sql")

    @property
    def name(self) -> str:
        """The address without its password, for operators."""
        return self._url.render_as_string(hide_password=True)

    @property
    def address(self) -> str:
        """The address with its password, as libpq takes it.  Never log it."""
        return self._url.set(drivername=self._url.get_backend_name()).render_as_string(hide_password=False)

    def now(self, connection: Connection) -> float:
        """The time in Unix seconds, on the clock that all workers share."""
        if self._clock is not None:
            return self._clock()
        if self.is_sqlite:
            return self._epoch + time.monotonic()
        now = time.monotonic()
        if now >= self._clock_until:
            self._epoch = float(connection.execute(_NOW).scalar_one()) - now
            self._clock_until = now + CLOCK_S
        return self._epoch + now

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction that is durable when this returns.

        An exception from `work` undoes its changes (and only those) and is raised here.  Raises StoreDown if
        the database fails.  If the caller is cancelled while waiting, the work may or may not have been done.
        """
        loop = asyncio.get_running_loop()
        if not self.is_sqlite:
            return await self._run_in_thread(work, WRITE_TIMEOUT_S)
        job = _Job(work, loop, loop.create_future())
        self._writer.put(job)
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                return await job.future  # type: ignore[no-any-return]  # the future of this very job
        except TimeoutError as error:
            raise StoreDown(f"database {self.name} did not commit in {WRITE_TIMEOUT_S:.0f} s") from error

    async def read(self, work: Work[T]) -> T:
        """Run `work` on a snapshot of the committed data.  Raises StoreDown."""
        return await self._run_in_thread(work, WRITE_TIMEOUT_S)

    async def _run_in_thread(self, work: Work[T], timeout_s: float) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                return await loop.run_in_executor(self._threads, self._transact, work)
        except TimeoutError as error:
            raise StoreDown(f"database {self.name} did not answer in {timeout_s:.0f} s") from error

    def _transact(self, work: Work[T]) -> T:
        for tries_left in reversed(range(TRIES)):
            is_decided = False
            try:
                with self._engine.begin() as connection:
                    result = work(connection)
                    is_decided = True  # a commit that breaks off may have happened
            except sa.exc.DataError:
                raise  # a value that it cannot hold: no fault of the database's
            except sa.exc.DBAPIError as error:
                is_undone = getattr(error.orig, "sqlstate", None) in _COLLISIONS
                is_undone = is_undone or (error.connection_invalidated and not is_decided)
                if not (tries_left and is_undone):
                    raise StoreDown(f"database {self.name}: {reason_of(error)}") from error
            else:
                return result
        raise AssertionError("unreachable")

    async def health(self) -> Health:
        """Whether it answers."""
        try:
            await self.read(lambda connection: connection.execute(_ONE).scalar_one())
        except StoreDown as error:
            return Health("down", str(error))
        return Health("ok", f"{self.name}, schema {self.version} of {len(MIGRATIONS)}")

    async def scrub(self) -> bool:
        """Remove deleted data from SQLite's log as well.

        In the database file `secure_delete` has overwritten it already.  False if others were using the log
        all the time.  PostgreSQL overwrites deleted data some time after VACUUM.
        """
        return await asyncio.to_thread(self._truncate_log) if self.is_sqlite else True

    def _truncate_log(self) -> bool:
        """https://sqlite.org/pragma.html#pragma_wal_checkpoint (blocking)."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 200")  # while it waits, nobody writes
            try:
                for _ in range(SCRUB_TRIES):
                    busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
                    if not busy:
                        return True
                    time.sleep(0.05)
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_S * 1000}")
        return False

    async def close(self) -> None:
        """Finish the submitted work, then close.  Calling it twice is harmless."""
        if self.is_sqlite:
            await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._engine.dispose)


class _GroupCommit:
    """One thread with one SQLite connection, which commits all waiting work together."""

    def __init__(self, engine: Engine) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        driver: Any = self._connection.connection.driver_connection
        # BEGIN, SAVEPOINT etc. go straight to sqlite3: through SQLAlchemy they cost more than the work.
        self._bracket: Callable[[str], object] = driver.execute
        self._thread = threading.Thread(target=self._run, name="sql-write", daemon=True)
        self._thread.start()

    def put(self, job: _Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
            self._connection.close()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            group = [job]
            with contextlib.suppress(queue.Empty):
                while len(group) < GROUP and (more := self._jobs.get_nowait()) is not None:
                    group.append(more)
                if len(group) < GROUP:  # the end mark came while gathering: put it back for the outer loop
                    self._jobs.put(None)
            self._commit(group)

    def _commit(self, group: list[_Job]) -> None:
        """Run each piece of work in a savepoint of its own: one that fails does not undo the others."""
        done: list[tuple[_Job, Any, BaseException | None]] = []
        bracket = self._bracket
        try:
            bracket("BEGIN IMMEDIATE")
            for job in group:
                bracket("SAVEPOINT job")
                try:
                    done.append((job, job.work(self._connection), None))
                except Exception as error:  # noqa: BLE001  # handed to the caller, who knows what it means
                    bracket("ROLLBACK TO job")
                    done.append((job, None, error))
                bracket("RELEASE job")
            bracket("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                bracket("ROLLBACK")
            down = StoreDown(f"database {self._connection.engine.url}: {error}")
            done = [(job, None, down) for job in group]
        _settle(done)


def _settle(done: list[tuple[_Job, Any, BaseException | None]]) -> None:
    """Wake all callers, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Any, BaseException | None]]] = {}
    for row in done:
        by_loop.setdefault(row[0].loop, []).append(row)

    def resolve(rows: list[tuple[_Job, Any, BaseException | None]]) -> None:
        for job, result, error in rows:
            if job.future.done():  # the caller was cancelled or timed out
                continue
            if error is None:
                job.future.set_result(result)
            elif isinstance(error, sa.exc.OperationalError):  # disk full, I/O error inside one piece
                job.future.set_exception(StoreDown(reason_of(error)))
            else:
                job.future.set_exception(error)

    for loop, rows in by_loop.items():
        with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody left waiting
            loop.call_soon_threadsafe(resolve, rows)


_NOW = sa.text("SELECT EXTRACT(EPOCH FROM clock_timestamp())")
_ONE = sa.text("SELECT 1")
_COLLISIONS = frozenset({"40P01", "40001"})
"""SQLSTATE: deadlock detected, could not serialise (postgresql.org/docs/current/errcodes-appendix.html)."""


def _with_driver(url: URL) -> URL:
    """Choose the driver: `postgresql://` means psycopg 3."""
    if url.get_backend_name() in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    return url


def _sqlite_engine(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    connect_args = {"check_same_thread": False, "timeout": _BUSY_S}
    engine = sa.create_engine(url, connect_args=connect_args, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        # FULL: a committed message survives a power cut.  https://sqlite.org/pragma.html#pragma_synchronous
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _postgres_engine(url: URL) -> Engine:
    return sa.create_engine(
        url,
        hide_parameters=True,  # errors would quote them, and they are customers' words
        pool_size=8,
        max_overflow=2,
        pool_timeout=10,
        connect_args={"connect_timeout": 5, "options": "-c statement_timeout=10000 -c lock_timeout=5000"},
    )


def reason_of(error: BaseException) -> str:
    """The error message of the driver or system, without statement and parameters (customers' text)."""
    said = getattr(error, "orig", None) or getattr(error, "strerror", None)
    if not said:  # our own refusals are SQLAlchemy's kind of error (context/migrations)
        said = error if isinstance(error, sa.exc.InvalidRequestError) else type(error).__name__
    return str(said).strip().split("\n")[0]
