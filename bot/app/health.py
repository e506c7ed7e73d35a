"""The parts of a running app whose health is shown by `/health` and `/metrics`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bot.app.stores import Stores
from bot.app.telegram import Telegram
from bot.engines import Engine
from bot.guard import Guard
from bot.release.trial import Trial
from bot.worker import Worker
from context import background
from context.health import Health


@dataclass(frozen=True, slots=True)
class Parts:
    """All of them."""

    stores: Stores
    engine: Engine
    guard: Guard
    worker: Worker
    trial: Trial
    telegram: Telegram | None
    ready: asyncio.Event
    """Set when the engine can answer."""

    async def health(self) -> dict[str, Health]:
        """The health of each, by its name in `/health`."""
        states = await self.stores.health()
        states["engine"], states["guard"] = await asyncio.gather(self.engine.health(), self.guard.health())
        is_ready = self.ready.is_set()
        states["worker"] = self.worker.health() if is_ready else Health("degraded", "the engine starts")
        states["release"] = self.trial.health()
        states["background"] = background.health()
        if self.telegram is not None:
            states["telegram"] = self.telegram.receiver.health()
            if self.telegram.group is not None:
                states["staff's group"] = self.telegram.group.health()
        return states
