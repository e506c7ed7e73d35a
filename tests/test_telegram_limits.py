from __future__ import annotations

import asyncio
import heapq
import itertools

import pytest

from bot.telegram.limits import Limiter


class MovedClock:
    """Time that passes only when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), woken))
        await woken

    async def run(self, until: float) -> None:
        """Let everything happen that happens before `until` (seconds from the start)."""
        end = 1000.0 + until
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, woken = heapq.heappop(self._sleepers)
            self.now = max(self.now, at)
            if not woken.done():
                woken.set_result(None)
            await self._settle()
        self.now = end

    async def _settle(self) -> None:
        for _ in range(120):
            await asyncio.sleep(0)


class Sender:
    """Sends through the limiter and notes when each message went out."""

    def __init__(self, limiter: Limiter, clock: MovedClock) -> None:
        self.limiter = limiter
        self.clock = clock
        self.sent: list[tuple[float, str]] = []
        self.tasks: list[asyncio.Task[None]] = []

    def send(self, chat: str, n: int = 1) -> None:
        self.tasks += [asyncio.create_task(self._send(chat)) for _ in range(n)]

    async def _send(self, chat: str) -> None:
        await self.limiter.wait(chat)
        self.sent.append((round(self.clock.now - 1000.0, 3), chat))

    def times(self, chat: str) -> list[float]:
        return [at for at, to in self.sent if to == chat]


def world(overall_s: float = 30, chat_s: float = 1) -> tuple[Sender, MovedClock]:
    clock = MovedClock()
    limiter = Limiter(overall_s=overall_s, chat_s=chat_s, clock=clock, sleep=clock.sleep)
    return Sender(limiter, clock), clock


async def test_private_chat_gets_a_burst_of_three_then_one_a_second_on_average() -> None:
    sender, clock = world()
    sender.send("1", 7)
    await clock.run(10)
    assert sender.times("1") == [0, 0, 0, 3, 3, 3, 6]


async def test_group_gets_twenty_in_any_minute() -> None:
    sender, clock = world()
    sender.send("-100", 41)
    await clock.run(130)
    assert sender.times("-100") == [0] * 20 + [60] * 20 + [120]


@pytest.mark.parametrize(("rate", "expected"), [(2, [0, 0, 1, 1, 2]), (0.5, [0, 2, 4, 6, 8])])
async def test_ceiling_over_all_chats(rate: float, expected: list[float]) -> None:
    sender, clock = world(overall_s=rate)
    for chat in "12345":
        sender.send(chat)
    await clock.run(10)
    assert [at for at, _ in sender.sent] == expected


async def test_zero_means_no_ceiling() -> None:
    sender, clock = world(overall_s=0, chat_s=0)
    sender.send("1", 100)
    sender.send("-1", 100)
    await clock.run(0)
    assert len(sender.sent) == 200
    await asyncio.gather(*sender.tasks)


async def test_chat_with_much_to_say_does_not_hold_up_another() -> None:
    sender, clock = world(overall_s=2, chat_s=0)
    sender.send("1", 6)
    sender.send("2", 2)
    await clock.run(10)
    assert sender.times("2") == [1, 2]


async def test_paused_chat_waits_and_the_others_do_not() -> None:
    sender, clock = world()
    sender.limiter.pause("1", 5)
    sender.send("1")
    sender.send("2")
    await clock.run(10)
    assert sender.sent == [(0, "2"), (5, "1")]


async def test_chat_paused_while_it_queues_gives_way() -> None:
    sender, clock = world(overall_s=1)
    sender.send("1")
    sender.send("2")
    sender.send("3")
    await clock.run(0.5)
    sender.limiter.pause("2", 5)
    await clock.run(10)
    assert sender.sent == [(0, "1"), (1, "3"), (5.5, "2")]


@pytest.mark.parametrize(("gap", "third"), [(0.9, 8.9), (1.1, 0.0)])
async def test_everybody_waits_only_when_two_chats_are_flooded_together(gap: float, third: float) -> None:
    sender, clock = world()
    sender.limiter.pause("1", 8)
    await clock.run(gap)
    sender.limiter.pause("2", 8)
    sender.send("3")
    await clock.run(20)
    assert sender.times("3") == [third or gap]


async def test_one_chat_flooded_twice_stops_nobody_else() -> None:
    sender, clock = world()
    sender.limiter.pause("1", 8)
    sender.limiter.pause("1", 8)
    sender.send("2")
    await clock.run(1)
    assert sender.times("2") == [0]
    assert sender.limiter.paused_s("1") == pytest.approx(7)
    assert sender.limiter.paused_s("2") == 0


async def test_cancelled_wait_has_used_nothing() -> None:
    sender, clock = world(overall_s=1)
    sender.send("1")
    await clock.run(0)
    sender.send("2", 3)
    await clock.run(0.5)
    for task in sender.tasks[1:]:
        task.cancel()
    sender.send("3")
    await clock.run(5)
    assert sender.sent == [(0, "1"), (1, "3")]


async def test_idle_chats_are_forgotten() -> None:
    sender, clock = world(overall_s=0)
    for number in range(300):
        sender.send(str(number))
    await clock.run(1)
    assert sender.limiter.chats == 300
    for number in range(300, 640):
        sender.send(str(number))
        await clock.run(4 + (number - 300) * 0.1)
    assert sender.limiter.chats < 60


async def test_busy_means_that_a_message_would_have_to_wait() -> None:
    sender, clock = world(overall_s=2)
    assert not sender.limiter.is_busy("1")
    sender.send("1")
    await clock.run(0)
    assert not sender.limiter.is_busy("1")
    sender.send("2")
    await clock.run(0)
    assert sender.limiter.is_busy("1")
    await clock.run(2)
    assert not sender.limiter.is_busy("1")
