"""Staff's opening hours: a week in a time zone, and when it opens next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RULE = re.compile(r"([a-z]{3})(?:-([a-z]{3}))?\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_DAY_MIN = 24 * 60


@dataclass(frozen=True, slots=True)
class Hours:
    """A week of opening hours.

    `spans` are minutes since Monday midnight; no spans at all means always open.
    """

    spans: tuple[tuple[int, int], ...] = ()
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str, zone: str = "UTC") -> Hours:
        """`mon-fri 09:00-18:00; sat 10:00-14:00`, empty for always.  Raises ValueError."""
        try:
            where = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{zone!r} is no time zone, such as Asia/Shanghai") from None
        spans: list[tuple[int, int]] = []
        for rule in filter(None, (part.strip().lower() for part in re.split(r"[;,]", text))):
            spans += _spans(rule)
        return cls(tuple(sorted(spans)), where)

    def is_open(self, now: float) -> bool:
        """Whether it is open at `now`, in Unix seconds."""
        minute = self._minute(now)
        return not self.spans or any(begin <= minute < end for begin, end in self.spans)

    def opens_at(self, now: float) -> datetime | None:
        """When it opens next, in its own time zone; None while it is open."""
        if self.is_open(now):
            return None
        minute = self._minute(now)
        later = [begin for begin, _ in self.spans if begin > minute]
        begin = later[0] if later else self.spans[0][0] + 7 * _DAY_MIN
        here = datetime.fromtimestamp(now, self.zone)
        midnight = here.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=here.weekday())
        # Wall-clock arithmetic: nine in the morning is nine, also after the clocks were changed.
        return midnight + timedelta(minutes=begin)

    def _minute(self, now: float) -> int:
        here = datetime.fromtimestamp(now, self.zone)
        return here.weekday() * _DAY_MIN + here.hour * 60 + here.minute


def _spans(rule: str) -> list[tuple[int, int]]:
    found = _RULE.fullmatch(rule)
    if found is None or found[1] not in DAYS or (found[2] or found[1]) not in DAYS:
        raise ValueError(f"{rule!r} is not like mon-fri 09:00-18:00")
    first, last = DAYS.index(found[1]), DAYS.index(found[2] or found[1])
    begin, end = int(found[3]) * 60 + int(found[4]), int(found[5]) * 60 + int(found[6])
    if last < first or not begin < end <= _DAY_MIN or int(found[4]) > 59 or int(found[6]) > 59:  # noqa: PLR2004
        raise ValueError(f"{rule!r} ends before it begins, or no clock shows it")
    return [(day * _DAY_MIN + begin, day * _DAY_MIN + end) for day in range(first, last + 1)]
