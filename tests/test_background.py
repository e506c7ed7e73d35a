"""Background tasks that fail are restarted, counted and shown, without a customer's words."""

from __future__ import annotations

import asyncio
import logging

import pytest

from bot.metrics import Metrics
from context import background
from context.background import FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S, BackgroundTask
from tests.clock import Clock


class Work:
    """Breaks as often as it is told, each time after so many seconds; then goes on."""

    def __init__(self, *, breaks: int, after_s: float = 0.0) -> None:
        self.clock = Clock()
        self.begun = 0
        self.pauses: list[float] = []
        self.is_steady = asyncio.Event()
        self._breaks = breaks
        self._after_s = after_s

    async def go_on(self) -> None:
        self.begun += 1
        self.clock.move(self._after_s)
        if self.begun <= self._breaks:
            raise ValueError("my card is 4111 1111 1111 1111")
        self.is_steady.set()
        await asyncio.Event().wait()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.move(seconds)

    def task(self, name: str) -> BackgroundTask:
        return BackgroundTask(name, self.go_on, clock=self.clock, sleep=self.sleep)


async def test_what_breaks_is_begun_again_ever_more_slowly_counted_and_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work, metrics = Work(breaks=8), Metrics()
    kept = work.task("sealing, say")
    kept.start()
    kept.start()
    await work.is_steady.wait()
    assert work.begun == 9
    assert work.pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert work.pauses[-1] == LONGEST_PAUSE_S
    assert metrics.value("bot_background_failures_total", task="sealing, say") == 8
    state = background.health()
    assert (state.state, "sealing, say (ValueError)" in state.detail) == ("degraded", True)
    work.clock.move(STEADY_S + 1)
    assert background.health().state == "ok"
    await kept.stop()
    assert not kept.is_running
    lines = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 8
    assert "test_background.py" in lines[0].getMessage()  # where it broke, not what was in the error
    assert "4111" not in caplog.text


async def test_what_breaks_now_and_then_is_begun_again_at_once() -> None:
    work = Work(breaks=5, after_s=STEADY_S + 1)
    kept = work.task("retention, say")
    kept.start()
    await work.is_steady.wait()
    await kept.stop()
    assert work.pauses == [FIRST_PAUSE_S] * 5


async def test_what_is_over_is_over_and_may_be_started_again() -> None:
    times = 0

    async def once() -> None:
        nonlocal times
        times += 1

    kept = BackgroundTask("counting, say", once)
    for _ in range(2):
        kept.start()
        await asyncio.sleep(0)
        assert not kept.is_running
        await kept.stop()
        await kept.stop()
    assert times == 2
