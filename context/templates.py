"""Old versions of the prompt templates, so that a prompt can be rebuilt long after they changed."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from context.db import Database


class Templates:
    """Stores the sources of every version that was ever used."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(self, version: str, sources: Mapping[str, str]) -> None:
        """Store a version; a known one is left unchanged."""
        text = json.dumps(dict(sources), ensure_ascii=False)

        def work(connection: Connection) -> None:
            values = {"version": version, "sources": text, "now": self._db.now(connection)}
            connection.execute(_KEEP, values)

        await self._db.write(work)

    async def sources(self, version: str) -> dict[str, str] | None:
        """The templates of a version, by name; None if it is unknown."""

        def work(connection: Connection) -> str | None:
            return connection.execute(_SOURCES, {"version": version}).scalar_one_or_none()

        text = await self._db.read(work)
        return json.loads(text) if text else None

    async def versions(self) -> list[str]:
        """All versions, newest first."""
        return await self._db.read(lambda connection: [row.version for row in connection.execute(_VERSIONS)])


_KEEP = sa.text("""
    INSERT INTO templates (version, sources, at) VALUES (:version, :sources, :now) ON CONFLICT DO NOTHING""")
_SOURCES = sa.text("SELECT sources FROM templates WHERE version = :version")
_VERSIONS = sa.text("SELECT version FROM templates ORDER BY at DESC")
