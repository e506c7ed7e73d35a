"""Duties: tasks that one of several processes does at a time.

The holder renews its duty; if it dies, it loses the duty after a while.  For a moment two processes may both
believe to hold a duty, so this must do no harm: a duty saves double work, it is not a lock.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.engine import Connection

from context.db import Database


class Duties:
    """Takes and releases duties.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def take(self, name: str, holder: str, *, seconds: float) -> str:
        """Take or renew a duty for `seconds`, unless somebody else has it; returns the holder."""

        def work(connection: Connection) -> str:
            now = self._db.now(connection)
            values = {"name": name, "holder": holder, "until": now + seconds, "now": now}
            connection.execute(_TAKE, values)
            return str(connection.execute(_HOLDER, {"name": name}).scalar_one())

        return await self._db.write(work)

    async def give_up(self, name: str, holder: str) -> None:
        """Release the duty for others to take."""
        values = {"name": name, "holder": holder}
        await self._db.write(lambda connection: connection.execute(_GIVE_UP, values))


_TAKE = text("""
    INSERT INTO duties (name, holder, until) VALUES (:name, :holder, :until)
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE duties.holder = excluded.holder OR duties.until < :now""")
_HOLDER = text("SELECT holder FROM duties WHERE name = :name")
_GIVE_UP = text("DELETE FROM duties WHERE name = :name AND holder = :holder")
