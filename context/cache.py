"""A cache of drafts in Redis; the key identifies everything that a draft depends on.

Entries expire.  If Redis is empty, slow or down, only the time is lost that the cache would have saved.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import RedisError, ResponseError

from context import keys
from context.breaker import Breaker
from context.turns import Chat

log = logging.getLogger(__name__)

TIMEOUT_S = 0.5
"""Time limit of one call, short beside the seconds that a model takes."""
REST_S, LONGEST_REST_S = 0.5, 15.0
"""Pauses after failures of Redis: the first one, and the longest."""


class DraftCache:
    """Stores values by key for `ttl_s` seconds.  The client belongs to the caller."""

    def __init__(
        self,
        client: aioredis.Redis,
        *,
        namespace: str,
        ttl_s: float,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._ttl_ms = math.ceil(ttl_s * 1000)
        self._timeout_s = timeout_s
        self._breaker = Breaker(rest_s=REST_S, longest_s=LONGEST_REST_S, clock=clock)

    async def get(self, key: str) -> bytes | None:
        """The value; None if there is none, it has expired, or Redis does not answer."""
        name = keys.draft(self._namespace, key)
        value = await self._ask(lambda: self._client.get(name))
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, *, alias: str = "") -> None:
        """Store a value, if Redis answers.  `alias` names the chat whose words it contains."""
        name = keys.draft(self._namespace, key)
        if not alias:
            await self._ask(lambda: self._client.set(name, value, px=self._ttl_ms))
            return
        mine, erased = keys.drafts(self._namespace, alias), keys.erased(self._namespace, alias)

        async def keep() -> None:
            # Registered before it is written, and checked for the mark after: `forget` cannot miss it.
            await self._client.sadd(mine, key)
            if await self._client.pttl(mine) < self._ttl_ms:  # what is kept longest decides
                await self._client.pexpire(mine, self._ttl_ms)
            await self._client.set(name, value, px=self._ttl_ms)
            if await self._client.exists(erased):
                await self._client.delete(name)

        await self._ask(keep)

    async def forget(self, chat: Chat, last_turn: int) -> bool:  # noqa: ARG002  # drafts know no turns
        """Drop values with words of this chat, including those being written; False without Redis."""
        mine, erased = keys.drafts(self._namespace, chat.alias), keys.erased(self._namespace, chat.alias)

        async def drop() -> bool:
            await self._client.set(erased, 1, px=math.ceil(keys.ERASED_AGE_S * 1000))
            for key in await self._client.smembers(mine):
                name = key.decode() if isinstance(key, bytes) else key
                await self._client.delete(keys.draft(self._namespace, name))
            await self._client.delete(mine)
            return True

        return bool(await self._ask(drop))

    async def _ask(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if not self._breaker.allows():
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await call()
        except ResponseError as error:  # it is there, but refuses: full, read-only
            self._breaker.succeeded()
            log.warning("Redis refuses the cache", extra={"error": type(error).__name__})
            return None
        except (RedisError, OSError, TimeoutError) as error:
            self._breaker.failed()
            log.warning("drafts are not cached, Redis fails", extra={"error": type(error).__name__})
            return None
        except BaseException:  # the turn was called off
            self._breaker.left()
            raise
        self._breaker.succeeded()
        return answer
