"""Opens Redis: the operator's server, otherwise a private one, otherwise an in-memory replacement.

Everything in Redis can be rebuilt from SQL.  So the bot also starts while the operator's server is away, and
uses it as soon as it answers; it refuses to start only if that server refuses the bot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import redis.asyncio as aioredis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from context.background import BackgroundTask
from context.health import Health

log = logging.getLogger(__name__)

CONNECTIONS = 32
CLUSTER_CONNECTIONS = 128
"""To each node of a cluster, where one too many is refused and does not wait: two for every turn at once."""
CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 2.0
"""Time limit of one answer.  Callers that block on purpose need a client of their own."""
OPEN_TIMEOUT_S = 5.0
MEET_AGAIN_S = 2.0
"""How often a server is tried that was away when the bot started."""
SCRUB_TIMEOUT_S = 30.0


_TROUBLES = (RedisError, OSError, TimeoutError, ValueError)
"""All that the client raises."""
_REFUSALS = (ResponseError, AuthenticationError, AuthorizationError, ValueError)
"""Errors, or causes of one, with which trying again would not help."""


class RedisRefuses(Exception):
    """The server that the operator named refuses the bot.  The message holds no password."""


@dataclass(frozen=True, slots=True)
class RedisServer:
    """An open Redis: the shared client, and what is behind it."""

    client: aioredis.Redis
    kind: str
    """`server` (the operator's), `private` (our child) or `memory`."""
    standing: Callable[[], Health]

    async def health(self) -> Health:
        """Its health; answers within about a second and never raises."""
        standing = self.standing()
        if standing.state != "ok":
            return standing
        try:
            async with asyncio.timeout(1.0):
                await self.client.ping()
        except (RedisError, OSError, TimeoutError) as error:
            return Health("degraded", f"{standing.detail}: no answer ({type(error).__name__})")
        return standing

    async def scrub(self) -> bool:
        """Rewrite the file of our own server without deleted data; the operator's is left alone.

        False if it was not finished in time.
        """
        if self.kind != "private":
            return True
        try:
            async with asyncio.timeout(SCRUB_TIMEOUT_S):
                await self.client.bgrewriteaof()
                is_busy = True
                while is_busy:
                    await asyncio.sleep(0.02)
                    state = await self.client.info("persistence")
                    is_busy = bool(state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"])
                return bool(state["aof_last_bgrewrite_status"] == "ok")
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("Redis's file was not written anew", extra={"error": type(error).__name__})
            return False


@asynccontextmanager
async def open_redis(url: str | None, folder: Path) -> AsyncIterator[RedisServer]:
    """Redis for as long as the block lasts.

    `url` is the operator's server; without one a private server keeps its file in `folder`, which is
    its own.  Where that cannot be, values live in memory and health says so.  While the operator's server
    is away, every call fails and health is degraded.  Raises RedisRefuses if it answers and refuses us.
    """
    if url:
        async with _named(url) as server:
            yield server
        return
    try:
        from context.redis_child import CannotStart, RedisChild, programs  # noqa: PLC0415 - Unix only
    except ImportError:
        async with _memory("this system has no unix sockets") as server:
            yield server
        return
    try:
        child = RedisChild(folder, programs=programs())
        await child.start()
    except (CannotStart, OSError) as error:
        log.warning("no private Redis, context is kept in memory", extra={"reason": str(error)})
        async with _memory(str(error)) as server:
            yield server
        return
    client = _client(_pool(connection_class=UnixDomainSocketConnection, path=str(child.socket)))
    try:
        yield RedisServer(client, "private", child.health)
    finally:
        await client.aclose()
        await child.close()


@asynccontextmanager
async def _named(url: str) -> AsyncIterator[RedisServer]:
    named = _Named(url)
    meeting = BackgroundTask("redis", named.keep_meeting)
    try:
        try:
            await named.meet()
        except _TROUBLES as error:
            if _is_refusal(error):
                raise RedisRefuses(f"{named.name} refuses: {error}") from None
            named.note(error)
            meeting.start()
        client = cast("aioredis.Redis", _Late(named)) if meeting.is_running else named.client
        yield RedisServer(client, "server", lambda: Health("ok", named.name))
    finally:
        await meeting.stop()
        await named.client.aclose()


class _Named:
    """The operator's server.  Whether it is a cluster is only known once it has answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = _without_password(url)
        self.client = _client(_pool(url=url))
        self._trouble = ""

    async def meet(self) -> None:
        """Ask it for the first time.  Raises what the client raises."""
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await self.client.ping()
            if await _is_cluster(self.client):
                single, self.client = self.client, await _cluster(self._url)
                self.name += " (cluster)"
                await single.aclose()

    async def keep_meeting(self) -> None:
        """Try until it has answered: whoever set a wrong password can set the right one meanwhile."""
        while True:
            await asyncio.sleep(MEET_AGAIN_S)
            try:
                await self.meet()
            except _TROUBLES as error:
                self.note(error)
            else:
                log.info("Redis answers: %s", self.name)
                return

    def note(self, error: Exception) -> None:
        """Log why it cannot be used: once, not at every try."""
        trouble = f"{self.name}: {str(error) or type(error).__name__}"
        if trouble == self._trouble:
            return
        self._trouble = trouble
        verb = "refuses the bot" if _is_refusal(error) else "does not answer"
        log.warning("Redis %s, the bot works without it: %s", verb, trouble)


class _Late:
    """A client for a server that was away at first: a single server's until it turns out to be a cluster."""

    def __init__(self, named: _Named) -> None:
        self._named = named

    def __getattr__(self, name: str) -> Any:
        return getattr(self._named.client, name)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, _REFUSALS) or isinstance(error.__cause__, _REFUSALS)


async def _is_cluster(client: aioredis.Redis) -> bool:
    try:
        return bool((await client.info("cluster")).get("cluster_enabled"))
    except ResponseError:  # a user who may not ask, or a server that does not know
        return False


async def _cluster(url: str) -> aioredis.Redis:
    """A client of all nodes, found by asking the one that was named; each command goes where its keys are."""
    client: RedisCluster = RedisCluster.from_url(
        url,
        max_connections=CLUSTER_CONNECTIONS,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        # Again once, so that it looks where a failed node's slots are now; our writes may come twice.
        retry=Retry(NoBackoff(), 1),
        require_full_coverage=False,
        health_check_interval=0,
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    await client.initialize()
    return cast("aioredis.Redis", client)  # no subclass, but every command that we use is there


@asynccontextmanager
async def _memory(reason: str) -> AsyncIterator[RedisServer]:
    from fakeredis import FakeAsyncRedis  # noqa: PLC0415 - slow to import, and seldom needed

    client = FakeAsyncRedis()
    detail = f"context is kept in memory ({reason}); apt install redis-server, or set REDIS_URL"
    try:
        yield RedisServer(client, "memory", lambda: Health("degraded", detail))
    finally:
        await client.aclose()


def _client(pool: aioredis.BlockingConnectionPool) -> aioredis.Redis:
    return aioredis.Redis.from_pool(pool)


def _pool(*, url: str = "", **kind: Any) -> aioredis.BlockingConnectionPool:
    """Every default of redis-py that matters to us, set explicitly.

    Its own would raise at the 101st call at once instead of waiting, and repeat a command up to ten
    times when only the answer was lost, which stores it twice.
    """
    options: dict[str, Any] = {
        "max_connections": CONNECTIONS,
        "timeout": ANSWER_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if url:
        return aioredis.BlockingConnectionPool.from_url(url, **options)
    return aioredis.BlockingConnectionPool(**options, **kind)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    place = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    return f"{parts.scheme}://{place}"
