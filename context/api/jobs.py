"""Jobs: bulk work submitted through the API, one picture per item, stored in the ledger's database.

A job takes part when it is complete; its items are claimed with a lease and a fencing number, like chats.
The result of an item, its verdict and the usage of its key are written in one transaction, so a process that
dies before it has done nothing, and one that comes too late writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.api.ledger import ApiLedger
from context.db import Database
from context.turns import Chat

CRASHES = 10
"""How often the process may die with an item in hand.  More than for other errors, since all items in hand
are blamed."""
KEPT_S = 7 * 86_400.0
"""How long the results of a finished job are kept."""
UNFINISHED_S = 86_400.0
"""How long a job that was never completely received is kept."""


class JobGone(Exception):
    """The job does not exist any more, or accepts no more items."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job."""

    id: str
    state: str
    """`receiving`, `waiting` (until all is done), `done` or `cancelled`."""
    total: int
    done: int
    failed: int
    created_at: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Item:
    """A claimed item of a job."""

    job_id: str
    number: int
    ask: str
    jpeg: bytes
    key_id: str
    fence: int
    crashes: int = 0
    """How often the process died with it in hand."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item of a job that is being received: a clean JPEG, or the `result` if it failed already."""

    number: int
    ask: str
    jpeg: bytes | None
    result: str | None = None


