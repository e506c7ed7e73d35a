"""API keys, from the settings and from the database, and how much each of them may still use.

Requests a minute and concurrent requests are counted in this process, tokens a day in the database, for
all processes together.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

from bot.web.api.refusal import ApiError
from context.api.keys import DAY_S, ApiKey, ApiKeys, digest_of
from context.db import StoreDown

LOOK_AGAIN_S = 5.0
"""For this long, a key that was revoked or created elsewhere may go unnoticed."""
MAX_KEY_CHARS = 512


def keys_from(plain: Sequence[str]) -> tuple[ApiKey, ...]:
    """Keys from the settings, with the default limits."""
    digests = [digest_of(key) for key in plain]
    return tuple(ApiKey(f"env-{digest[:8]}", "settings", digest) for digest in digests)


@dataclass(slots=True)
class _Meter:
    """What one key has used in this process."""

    room: float
    at: float
    running: int = 0
    tokens: int = 0
    """Used today, as far as this process knows."""


@dataclass(slots=True)
class Pass:
    """A request that was let in: whose it is, and how to count what it uses."""

    key: ApiKey
    remaining: int
    _meter: _Meter = field(repr=False)

    def use(self, tokens: int) -> None:
        """Count tokens, until the database is read again."""
        self._meter.tokens += tokens

    def headers(self) -> dict[str, str]:
        """The headers in which OpenAI's clients read their limits."""
        most = self.key.allowance.requests_per_min
        if not most:
            return {}
        return {
            "x-ratelimit-limit-requests": str(most),
            "x-ratelimit-remaining-requests": str(self.remaining),
        }


class Keyring:
    """Knows the keys.  `own` are those from the settings."""

    def __init__(
        self, *, own: Sequence[ApiKey], store: ApiKeys, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._own = tuple(own)
        self._store = store
        self._clock = clock
        self._known = self._own
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._meters: dict[str, _Meter] = {}

    async def who(self, request: Request) -> ApiKey:
        """The key of a request.  Raises `ApiError`: 401, or 404 if the API is off."""
        await self._look()
        if not self._known:
            raise ApiError(404, "The API is off: it has no key (API_KEYS, `python -m bot keys add`).")
        given = _sent(request)
        digest = digest_of(given)
        found = None
        for key in self._known:  # always all of them, so that the time taken reveals nothing
            if hmac.compare_digest(digest.encode(), key.digest.encode()):
                found = key
        if found is None or not given:
            what = "Incorrect API key provided." if given else "No API key: send Authorization: Bearer <key>."
            raise ApiError(401, what, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        return found

    @contextmanager
    def enter(self, key: ApiKey) -> Iterator[Pass]:
        """One request of the key's, for as long as it runs.  Raises `ApiError` 429."""
        meter, most = self._meter(key), key.allowance
        now = self._clock()
        if most.requests_per_min:
            full = float(most.requests_per_min)
            meter.room = min(full, meter.room + (now - meter.at) * full / 60)
            meter.at = now
            if meter.room < 1:
                wait_s = (1 - meter.room) * 60 / full
                raise _limited(f"{most.requests_per_min} requests a minute", "rate_limit_exceeded", wait_s)
        if most.streams and meter.running >= most.streams:
            raise _limited(f"{most.streams} requests at the same time", "too_many_streams", 1)
        if self.is_spent(key):
            rest_s = DAY_S - time.time() % DAY_S
            raise _limited(f"{most.tokens_per_day} tokens a day", "insufficient_quota", rest_s)
        meter.room -= 1
        meter.running += 1
        try:
            yield Pass(key, int(meter.room), meter)
        finally:
            meter.running -= 1

    def is_spent(self, key: ApiKey) -> bool:
        """Whether the key has used up today's tokens."""
        most = key.allowance.tokens_per_day
        return bool(most) and self._meter(key).tokens >= most

    async def find(self, key_id: str) -> ApiKey | None:
        """A valid key, by its id."""
        await self._look()
        return next((key for key in self._known if key.id == key_id), None)

    def _meter(self, key: ApiKey) -> _Meter:
        fresh = _Meter(float(key.allowance.requests_per_min), self._clock())
        return self._meters.setdefault(key.id, fresh)

    async def _look(self) -> None:
        """Read the keys and their usage every few seconds; if that fails, the old ones stay."""
        if self._clock() < self._looked_at + LOOK_AGAIN_S:
            return
        async with self._looking:
            if self._clock() >= self._looked_at + LOOK_AGAIN_S:
                await self._read()
                self._looked_at = self._clock()

    async def _read(self) -> None:
        try:
            made = [key for key in await self._store.every() if key.revoked_at is None]
            self._known = (*self._own, *made)
            used = await self._store.used([key.id for key in self._known if key.allowance.tokens_per_day])
        except StoreDown:
            return
        in_force = {key.id for key in self._known}
        self._meters = {name: meter for name, meter in self._meters.items() if name in in_force}
        for key in self._known:
            self._meter(key).tokens = used[key.id].tokens if key.id in used else 0


def _sent(request: Request) -> str:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    given = given.strip()
    return given if scheme.lower() == "bearer" and len(given) <= MAX_KEY_CHARS else ""


def _limited(what: str, code: str, wait_s: float) -> ApiError:
    headers = {"Retry-After": str(max(1, round(wait_s)))}
    return ApiError(429, f"This key may have {what}.", code=code, headers=headers)
