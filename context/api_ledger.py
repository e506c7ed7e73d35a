"""What is on record of the HTTP API: the verdict of each answer, and what its key has used.

Together in one transaction, and before the answer leaves: nothing is said that is not on record.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.engine import Connection

from context.api_keys import count
from context.db import Database
from context.turns import Chat
from context.verdicts import Verdicts

_ON_RECORD = ("verdict", "engine", "model", "prompt", "release", "tokens", "broke_off")


class ApiLedger:
    """Writes answers down.  What was asked and answered is not kept, only what became of it."""

    def __init__(self, db: Database, *, verdicts: Verdicts) -> None:
        self._db = db
        self._verdicts = verdicts

    async def note(
        self, chat: Chat, key_id: str, request: str, record: Mapping[str, object], *, tokens: int
    ) -> None:
        """Record one answer.  `record` is its `Reply.record`.  Raises `StoreDown`: then do not say it.

        One that broke off has `broke_off` (why) in place of a verdict; its tokens are an estimate.
        """
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
