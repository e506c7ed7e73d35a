"""The verdict ledger: every check of a draft as a row, in a chain that shows what was changed later.

Rows are added in the transaction that decides the turn, so no draft is decided without its verdict
being on record.  `context.audit` has the arithmetic of the chain; here are its rows, its key and the
question whether it is whole.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection, Row

from context.audit import Break, Link, append, breaks
from context.db import Database
from context.statement import Statement
from context.turns import Chat

KEY_BYTES = 32
_LOCK = 7_205_140_312
"""PostgreSQL advisory lock: workers add to the chain one after the other."""


class Verdicts:
    """Adds to the chain and proves it.  `key` must be the same for every worker on one database."""

    def __init__(self, db: Database, *, key: bytes) -> None:
        self._db = db
        self._key = key

    def add(
        self, connection: Connection, chat: Chat, turn_id: int, record: Mapping[str, object], now: float
    ) -> None:
        """Add a row within the caller's transaction.  `record` holds JSON values, nobody's words."""
        if not self._db.is_sqlite:
            connection.execute(_TAKE_LOCK, {"lock": _LOCK})
        last = connection.execute(_LAST).first()
        link = append(
            self._key, {"turn": turn_id, **record}, at=now, after=_link(last) if last is not None else None
        )
        connection.execute(
            _ADD,
            {
                "number": link.number,
                "chat": chat.key,
                "turn": turn_id,
                "at": link.at,
                "payload": link.payload,
                "salt": link.salt,
                "digest": link.digest,
                "seal": link.seal,
            },
        )

    async def head(self) -> Link | None:
        """The last row, to be noted outside the database; None while there is none."""

        def work(connection: Connection) -> Link | None:
            last = connection.execute(_LAST).first()
            return _link(last) if last is not None else None

        return await self._db.read(work)

    async def verify(self, *, head: Link | None = None) -> tuple[int, list[Break]]:
        """How many rows there are, and everything that is wrong with them.  `head` was noted earlier."""
        count = 0

        def links(connection: Connection) -> Iterator[Link]:
            nonlocal count
            for row in connection.execution_options(yield_per=1000).execute(_ALL):
                count += 1
                yield _link(row)

        found = await self._db.read(lambda connection: list(breaks(self._key, links(connection), head=head)))
        return count, found


def erase(connection: Connection, chat: Chat) -> int:
    """Take out what the rows say about a chat, and of how many; the chain still verifies."""
    return connection.execute(_ERASE, {"chat": chat.key}).rowcount


def read_key(path: Path) -> bytes:
    """The key in a file of its own, made by the first call.  Raises OSError; ValueError when cut short."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written whole before it gets its name: whoever dies here leaves no key that is cut short.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name) as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.link(file.name, path)
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise ValueError(f"{path} is cut short: {len(key)} of {KEY_BYTES} bytes")
    return key


def _link(row: Row[Any]) -> Link:
    return Link(row.number, row.at, row.payload, row.salt, row.digest, row.seal)


_TAKE_LOCK = Statement("SELECT pg_advisory_xact_lock(:lock)")
_COLUMNS = "number, at, payload, salt, digest, seal"
_LAST = Statement(f"SELECT {_COLUMNS} FROM verdicts ORDER BY number DESC LIMIT 1")  # noqa: S608  (a constant)
_ALL = Statement(f"SELECT {_COLUMNS} FROM verdicts ORDER BY number")  # noqa: S608  (a constant)
_ADD = Statement("""
    INSERT INTO verdicts (number, chat, turn_id, at, payload, salt, digest, seal)
    VALUES (:number, :chat, :turn, :at, :payload, :salt, :digest, :seal)""")
_ERASE = Statement("UPDATE verdicts SET payload = NULL, salt = NULL, chat = NULL WHERE chat = :chat")
