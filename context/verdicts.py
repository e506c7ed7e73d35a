"""The verdict ledger: every check of a draft as a row in an audit chain that reveals later changes.

A row is added in the transaction that decides the turn, so no draft is decided without its verdict on record.
About a second later it gets its place in the chain, together with others: the chain has only one end, and if
every turn took its place there at once, the turns of all workers would wait for one another's commits.
`context.audit` has the computations of the chain; this module has its rows, its key and its verification.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection, Row

from context.audit import Break, Link, append, breaks, erased
from context.db import Database, StoreDown
from context.statement import Statement
from context.turns import Chat

log = logging.getLogger(__name__)

_EVERY_TURN = 2**62
KEY_BYTES = 32
SEAL_EVERY_S = 1.0
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
        payload = json.dumps({"turn": turn_id, **record}, ensure_ascii=False, allow_nan=False)
        values = {"chat": chat.key, "turn": turn_id, "at": now, "payload": payload}
        connection.execute(_ADD, values)

    async def keep_sealing(self, *, every_s: float = SEAL_EVERY_S) -> None:
        """Give whatever waits its place in the chain, another worker's too, while the process runs."""
        while True:
            try:
                if await self.waiting():
                    await self.seal()
            except StoreDown as error:
                log.warning("verdicts wait for their place in the chain", extra={"reason": str(error)})
            await asyncio.sleep(every_s)

    async def seal(self) -> None:
        """Give everything on record its place in the chain.  Raises `StoreDown`; nothing is lost then."""
        while await self._db.write(self._seal):
            pass

    async def close(self) -> None:
        """Seal what is left; where the database is gone the next start does it."""
        with contextlib.suppress(StoreDown):
            await self.seal()

    def _seal(self, connection: Connection) -> bool:
        """Some of it; False when there was nothing."""
        if not self._db.is_sqlite:
            connection.execute(_TAKE_LOCK, {"lock": _LOCK})
        rows = connection.execute(_UNSEALED if self._db.is_sqlite else _UNSEALED_LOCKED).all()
        if not rows:
            return False
        last = connection.execute(_LAST).first()
        link = _link(last) if last is not None else None
        sealed = []
        for row in rows:
            link = append(self._key, json.loads(row.payload or "{}"), at=row.at, after=link)
            if row.payload is None:
                link = erased(link)
            sealed.append(
                {
                    "number": link.number,
                    "chat": row.chat,
                    "turn": row.turn_id,
                    "at": link.at,
                    "payload": link.payload,
                    "salt": link.salt,
                    "digest": link.digest,
                    "seal": link.seal,
                }
            )
        connection.execute(_SEAL, sealed)
        connection.execute(_IS_SEALED, {"ids": [row.id for row in rows]})
        return True

    async def waiting(self) -> int:
        """How many rows have no place in the chain yet."""
        return await self._db.read(lambda connection: int(connection.execute(_WAITING).scalar_one()))

    async def head(self) -> Link | None:
        """The last link, to be noted outside the database; None while there is none."""

        def work(connection: Connection) -> Link | None:
            last = connection.execute(_LAST).first()
            return _link(last) if last is not None else None

        return await self._db.read(work)

    async def verify(self, *, head: Link | None = None) -> tuple[int, list[Break]]:
        """How many links the chain has, and everything that is wrong with it.  `head` was noted earlier."""
        count = 0

        def links(connection: Connection) -> Iterator[Link]:
            nonlocal count
            for row in connection.execution_options(yield_per=1000).execute(_ALL):
                count += 1
                yield _link(row)

        found = await self._db.read(lambda connection: list(breaks(self._key, links(connection), head=head)))
        return count, found


def erase(connection: Connection, chat: Chat, *, upto: int = _EVERY_TURN) -> int:
    """Take out what the rows say about a chat, up to a turn, and of how many; the chain still verifies."""
    values = {"chat": chat.key, "upto": upto}
    # In this order: what is being sealed at this moment is waited for, and then found in the chain.
    unsealed = connection.execute(_ERASE_UNSEALED, values).rowcount
    return unsealed + connection.execute(_ERASE, values).rowcount


def read_key(path: Path) -> bytes:
    """The key in a file of its own, made by the first call.  Raises OSError; ValueError when cut short."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written completely before it gets its name: a crash leaves no key that is cut short.
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
_ADD = Statement("INSERT INTO unsealed (chat, turn_id, at, payload) VALUES (:chat, :turn, :at, :payload)")
_UNSEALED = Statement("SELECT id, chat, turn_id, at, payload FROM unsealed ORDER BY id LIMIT 200")
# The erasure of a customer is waited for, and then seen.
_UNSEALED_LOCKED = Statement(_UNSEALED.text + " FOR UPDATE")
_WAITING = Statement("SELECT COUNT(*) FROM unsealed")
_IS_SEALED = Statement("DELETE FROM unsealed WHERE id IN :ids")
_SEAL = Statement("""
    INSERT INTO verdicts (number, chat, turn_id, at, payload, salt, digest, seal)
    VALUES (:number, :chat, :turn, :at, :payload, :salt, :digest, :seal)""")
_ERASE_UNSEALED = Statement("""
    UPDATE unsealed SET payload = NULL, chat = NULL WHERE chat = :chat AND turn_id <= :upto""")
_ERASE = Statement("""
    UPDATE verdicts SET payload = NULL, salt = NULL, chat = NULL WHERE chat = :chat AND turn_id <= :upto""")
