"""The records of the HTTP API: the verdict on each answer, and the usage of its key.

Both are written in one transaction before the answer is sent: nothing is said that is not on record.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.engine import Connection

from context.api.keys import count
from context.db import Database
from context.turns import Chat
from context.verdicts import Verdicts

_ON_RECORD = ("verdict", "engine", "model", "prompt", "release", "tokens", "broke_off")


class ApiLedger:
    """Records answers.  Questions and answers themselves are not stored."""

    def __init__(self, db: Database, *, verdicts: Verdicts) -> None:
        self._db = db
        self._verdicts = verdicts

    async def note(
        self, chat: Chat, key_id: str, request: str, record: Mapping[str, object], *, tokens: int
    ) -> None:
        """Record one answer, given its `Reply.record`.  Raises `StoreDown`: then it must not be sent."""
        await self._db.write(
            lambda connection: self.add(connection, chat, key_id, request, record, tokens=tokens)
        )

    def add(
        self,
        connection: Connection,
        chat: Chat,
        key_id: str,
        request: str,
        record: Mapping[str, object],
        *,
        tokens: int,
    ) -> None:
        """The same within the caller's transaction."""
        now = self._db.now(connection)
        said = {name: record[name] for name in _ON_RECORD if name in record}
        self._verdicts.add(connection, chat, 0, {"request": request, **said}, now)
        count(connection, key_id, tokens=tokens, now=now)
