"""Drafts that were made before, and facts picked out of turns, by a key that names all that went into them.

A copy in Redis with an age: being empty, slow or gone costs the time that it would have saved.
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
"""For one call: asking must stay cheap beside the seconds that a model takes."""
REST_S, LONGEST_REST_S = 0.5, 15.0
"""After a failure Redis is left alone for the first, longer each time, at most for the second."""


class DraftCache:
    """Values by key for `ttl_s` seconds.  The client stays the caller's to close."""

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
        """What was put there; None when nothing was, it is too old, or Redis does not answer."""
        name = keys.draft(self._namespace, key)
        value = await self._ask(lambda: self._client.get(name))
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, *, alias: str = "") -> None:
        """Keep a value; without Redis it is not kept.  `alias` names the chat whose words are in it."""
        name = keys.draft(self._namespace, key)
        if not alias:
            await self._ask(lambda: self._client.set(name, value, px=self._ttl_ms))
            return
        mine, erased = keys.drafts(self._namespace, alias), keys.erased(self._namespace, alias)

        async def keep() -> None:
            # Noted before it is there, and looked for the mark after: `forget` misses it at neither.
            await self._client.sadd(mine, key)
            if await self._client.pttl(mine) < self._ttl_ms:  # what is kept longest decides
                await self._client.pexpire(mine, self._ttl_ms)
            await self._client.set(name, value, px=self._ttl_ms)
            if await self._client.exists(erased):
                await self._client.delete(name)

        await self._ask(keep)

    async def forget(self, chat: Chat, last_turn: int) -> bool:  # noqa: ARG002  # drafts know no turns
        """Drop what holds words of this chat, and keep no more of what is in work; False without Redis."""
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
