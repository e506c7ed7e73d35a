"""Ceilings: how much one customer may ask for, so that one cannot use up what all share."""

from __future__ import annotations

from dataclasses import dataclass

from context.turns import Batch, Kind
from context.usage import DAY_S, HOUR_S, Recent, Usage

AT_LEAST_S = 600.0
"""Between two notices about the same flood."""
_SPARE = 2


@dataclass(frozen=True, slots=True)
class Most:
    """What one chat may have; 0 is no ceiling."""

    messages_per_min: int = 0
    messages_per_day: int = 0
    photos_per_hour: int = 0
    tokens_per_day: int = 0


@dataclass(frozen=True, slots=True)
class Over:
    """A ceiling that is reached."""

    notice: str
    """What the customer is told."""
    is_told: bool
    """They have been told already: once is polite, twice is noise."""


class Ceilings:
    """Knows what is too much."""

    def __init__(self, usage: Usage, most: Most) -> None:
        self._usage = usage
        self._most = most

    async def over(self, batch: Batch) -> Over | None:
        """The ceiling that a batch is beyond; None while there is none.

        Commands have none, since one of them brings a person; nor have staff, or a chat that a person holds.
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
        """The notice for it, and how long one notice lasts."""
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
