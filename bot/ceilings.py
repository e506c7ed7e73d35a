"""Usage limits: how much one customer may ask for, so that nobody uses up what all share."""

from __future__ import annotations

from dataclasses import dataclass

from context.turns import Batch, Kind
from context.usage import DAY_S, HOUR_S, Recent, Usage

AT_LEAST_S = 600.0
"""Shortest time between two notices about the same flood."""
_SPARE = 2


@dataclass(frozen=True, slots=True)
class Most:
    """The limits of one chat; 0 means no limit."""

    messages_per_min: int = 0
    messages_per_day: int = 0
    photos_per_hour: int = 0
    tokens_per_day: int = 0


@dataclass(frozen=True, slots=True)
class Over:
    """A limit that a chat has exceeded."""

    notice: str
    """Name of the notice that tells the customer so."""
    is_told: bool
    """Whether they were told recently: once is polite, twice is noise."""


class Ceilings:
    """Compares what a chat has used with its limits."""

    def __init__(self, usage: Usage, most: Most) -> None:
        self._usage = usage
        self._most = most

    async def over(self, batch: Batch) -> Over | None:
        """The limit that a batch exceeds; None if it exceeds none.

        There is no limit for commands, since one of them calls a person; nor for staff, nor for a chat that a
        person has taken over.
        """
        most = self._most
        free = batch.holder is not None or batch.arrivals[0].kind in {Kind.COMMAND, Kind.STAFF}
        if most == Most() or free:
            return None
        looked = max(most.messages_per_min, most.messages_per_day, most.photos_per_hour) + _SPARE
        recent = await self._usage.recent(batch.chat, most=looked)
        found = self._beyond(recent)
        if found is None:
            return None
        notice, window_s = found
        return Over(notice, recent.told_s is not None and recent.told_s < window_s)

    def _beyond(self, recent: Recent) -> tuple[str, float] | None:
        """The notice about the exceeded limit, and for how many seconds one notice is enough."""
        most = self._most
        if 0 < most.tokens_per_day <= recent.tokens_in_day:
            return "limit_day", DAY_S
        if 0 < most.messages_per_day < recent.messages_in_day:
            return "limit_day", DAY_S
        if 0 < most.photos_per_hour < recent.photos_in_hour:
            return "limit_photos", HOUR_S
        if 0 < most.messages_per_min < recent.messages_in_minute:
            return "limit_minute", AT_LEAST_S
        return None
