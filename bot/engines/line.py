"""The queue in front of the engine: the questions whose answers have not begun, in order.

It works with any engine and counts only what it knows for certain: an answer begins with its first word.  How
a server or the local model schedules its own work is up to them: roughly first come, first served, except for
short questions, which the local model lets pass.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from bot.engines import Draft, Engine, OnText
from context.health import Health
from prompts.prompt import Prompt

ENDS = 12
"""Number of finished answers from which the pace is computed."""
LEAST_ENDS = 4
RECENT_S = 60.0


@dataclass(slots=True, eq=False)
class _Place:
    affinity: str
    has_begun: bool = False


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a waiting customer may be told."""

    questions: int
    """Questions that were asked earlier and have not begun."""
    seconds: float | None
    """Seconds until their answer should begin, at the pace of the last answers; None if no pace is known."""


class Line:
    """An engine with a visible queue in front of it."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = engine.name
        self.model = engine.model
        self._engine = engine
        self._clock = clock
        self._places: dict[_Place, None] = {}
        self._ends: deque[float] = deque(maxlen=ENDS)

    async def start(self) -> None:
        """Start the engine."""
        await self._engine.start()
        self.model = self._engine.model

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        """The engine's draft.  Its place in the queue ends with the first word, or with the call."""
        place = _Place(prompt.affinity)
        self._places[place] = None

        def begun(piece: str) -> None:
            place.has_begun = True
            if on_text is not None:
                on_text(piece)

        try:
            draft = await self._engine.draft(prompt, on_text=begun)
            self._ends.append(self._clock())
            return draft
        finally:
            del self._places[place]
            if not self.waiting:  # from here on nobody is held up, and ends tell of how often we are asked
                self._ends.clear()

    @property
    def waiting(self) -> int:
        """Number of questions whose answers have not begun."""
        return sum(not place.has_begun for place in self._places)

    def ahead(self, affinity: str) -> Ahead | None:
        """The queue before the question of this chat; None if none of its questions waits."""
        before = 0
        for place in self._places:
            if place.has_begun:
                continue
            if place.affinity == affinity:
                return Ahead(before, self._seconds(before + 1))
            before += 1
        return None

    def _seconds(self, places: int) -> float | None:
        """The time in which so many answers finished recently."""
        ends = self._ends
        if len(ends) < LEAST_ENDS or self._clock() - ends[-1] > RECENT_S:
            return None
        return places * (ends[-1] - ends[0]) / (len(ends) - 1)

    async def health(self) -> Health:
        """The engine's health, and how many questions wait."""
        health = await self._engine.health()
        if not self.waiting:
            return health
        waits = "1 question waits" if self.waiting == 1 else f"{self.waiting} questions wait"
        return replace(health, detail=f"{health.detail}; {waits} for a first word")

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()