class Jobs:
    """Stores jobs.  Every method is one transaction."""

    def __init__(self, db: Database, *, ledger: ApiLedger) -> None:
        self._db = db
        self._ledger = ledger

    async def begin(self, job_id: str, key_id: str, *, once: str | None) -> str:
        """Start to receive a job and return its id, or that of a complete job with the same `once`.

        An incomplete job with the same `once` is deleted: its client died, or sends it again.
        """

        def work(connection: Connection) -> str:
            values = {"id": job_id, "key": key_id, "once": once, "now": self._db.now(connection)}
            before = connection.execute(_SAME, values).first() if once else None
            if before is not None and before.state != "receiving":
                return str(before.id)
            if before is not None:
                _delete(connection, [before.id])
            connection.execute(_BEGIN, values)
            return job_id

        return await self._db.write(work)

    async def add(self, job_id: str, items: Sequence[NewItem]) -> None:
        """Add items.  Raises `JobGone`."""

        def work(connection: Connection) -> None:
            _must_receive(connection, job_id)
            for item in items:
                values = {"id": job_id, "number": item.number, "ask": item.ask, "jpeg": item.jpeg}
                state = "received" if item.result is None else "failed"
                connection.execute(_ADD, values | {"state": state, "result": item.result})

        await self._db.write(work)

    async def close(self, job_id: str, total: int) -> None:
        """The job is complete, and its items may be claimed.  Raises `JobGone`."""

        def work(connection: Connection) -> None:
            _must_receive(connection, job_id)
            values = {"id": job_id, "total": total, "now": self._db.now(connection)}
            connection.execute(_CLOSE, values)
            connection.execute(_RELEASE_ITEMS, values)
            connection.execute(_END, values)

        await self._db.write(work)

    async def drop(self, job_id: str) -> None:
        """Delete a job that could not be received completely."""
        await self._db.write(lambda connection: _delete(connection, [job_id]))

    async def claim(self, limit: int, *, lease_s: float) -> list[Item]:
        """Lease up to `limit` items, oldest first, including those whose worker died."""

        def work(connection: Connection) -> list[Item]:
            now = self._db.now(connection)
            values = {"now": now, "limit": limit, "until": now + lease_s}
            lock = "" if self._db.is_sqlite else " FOR UPDATE SKIP LOCKED"
            connection.execute(_CRASHED, values)
            found = connection.execute(sa.text(_DUE + lock), values).all()
            return [self._take(connection, row, values) for row in found]

        return await self._db.write(work)

    def _take(self, connection: Connection, row: Row[Any], values: Mapping[str, object]) -> Item:
        which = {"id": row.job_id, "number": row.number}
        taken = connection.execute(_TAKE, {**values, **which}).one()
        key_id = connection.execute(_KEY, which).scalar_one()
        return Item(row.job_id, row.number, taken.ask, bytes(taken.jpeg), key_id, taken.fence, taken.crashes)

    async def renew(self, items: Sequence[Item], *, lease_s: float) -> list[Item]:
        """Renew the leases; returns the items that are still ours."""

        def work(connection: Connection) -> list[Item]:
            until = self._db.now(connection) + lease_s
            return [
                item for item in items if connection.execute(_RENEW, _ours(item) | {"until": until}).rowcount
            ]

        return await self._db.write(work) if items else []

    async def finish(
        self, item: Item, result: str, *, chat: Chat, record: Mapping[str, object], tokens: int
    ) -> bool:
        """Record a text, its verdict and its token usage; False if the item is no longer ours."""

        def work(connection: Connection) -> bool:
            if not self._settle(connection, item, "done", result):
                return False
            request = f"{item.job_id}/{item.number}"
            self._ledger.add(connection, chat, item.key_id, request, record, tokens=tokens)
            return True

        return await self._db.write(work)

    async def fail(self, item: Item, result: str) -> bool:
        """Record why there will be no text; False if the item is no longer ours."""
        return await self._db.write(lambda connection: self._settle(connection, item, "failed", result))

    def _settle(self, connection: Connection, item: Item, state: str, result: str) -> bool:
        if not self._db.is_sqlite:  # of two workers that end the last two items, one must see the other
            connection.execute(_LOCK_JOB, {"id": item.job_id})
        values = _ours(item) | {"state": state, "result": result, "now": self._db.now(connection)}
        if not connection.execute(_SETTLE, values).rowcount:
            return False
        connection.execute(_END, values)
        return True

    async def again(self, items: Sequence[Item], *, after_s: float) -> None:
        """Release items, to be done later; it does not count as a failure."""

        def work(connection: Connection) -> None:
            due = self._db.now(connection) + after_s
            for item in items:
                connection.execute(_AGAIN, _ours(item) | {"due": due})

        if items:
            await self._db.write(work)

    async def release_all(self) -> None:
        """Release all items: for a start that knows it is the only process."""
        await self._db.write(lambda connection: connection.execute(_RELEASE_ALL))

    async def cancel(self, key_id: str, job_id: str) -> bool:
        """Cancel a job; finished results stay readable.  False if there is nothing to cancel."""

        def work(connection: Connection) -> bool:
            values = {"id": job_id, "key": key_id, "now": self._db.now(connection)}
            if not connection.execute(_CANCEL, values).rowcount:
                return False
            connection.execute(_DROP_LEFT, values)
            return True

        return await self._db.write(work)

    async def progress(self, key_id: str, job_id: str) -> Progress | None:
        """The progress of a job of this key; None if it does not exist."""

        def work(connection: Connection) -> Progress | None:
            row = connection.execute(_ONE, {"id": job_id, "key": key_id}).first()
            return None if row is None else _progress(connection, row)

        return await self._db.read(work)

    async def newest(self, key_id: str, limit: int = 100) -> list[Progress]:
        """The key's jobs, newest first."""

        def work(connection: Connection) -> list[Progress]:
            rows = connection.execute(_NEWEST, {"key": key_id, "limit": limit}).all()
            return [_progress(connection, row) for row in rows]

        return await self._db.read(work)

    async def results(self, job_id: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        """Numbers and results of finished items with numbers above `after`, in order."""
        values = {"id": job_id, "after": after, "limit": limit}
        return await self._db.read(
            lambda connection: [(row.number, row.result) for row in connection.execute(_RESULTS, values)]
        )

    async def sweep(self) -> int:
        """Delete jobs that are too old; returns how many."""

        def work(connection: Connection) -> int:
            now = self._db.now(connection)
            rows = connection.execute(_OLD, {"ended": now - KEPT_S, "begun": now - UNFINISHED_S})
            old = [row.id for row in rows]
            _delete(connection, old)
            return len(old)

        return await self._db.write(work)


def _must_receive(connection: Connection, job_id: str) -> None:
    if connection.execute(_STATE, {"id": job_id}).scalar() != "receiving":
        raise JobGone(job_id)


def _delete(connection: Connection, job_ids: Sequence[str]) -> None:
    for job_id in job_ids:
        connection.execute(_DELETE_ITEMS, {"id": job_id})
        connection.execute(_DELETE, {"id": job_id})


def _ours(item: Item) -> dict[str, object]:
    return {"id": item.job_id, "number": item.number, "fence": item.fence}


def _progress(connection: Connection, row: Row[Any]) -> Progress:
    counts = {each.state: each.n for each in connection.execute(_COUNTS, {"id": row.id})}
    total = row.total or sum(counts.values())
    done, failed = counts.get("done", 0), counts.get("failed", 0)
    return Progress(row.id, row.state, total, done, failed, row.created_at, row.ended_at)


_SAME = sa.text("SELECT id, state FROM jobs WHERE key_id = :key AND once = :once")
_BEGIN = sa.text("""
    INSERT INTO jobs (id, key_id, once, state, created_at) VALUES (:id, :key, :once, 'receiving', :now)""")
_STATE = sa.text("SELECT state FROM jobs WHERE id = :id")
_ADD = sa.text("""
    INSERT INTO job_items (job_id, number, state, ask, jpeg, result)
    VALUES (:id, :number, :state, :ask, :jpeg, :result)""")
_CLOSE = sa.text("UPDATE jobs SET state = 'waiting', total = :total WHERE id = :id")
_RELEASE_ITEMS = sa.text("""
    UPDATE job_items SET state = 'waiting', due_at = :now WHERE job_id = :id AND state = 'received'""")
_END = sa.text("""
    UPDATE jobs SET state = 'done', ended_at = :now WHERE id = :id AND state = 'waiting' AND NOT EXISTS (
        SELECT 1 FROM job_items WHERE job_id = :id AND state IN ('waiting', 'running'))""")
_DELETE_ITEMS = sa.text("DELETE FROM job_items WHERE job_id = :id")
_DELETE = sa.text("DELETE FROM jobs WHERE id = :id")
_CRASHED = sa.text("""
    UPDATE job_items SET state = 'waiting', due_at = :now, lease_until = NULL, crashes = crashes + 1
    WHERE state = 'running' AND lease_until < :now""")
_DUE = """
    SELECT job_id, number FROM job_items WHERE state = 'waiting' AND due_at <= :now
    ORDER BY due_at, job_id, number LIMIT :limit"""
_TAKE = sa.text("""
    UPDATE job_items SET state = 'running', lease_until = :until, fence = fence + 1
    WHERE job_id = :id AND number = :number RETURNING ask, jpeg, fence, crashes""")
_KEY = sa.text("SELECT key_id FROM jobs WHERE id = :id")
_RENEW = sa.text("""
    UPDATE job_items SET lease_until = :until
    WHERE job_id = :id AND number = :number AND fence = :fence AND state = 'running'""")
_LOCK_JOB = sa.text("SELECT id FROM jobs WHERE id = :id FOR UPDATE")
_SETTLE = sa.text("""
    UPDATE job_items SET state = :state, result = :result, jpeg = NULL, lease_until = NULL
    WHERE job_id = :id AND number = :number AND fence = :fence AND state = 'running'""")
_AGAIN = sa.text("""
    UPDATE job_items SET state = 'waiting', due_at = :due, lease_until = NULL
    WHERE job_id = :id AND number = :number AND fence = :fence AND state = 'running'""")
_RELEASE_ALL = sa.text("""
    UPDATE job_items SET state = 'waiting', lease_until = NULL, crashes = crashes + 1
    WHERE state = 'running'""")
_CANCEL = sa.text("""
    UPDATE jobs SET state = 'cancelled', ended_at = :now
    WHERE id = :id AND key_id = :key AND state IN ('receiving', 'waiting')""")
_DROP_LEFT = sa.text("""
    DELETE FROM job_items WHERE job_id = :id AND state IN ('received', 'waiting', 'running')""")
_COLUMNS = "id, state, total, created_at, ended_at"
_ONE = sa.text(f"SELECT {_COLUMNS} FROM jobs WHERE id = :id AND key_id = :key")  # noqa: S608  (a constant)
_NEWEST = sa.text(
    f"SELECT {_COLUMNS} FROM jobs WHERE key_id = :key ORDER BY created_at DESC LIMIT :limit"  # noqa: S608  (a constant)
)
_COUNTS = sa.text("SELECT state, COUNT(*) AS n FROM job_items WHERE job_id = :id GROUP BY state")
_RESULTS = sa.text("""
    SELECT number, result FROM job_items
    WHERE job_id = :id AND number > :after AND state IN ('done', 'failed') ORDER BY number LIMIT :limit""")
_OLD = sa.text("""
    SELECT id FROM jobs WHERE ended_at < :ended OR (state = 'receiving' AND created_at < :begun)""")
