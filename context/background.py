"""Background tasks: work that goes on beside the turns while the process runs, restarted when it fails.

An asyncio task that ends with an unexpected error is noticed by nobody: verdicts stay unsealed, the
console's list stands still, for weeks.  A `BackgroundTask` logs the error, counts it, shows it in
`/health`, and starts again with a back-off.  Failures are a property of the process, like its memory, and
are counted for all of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from context.health import Health

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Before a restart; twice as long each time."""
STEADY_S = 120.0
"""A task that has run for so long since its last failure counts as healthy again."""


class BackgroundTask:
    """Runs `work` until `stop`.  `start` and `stop` may be called twice, and it may be started again."""

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`work` runs until it is cancelled; one that returns is finished and is not started again."""
        self.name = name
        self._work = work
        self._clock = clock
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._error = ""
        self._started_at = 0.0

    @property
    def is_running(self) -> bool:
        """Whether it was started and has neither finished nor been stopped."""
        return self._task is not None and not self._task.done()

    @property
    def trouble(self) -> str:
        """The type of the error that it failed with recently; empty while it is healthy."""
        is_steady = self._clock() > self._started_at + STEADY_S
        return "" if is_steady or not self.is_running else self._error

    def start(self) -> None:
        """Start it in the running event loop."""
        if self._task is None:
            self._error = ""
            self._task = asyncio.create_task(self._run(), name=self.name)
            _started.add(self)

    async def stop(self) -> None:
        """Cancel it, and return when it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self._started_at = self._clock()
            try:
                await self._work()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is reported and tried again
                _failures[self.name] += 1
                self._error = type(error).__name__
                log.error("background task failed: %s: %s", self.name, _place(error))  # noqa: TRY400 - see there
            else:
                return
            if self._clock() > self._started_at + STEADY_S:
                pause_s = FIRST_PAUSE_S
            self._started_at = self._clock()  # while it pauses it is not healthy
            await self._sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)


def failures() -> Mapping[str, int]:
    """How often each background task of this process has failed, by name.

    Those that never did are there with 0: from a figure that begins with 1, Prometheus sees no increase.
    """
    return dict.fromkeys(sorted(task.name for task in _started), 0) | dict(_failures)


def health() -> Health:
    """Degraded while a background task of this process has failed recently."""
    running = [task for task in _started if task.is_running]
    troubled = sorted(f"{task.name} ({task.trouble})" for task in running if task.trouble)
    if troubled:
        return Health("degraded", f"failed and restarted: {', '.join(troubled)}; see the log")
    return Health("ok", f"{len(running)} background tasks")


def _place(error: Exception) -> str:
    """The error's type and where it came from.  Not its message, which may quote a customer."""
    places = traceback.extract_tb(error.__traceback__)[-5:]
    steps = " > ".join(f"{place.filename}:{place.lineno} {place.name}" for place in places)
    return f"{type(error).__name__} at {steps}"


_failures: Counter[str] = Counter()
_started: weakref.WeakSet[BackgroundTask] = weakref.WeakSet()
