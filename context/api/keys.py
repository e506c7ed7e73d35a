"""Keys of the HTTP API: whose they are, how much they may be used, and how much they were.

A key is shown once, when it is created; only its SHA-256 is stored.  Since a key is 32 random bytes, a slow
hash would protect nothing that a fast one does not.
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
"""Lets people and secret scanners recognise a key."""
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of a key; 0 means no limit."""

    requests_per_min: int = 600
    tokens_per_day: int = 0
    streams: int = 64
    """Concurrent requests."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is stored about a key, which is not the key itself."""

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
    """The digest of a key, as it is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeys:
    """Creates and revokes keys, and counts their use.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, name: str, allowance: Allowance) -> tuple[ApiKey, str]:
        """Create a key; returns its record, and the only copy of the key itself."""
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
        """All keys ever created, oldest first."""
        return await self._db.read(lambda connection: [_key(row) for row in connection.execute(_ALL)])

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key and cancel its jobs; False if no such key is valid."""

        def work(connection: Connection) -> bool:
            values = {"id": key_id, "now": self._db.now(connection)}
            if not connection.execute(_REVOKE, values).rowcount:
                return False
            connection.execute(_DROP_ITEMS, values)
            connection.execute(_END_JOBS, values)
            return True

        return await self._db.write(work)

    async def used(self, key_ids: Sequence[str]) -> dict[str, Used]:
        """The usage of keys today; keys without any are left out."""

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
