"""The context window: the last turns of each chat, cached in Redis.

The truth is in SQL; a window is a copy of its end.  The caller knows from the ledger which turn is the
newest, so a copy is used only if it ends with exactly that turn; every push says which turn it follows.  A
window that was lost, evicted, missed a push or dates from before a reset is therefore never mistaken for the
truth: it is read from SQL again and put back.

    read: missing, or ends with another turn than `newest`  ->  refill from SQL, put back
    push: ends with the turn before it                      ->  append; too many: trim, several at a time
    push: missing, and the ledger had nothing before        ->  a new window of one
    push: ends with this turn already                       ->  nothing, it came twice
    push: anything else                                     ->  drop it, the next reader refills
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from context import keys
from context.breaker import Breaker
from context.facts import facts_from, written
from context.health import Health
from context.turns import LANGUAGES, Chat, Photo, Turn

log = logging.getLogger(__name__)

VERSION = 2
"""Version of the JSON below.  A window of another version or size is read from SQL."""
TIMEOUT_S = 1.0
"""Time limit of one call, including the wait for a connection: 500 chats at once take 0.3 s on two busy
cores."""
REST_S, LONGEST_REST_S = 0.5, 15.0
"""Pauses after failures of Redis: the first one, and the longest."""

# Redis 6.2 has no Functions, so these are scripts.  An element is `<turn id> <json>`.
_PUSH = """
local tail = redis.call('LINDEX', KEYS[1], -1)
local newest = tail and string.match(tail, '^(%d+) ') or '0'
local id, after = ARGV[1], ARGV[2]
local gone = redis.call('GET', KEYS[2])
if gone and tonumber(id) <= tonumber(gone) then return 'gone' end
if newest == id then return 'twice' end
if newest ~= after then
    redis.call('DEL', KEYS[1])
    return 'dropped'
