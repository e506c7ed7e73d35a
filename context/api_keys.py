"""Keys of the HTTP API: who has one, how much it may ask for, what it has used.

A key is shown once, when it is made; kept is its SHA-256.  A key is 32 random bytes, so a slow hash
would protect nothing that a fast one does not.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database

PREFIX = "sk-bot-"
"""So that secret scanners, and people, know one when they see it."""
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much a key may ask for; 0 is no limit."""

    requests_per_min: int = 600
    tokens_per_day: int = 0
    streams: int = 64
    """Requests at the same time."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, without the key."""

    id: str
    name: str
    digest: str
    allowance: Allowance = Allowance()
    created_at: float = 0.0
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """What a key has used on one day (UTC)."""

    requests: int = 0
    tokens: int = 0


def digest_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeys:
    """Makes and revokes keys, and counts what they use.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, name: str, allowance: Allowance) -> tuple[ApiKey, str]:
        """Make a key; returns it with the only copy of what has to be sent."""
        plain = PREFIX + secrets.token_urlsafe(32)
        made = ApiKey("k" + secrets.token_hex(4), name, digest_of(plain), allowance)

        def work(connection: Connection) -> None:
            values = {"id": made.id, "name": name, "digest": made.digest, "now": self._db.now(connection)}
            limits = {
                "requests": allowance.requests_per_min,
                "tokens": allowance.tokens_per_day,
                "streams": allowance.streams,
            }
            connection.execute(_ADD, values | limits)

        await self._db.write(work)
        return made, plain

    async def every(self) -> list[ApiKey]:
        """All that were ever made, oldest first."""
        return await self._db.read(lambda connection: [_key(row) for row in connection.execute(_ALL)])

    async def revoke(self, key_id: str) -> bool:
        """Take a key back and end its jobs; False when no such key is in force."""

        def work(connection: Connection) -> bool:
            values = {"id": key_id, "now": self._db.now(connection)}
            if not connection.execute(_REVOKE, values).rowcount:
                return False
            connection.execute(_DROP_ITEMS, values)
            connection.execute(_END_JOBS, values)
            return True

        return await self._db.write(work)

    async def used(self, key_ids: Sequence[str]) -> dict[str, Used]:
        """What keys have used today; those that used nothing are left out."""

        def work(connection: Connection) -> dict[str, Used]:
            values = {"ids": list(key_ids), "day": day_of(self._db.now(connection))}
            rows = connection.execute(_USED, values)
            return {row.key_id: Used(row.requests, row.tokens) for row in rows}

        return await self._db.read(work) if key_ids else {}


def count(connection: Connection, key_id: str, *, tokens: int, now: float) -> None:
    """Add one request to what a key has used today, within the caller's transaction."""
    connection.execute(_COUNT, {"id": key_id, "day": day_of(now), "tokens": tokens})


def day_of(now: float) -> int:
    """The day (UTC), counted from 1970."""
    return int(now // DAY_S)


def _key(row: Row[Any]) -> ApiKey:
    allowance = Allowance(row.requests_per_min, row.tokens_per_day, row.streams)
    return ApiKey(row.id, row.name, row.digest, allowance, row.created_at, row.revoked_at)


_ADD = sa.text("""
    INSERT INTO api_keys (id, name, digest, requests_per_min, tokens_per_day, streams, created_at)
    VALUES (:id, :name, :digest, :requests, :tokens, :streams, :now)""")
_ALL = sa.text("""
    SELECT id, name, digest, requests_per_min, tokens_per_day, streams, created_at, revoked_at
    FROM api_keys ORDER BY created_at, id""")
_REVOKE = sa.text("UPDATE api_keys SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL")
_DROP_ITEMS = sa.text("""
    DELETE FROM job_items WHERE state IN ('received', 'waiting', 'running') AND job_id IN (
        SELECT id FROM jobs WHERE key_id = :id AND state IN ('receiving', 'waiting'))""")
_END_JOBS = sa.text("""
    UPDATE jobs SET state = 'cancelled', ended_at = :now
    WHERE key_id = :id AND state IN ('receiving', 'waiting')""")
_USED = sa.text(
    "SELECT key_id, requests, tokens FROM api_usage WHERE key_id IN :ids AND day = :day"
).bindparams(sa.bindparam("ids", expanding=True))
_COUNT = sa.text("""
    INSERT INTO api_usage (key_id, day, requests, tokens) VALUES (:id, :day, 1, :tokens)
    ON CONFLICT (key_id, day) DO UPDATE SET requests = api_usage.requests + 1,
                                            tokens = api_usage.tokens + excluded.tokens""")
