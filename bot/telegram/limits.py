"""Our own rate limits for sending, so that Telegram never has to enforce its own.

Telegram publishes limits of about one message per second to a chat, 20 per minute to a group and 30 per
second overall (https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this).  Each is
kept exactly, in every time span of that length, not only on average.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_BURST = 3
"""Messages to one private chat at once, so that a long answer in parts is not slow."""
_GROUP_SPAN_S = 60.0
_TOGETHER_S = 1.0
_SWEPT = 2
"""Chats checked for idleness at each send: more than it may add, so that idle ones are removed."""


class Span:
    """Allows at most `count` in any `seconds`; a count of 0 allows everything."""

    __slots__ = ("_count", "_seconds", "_taken")

    def __init__(self, count: int, seconds: float) -> None:
        self._count = count
        self._seconds = seconds
        self._taken: deque[float] = deque(maxlen=count or None)

    def free_at(self, now: float) -> float:
        """When the next one is allowed; not later than `now` if at once."""
        if not self._count or len(self._taken) < self._count:
            return now
        return self._taken[0] + self._seconds

    def take(self, now: float) -> None:
        """Count one."""
        if self._count:
            self._taken.append(now)

    def is_idle(self, now: float) -> bool:
        """Whether everything it counted has expired."""
        return not self._taken or self._taken[-1] + self._seconds <= now


@dataclass(slots=True)
class _Lane:
    span: Span
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    paused_until: float = 0.0


class Limiter:
    """Whose turn it is to send.

    Fair: first come, first served within a chat; and a chat holds one place in the queue for the
    overall ceiling, however much it has to say.  A cancelled wait has used nothing.  `0` means no
    ceiling.
    """

    def __init__(
        self,
        *,
        overall_s: float = 30,
        chat_s: float = 1,
        group_min: int = 20,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._chat_s = chat_s
        self._group_min = group_min if chat_s else 0
        self._overall = _per_second(overall_s)
        self._clock = clock
        self._sleep = sleep
        self._lanes: OrderedDict[str, _Lane] = OrderedDict()
        self._turn = asyncio.Lock()
        self._paused_until = 0.0
        self._last_flood: tuple[str, float] = ("", float("-inf"))

    @property
    def chats(self) -> int:
        """Number of chats that it remembers."""
        return len(self._lanes)

    async def wait(self, chat: str) -> None:
        """Wait until a message to this chat may be sent, and count it."""
        lane = self._lane(chat)
        lane.waiting += 1
        try:
            async with lane.turn:
                while not await self._took_both(lane):
                    pass
        finally:
            lane.waiting -= 1

    def pause(self, chat: str, seconds: float) -> None:
        """Telegram said 429 for this chat: nothing goes to it for so long.

        Another chat's 429 within a second means that the whole bot is meant, and everybody waits.
        """
        now = self._clock()
        self._lane(chat).paused_until = now + seconds
        other, at = self._last_flood
        if other not in {"", chat} and now - at <= _TOGETHER_S:
            self._paused_until = max(self._paused_until, now + seconds)
        self._last_flood = (chat, now)

    def paused_s(self, chat: str) -> float:
        """Seconds for which nothing may be sent to this chat; 0 if it is not paused."""
        lane = self._lanes.get(chat)
        until = max(self._paused_until, lane.paused_until if lane else 0.0)
        return max(0.0, until - self._clock())

    def is_busy(self, chat: str) -> bool:
        """Whether a message to this chat would have to wait, which leaves no room for extras."""
        now = self._clock()
        return self.paused_s(chat) > 0 or self._turn.locked() or self._overall.free_at(now) > now

    async def _took_both(self, lane: _Lane) -> bool:
        """Wait for the chat, then for the bot; False when the chat was paused meanwhile and gives way."""
        await self._until(lambda: max(lane.paused_until, lane.span.free_at(self._clock())))
        async with self._turn:
            await self._until(lambda: max(self._paused_until, self._overall.free_at(self._clock())))
            now = self._clock()
            if lane.paused_until > now:
                return False
            lane.span.take(now)
            self._overall.take(now)
            return True

    async def _until(self, free_at: Callable[[], float]) -> None:
        while (delay := free_at() - self._clock()) > 0:
            await self._sleep(delay)

    def _lane(self, chat: str) -> _Lane:
        now = self._clock()
        self._sweep(now)
        lane = self._lanes.get(chat)
        if lane is None:
            is_group = chat.startswith("-")
            span = Span(self._group_min, _GROUP_SPAN_S) if is_group else _burst(self._chat_s)
            lane = self._lanes[chat] = _Lane(span)
        return lane

    def _sweep(self, now: float) -> None:
        for key in list(itertools.islice(self._lanes, _SWEPT)):
            lane = self._lanes[key]
            if lane.waiting or lane.paused_until > now or not lane.span.is_idle(now):
                self._lanes.move_to_end(key)
            else:
                del self._lanes[key]


def _per_second(rate: float) -> Span:
    if rate <= 0:
        return Span(0, 0)
    return Span(int(rate), int(rate) / rate) if rate >= 1 else Span(1, 1 / rate)


def _burst(rate: float) -> Span:
    return Span(_BURST, _BURST / rate) if rate > 0 else Span(0, 0)