end
if redis.call('RPUSH', KEYS[1], ARGV[3]) > tonumber(ARGV[4]) then
    redis.call('LTRIM', KEYS[1], -tonumber(ARGV[6]), -1)
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 'pushed'
"""
_PUT = """
redis.call('DEL', KEYS[1])
local gone = redis.call('GET', KEYS[2])
if gone and tonumber(string.match(ARGV[#ARGV], '^(%d+) ')) <= tonumber(gone) then return 'gone' end
for i = 2, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 'put'
"""
_SHA = {script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (_PUSH, _PUT)}

Refill = Callable[[Chat, int], Awaitable[Sequence[Turn]]]


class ContextWindow:
    """The last turns of every chat.  Redis being empty, slow or gone costs speed, never turns.

    `refill` reads from SQL: the last so many remembered turns of a chat, oldest first.  Without a
    client every reading comes from there.  The client stays the caller's to close.

    `trim` turns leave at a time: with 5 turns and a trim of 3 there are 3, 4, 5, 3, ... of them.  A prompt
    that begins as the last one did costs the model only its end, and each trim gives that up.
    """

    def __init__(
        self,
        client: aioredis.Redis | None,
        *,
        refill: Refill,
        namespace: str,
        turns: int = 5,
        trim: int = 1,
        ttl_s: float = keys.WINDOW_AGE_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._refill = refill
        self._namespace = namespace
        self._turns = turns
        self._fewest = max(1, turns - trim + 1)
        self._shape = turns if trim == 1 else f"{self._fewest} to {turns}"
        """Written into each turn: a window of another shape is read from SQL."""
        self._ttl_ms = math.ceil(ttl_s * 1000)
        self._timeout_s = timeout_s
        self._breaker = Breaker(rest_s=REST_S, longest_s=LONGEST_REST_S, clock=clock)
        self._trouble = ""
        self._is_refused = False
        """Whether Redis answers, but took no turn when it was last given one: it is full, or read-only."""

    async def last(self, chat: Chat, *, newest: int) -> tuple[Turn, ...]:
        """The last turns of the chat, oldest first, empty for a new one.

        `newest` is the id of its newest remembered turn by the ledger, 0 when there is none.
        """
        if not newest or not self._turns:
            return ()
        key = keys.window(self._namespace, chat)
        stored = await self._ask(lambda client: client.lrange(key, -self._turns, -1))
        turns = self._decoded(stored) if stored else ()
        if turns and turns[-1].id == newest:
            return turns
        turns = tuple(await self._refill(chat, self._turns))[-self._turns :]
        if turns:
            await self._run(_PUT, chat, self._ttl_ms, *map(self._encoded, turns))
        return turns

    async def push(self, chat: Chat, turn: Turn, *, after: int | None = None) -> None:
        """Add a turn that the ledger has closed.  Once, twice or late: no window is wrong after it.

        `after` is the newest turn that the ledger had before this one (`Batch.last_turn`), 0 when it had
        none.  Without it nobody knows where the turn belongs, and the window is dropped.
        """
        if not self._turns:
            return
        place = "unknown" if after is None else after
        words = self._encoded(turn)
        await self._run(_PUSH, chat, turn.id, place, words, self._turns, self._ttl_ms, self._fewest)

    async def forget(self, chat: Chat, last_turn: int) -> bool:
        """Delete the copy, and take no turn up to this one any more; False when Redis could not be asked."""
        age_ms = math.ceil(keys.ERASED_AGE_S * 1000)

        async def drop(client: aioredis.Redis) -> bool:
            await client.set(keys.gone(self._namespace, chat), last_turn, px=age_ms)
            await client.delete(keys.window(self._namespace, chat))
            return True

        return self._client is None or bool(await self._ask(drop))

    async def health(self) -> Health:
        """Whether the copies can be used; the answers are right either way."""
        if self._client is None:
            return Health("degraded", "no Redis: context is read from SQL")
        if await self._ask(lambda client: client.ping()) is None:
            return Health("degraded", f"Redis fails ({self._trouble}): context is read from SQL")
        if self._is_refused:
            return Health("degraded", f"Redis takes no turns ({self._trouble}): context is read from SQL")
        return Health("ok", f"last {self._turns} turns in Redis")

    async def _run(self, script: str, chat: Chat, *values: bytes | int | str) -> None:
        names = keys.window(self._namespace, chat), keys.gone(self._namespace, chat)

        async def call(client: aioredis.Redis) -> Any:
            try:
                return await client.evalsha(_SHA[script], len(names), *names, *values)
            except NoScriptError:  # a server that has just started
                return await client.eval(script, len(names), *names, *values)

        if await self._ask(call) == b"pushed":
            self._is_refused = False
            self._note("")

    async def _ask(self, call: Callable[[aioredis.Redis], Awaitable[Any]]) -> Any:
        """The answer of Redis; None if it cannot answer now, or refuses."""
        if self._client is None or not self._breaker.allows():
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await call(self._client)
        except ResponseError as error:  # it is there, but refuses: full, read-only, another's key
            self._breaker.succeeded()
            self._is_refused = True
            self._note(type(error).__name__)
            return None
        except (RedisError, OSError, TimeoutError) as error:
            self._breaker.failed()
            self._note(type(error).__name__)
            return None
        except BaseException:  # the turn was called off
            self._breaker.left()
            raise
        self._breaker.succeeded()
        # A full one can still be read, and even filled by a script that deletes first.
        if not self._is_refused:
            self._note("")
        return answer

    def _note(self, trouble: str) -> None:
        """Log changes of the state only, not every turn of an outage."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.warning("context is read from SQL, Redis fails", extra={"error": trouble})
        else:
            log.info("Redis answers again")

    async def clear(self) -> bool:
        """Delete all windows, because the database was replaced.  False if Redis did not answer."""
        if self._client is None:
            return True
        try:
            for pattern in keys.of_windows(self._namespace):
                async for key in self._client.scan_iter(match=pattern, count=1000):
                    await self._client.unlink(key)
        except (RedisError, OSError):
            return False
        return True

    def _encoded(self, turn: Turn) -> bytes:
        value = {
            "v": VERSION,
            "of": self._shape,
            "text": turn.text,
            "reply": turn.reply,
            "photos": [
                [photo.sha256, photo.width, photo.height, photo.number, written(photo.clip, photo.flaw)]
                for photo in turn.photos
            ],
            "at": turn.at,
            "language": turn.language,
        }
        words = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return f"{turn.id} {words}".encode("utf-8", "surrogatepass")

    def _decoded(self, stored: Sequence[bytes]) -> tuple[Turn, ...]:
        """The turns; none at all if one of them is not exactly what we would write."""
        try:
            return tuple(_turn(element, self._shape) for element in stored)
        except (ValueError, TypeError, KeyError):
            log.info("a window was not written by this version and size, it is read from SQL")
            return ()


def _turn(element: bytes, shape: int | str) -> Turn:
    number, _, words = element.partition(b" ")
    value = json.loads(words.decode("utf-8", "surrogatepass"))
    if value["v"] != VERSION or value["of"] != shape:
        raise ValueError("another version or shape")
    text, reply, at, language = value["text"], value["reply"], value["at"], value["language"]
    if not (isinstance(text, str) and isinstance(reply, str) and isinstance(at, int | float)):
        raise TypeError("not a turn")
    if language not in LANGUAGES:
        raise ValueError("not a language of ours")
    return Turn(int(number), text, reply, tuple(map(_photo, value["photos"])), float(at), language)


def _photo(fields: list[Any]) -> Photo:
    sha256, width, height, number, facts = fields
    if not (isinstance(sha256, str) and all(type(size) is int for size in (width, height, number))):
        raise TypeError("not a photo")
    return Photo(sha256, width, height, number, *facts_from(facts))
