"""Keeps a model worker alive: starts it, listens to it, kills one that hangs, starts the next."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bot.engines.local.process import Process
from bot.engines.local.wire import Ask, Beat, Broken, Drop, Event, Loading, Order, Ready
from bot.errors import EngineUnavailable
from context.background import BackgroundTask

log = logging.getLogger(__name__)

BACK_OFF_S = (0.0, 0.5, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Before the next worker, by the number of quick deaths in a row."""
HANG_S = 60.0
HANG_CPU_S = 600.0
"""See `hang_s` of `LocalEngine`."""
RETRY_LOAD_S = 300.0
"""Before the next try to load a model that has never been loaded."""
PATIENCE_S = 20.0
"""A new question waits this long for a worker that is being replaced; then another engine is better."""
LAST_S = 5.0
"""A worker whose pipe is closed has this long to end by itself, so that its exit code is known."""
STEADY_S = 120.0
"""A worker that lived this long has earned a quick restart."""


class Keeper:
    """One worker at a time, from `start` to `close`."""

    def __init__(
        self,
        order: Order,
        *,
        load_timeout_s: float,
        hang_s: float | None,
        on_ready: Callable[[], None],
        on_event: Callable[[Event], None],
        on_death: Callable[[str], None],
    ) -> None:
        """Calls `on_ready` when a worker takes asks, `on_event` for its words, `on_death` with the reason."""
        self.order = order
        self.hang_s = hang_s
        self.choice: dict[str, Any] = {}
        """What was chosen for this machine and how much fits; empty until a worker has been ready."""
        self.beat = Beat()
        """The newest heartbeat."""
        self.state = "not started"
        """In words, for the operator."""
        self.restarts = 0
        self._load_timeout_s = load_timeout_s
        self._on_ready = on_ready
        self._on_event = on_event
        self._on_death = on_death
        self._process: Process | None = None
        self._keeping: BackgroundTask | None = None
        self._ready = asyncio.Event()
        self._first: asyncio.Future[None] | None = None
        self._heard = 0.0

    @property
    def is_ready(self) -> bool:
        """A worker is there that has answered a first question."""
        return self._ready.is_set()

    @property
    def pid(self) -> int | None:
        """The worker's process; None while there is none."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Return when the first worker is ready.

        Raises EngineUnavailable with the reason when it ends before that.  Starting is retried from time to
        time until `close`: a download may fail today and succeed tomorrow.
        """
        if self.is_ready:
            return
        if self._keeping is None:
            self._first = asyncio.get_running_loop().create_future()
            self._keeping = BackgroundTask("local engine", self._keep)
            self._keeping.start()
        assert self._first is not None
        await asyncio.shield(self._first)

    async def be_ready(self, *, patience_s: float) -> None:
        """Wait a little for a worker that is being replaced, not for one that loads for the first time."""
        if self.is_ready:
            return
        if self._keeping is None or not self.choice:
            raise EngineUnavailable(f"the local engine is not ready: {self.state}")
        try:
            async with asyncio.timeout(min(PATIENCE_S, patience_s)):
                await self._ready.wait()
        except TimeoutError as late:
            raise EngineUnavailable(f"the local engine is not ready: {self.state}") from late

    def send(self, message: Ask | Drop) -> None:
        """Tell the worker; nothing happens while there is none."""
        if self._process is not None:
            self._process.send(message)

    async def close(self) -> None:
        """End the worker.  Calling twice is harmless."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            await keeping.stop()
        self._ready.clear()
        self.state = "closed"
        self._end_start("the local engine was closed")

    async def _keep(self) -> None:
        """Start a worker, listen to it until it ends, start the next one."""
        deaths = 0
        while True:
            born = time.monotonic()
            try:
                reason = await self._live()
            except OSError as fault:
                reason = f"no process can be started: {fault}"
            lived = time.monotonic() - born
            self.state = f"the worker ended: {reason}"
            log.error("model worker ended after %.0f s: %s", lived, reason)
            self._end_start(reason)
            self._on_death(reason)
            deaths = 0 if lived > STEADY_S else deaths + 1
            self.restarts += 1
            await asyncio.sleep(self._back_off(deaths))

    def _end_start(self, reason: str) -> None:
        """End the waiting for the first worker."""
        if self._first is not None and not self._first.done():
            self._first.set_exception(EngineUnavailable(reason))
            self._first.exception()  # retrieved, even where nobody waits for it

    def _back_off(self, deaths: int) -> float:
        """Seconds until the next worker is started, after so many quick deaths in a row."""
        if not self.choice:  # none was ever ready: the cause is not in the answers
            return RETRY_LOAD_S
        return BACK_OFF_S[min(deaths, len(BACK_OFF_S) - 1)]

    async def _live(self) -> str:
        """One worker's life.  Returns why it ended."""
        self.state = "starting"
        self._process = process = await Process.begin(self.order)
        self._heard = time.monotonic()
        watching = BackgroundTask("watch on the model worker", partial(self._watch, process))
        watching.start()
        reason, patience_s = "", 0.0
        try:
            while (message := await process.receive()) is not None:
                self._heard = time.monotonic()
                if isinstance(message, Broken):
                    reason = message.reason
                else:
                    self._take(message)
            patience_s = LAST_S
        finally:
            self._ready.clear()
            await watching.stop()
            self._process = None
            code = await process.end(patience_s=patience_s)
        return reason or how_it_ended(code, list(process.last_words))

    async def _watch(self, process: Process) -> None:
        """Kill a worker that gives no sign of life."""
        while True:
            limit = self._load_timeout_s
            if self.is_ready:
                limit = self.hang_s or (HANG_CPU_S if self.choice.get("device") == "cpu" else HANG_S)
            silent = time.monotonic() - self._heard
            if silent > limit:
                log.error("model worker %s has been silent for %.0f s: killed", process.pid, silent)
                process.kill()
                return
            await asyncio.sleep(min(1.0, limit / 4))

    def _take(self, message: object) -> None:
        match message:
            case list():
                for event in message:
                    self._on_event(event)
            case Beat():
                self.beat = message
            case Loading():
                model = self.order.wish.model
                if message.stage not in self.state:
                    log.info("loading %s: %s", model, message.stage)
                self.state = f"loading {model}: {message.stage} {message.done:.0%}"
            case Ready():
                self.choice = message.choice
                self.state = "ready"
                self._ready.set()
                chosen = ", ".join(f"{name} {value}" for name, value in self.choice.items() if value)
                log.info("local engine ready: %s", chosen)
                assert self._first is not None
                if not self._first.done():
                    self._first.set_result(None)
                self._on_ready()
            case _:
                log.error("unknown message from the model worker: %s", type(message).__name__)


def how_it_ended(code: int, last_words: list[str]) -> str:
    """Why a worker ended that did not say so, from its exit code and the end of its standard error."""
    said = " / ".join(last_words[-3:])
    if code == -signal.SIGKILL:  # what the system does to the largest process when memory runs out
        return f"killed (SIGKILL), probably because this machine ran out of memory: {said}"
    return f"exit code {code}: {said}"
