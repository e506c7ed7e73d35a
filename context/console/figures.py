"""Figures: how much was asked, who answered, how long it took, and how it ended.

They are read from the counts of `context.console.counting`.  What nobody did is None, not 0: no thumbs at all
is not "0 % happy".
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

HOUR_S, DAY_S = 3600, 86_400
Answered = Literal["model", "fallback", "person", "notice"]
ANSWERED: tuple[Answered, ...] = ("model", "fallback", "person", "notice")
"""Who wrote the reply: a model, rules in its place, a member of staff, or our own fixed words."""

_STEP = 2.0 ** (1 / 8)
"""Durations are stored in classes that grow by this factor: a percentile is off by at most 4.5 %."""
_LEAST_S = 0.01


@dataclass(frozen=True, slots=True)
class Tally:
    """The figures of a period, or of one template or model within it."""

    since: float
    """Unix seconds."""
    until: float
    turns: int
    """Answers of every kind."""
    messages: int
    """Messages of customers in these turns."""
    photos: int
    answered: Mapping[Answered, int]
    held: int
    blocked: int
    failed: int
    """Given up: the customer could not be answered or reached."""
    p50_s: float | None
    """Half of the customers had a complete answer of the model or the rules within this time; None without
    any."""
    p95_s: float | None

    def share(self, who: Answered) -> float | None:
        """Share of turns that were answered by `who`, 0 to 1; None without turns."""
        total = sum(self.answered.values())
        return self.answered.get(who, 0) / total if total else None


@dataclass(frozen=True, slots=True)
class Thumbs:
    """Thumbs that were given."""

    up: int
    down: int

    @property
    def share_up(self) -> float | None:
        """Share of thumbs up, 0 to 1; None without any."""
        total = self.up + self.down
        return self.up / total if total else None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Handoffs that were requested."""

    asked: int
    taken: int
    p50_s: float | None
    """Time until a person took over; None if nobody did."""
    p95_s: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of the page."""

    total: Tally
    steps: tuple[Tally, ...]
    """By day or hour, oldest first, including those without turns."""
    by_template: Mapping[str, Tally]
    by_model: Mapping[str, Tally]
    staff_thumbs: Thumbs
    reasons: Mapping[str, int]
    """Reasons of staff's thumbs down."""
    waiting: Waiting
    is_whole: bool
    """False while older hours are still being counted."""


def read_in(
    connection: Connection, first: int, end: int, *, length_s: int, offset_s: int, is_whole: bool
) -> Figures:
    """The figures of the hours from `first` to before `end`, in steps of `length_s`."""
    since, until = first * HOUR_S, end * HOUR_S
    rows = connection.execute(_COUNTED, {"first": first, "end": end}).all()
    among = {"since": since, "until": until}
    thumbs = connection.execute(_THUMBS, among).one()
    reasons: Counter[str] = Counter()
    for row in connection.execute(_REASONS, among):
        reasons.update(row.reasons.split())
    return Figures(
        total=_tally(rows, since, until),
        steps=_steps(rows, since, until, length_s, offset_s),
        by_template=_by(rows, "template", since, until),
        by_model=_by(rows, "model", since, until),
        staff_thumbs=Thumbs(int(thumbs.up or 0), int(thumbs.down or 0)),
        reasons=dict(reasons.most_common()),
        waiting=_waiting(connection.execute(_WAITS, among).all()),
        is_whole=is_whole,
    )


def class_of(seconds: float) -> int:
    """The class in which a duration is stored."""
    return round(math.log(max(seconds, _LEAST_S), _STEP))


def _percentile(classes: Mapping[int, int], share: float) -> float | None:
    """The percentile, accurate to half a class."""
    wanted, seen = share * sum(classes.values()), 0
    for number, count in sorted(classes.items()):
        seen += count
        if seen >= wanted:
            return float(_STEP**number)
    return None


def _tally(rows: Iterable[Row[Any]], since: float, until: float) -> Tally:
    sums: Counter[str] = Counter()
    answered: Counter[Answered] = Counter()
    classes: Counter[int] = Counter()
    for row in rows:
        for name in ("turns", "messages", "photos", "held", "blocked", "failed"):
            sums[name] += getattr(row, name)
        answered[row.answered] += row.turns
        for number, count in json.loads(row.seconds).items():
            classes[int(number)] += count
    p50, p95 = _percentile(classes, 0.5), _percentile(classes, 0.95)
    return Tally(
        since=since,
        until=until,
        turns=sums["turns"],
        messages=sums["messages"],
        photos=sums["photos"],
        answered={who: answered[who] for who in ANSWERED},
        held=sums["held"],
        blocked=sums["blocked"],
        failed=sums["failed"],
        p50_s=p50,
        p95_s=p95,
    )


def _steps(
    rows: Iterable[Row[Any]], since: int, until: int, length_s: int, offset_s: int
) -> tuple[Tally, ...]:
    by_step: dict[int, list[Row[Any]]] = {}
    for row in rows:
        by_step.setdefault((row.hour * HOUR_S + offset_s) // length_s, []).append(row)
    first, last = (since + offset_s) // length_s, (until - 1 + offset_s) // length_s
    return tuple(
        _tally(by_step.get(step, ()), step * length_s - offset_s, (step + 1) * length_s - offset_s)
        for step in range(first, last + 1)
    )


def _by(rows: Iterable[Row[Any]], column: str, since: float, until: float) -> dict[str, Tally]:
    """A tally for each value of a column; turns without a value are left out."""
    groups: dict[str, list[Row[Any]]] = {}
    for row in rows:
        if getattr(row, column):
            groups.setdefault(getattr(row, column), []).append(row)
    return {name: _tally(group, since, until) for name, group in sorted(groups.items())}


def _waiting(rows: Iterable[Row[Any]]) -> Waiting:
    asked, waits = 0, Counter[int]()
    for row in rows:
        asked += 1
        if row.taken_at is not None:
            waits[class_of(row.taken_at - row.asked_at)] += 1
    return Waiting(asked, waits.total(), _percentile(waits, 0.5), _percentile(waits, 0.95))


_COUNTED = sa.text("SELECT * FROM figures WHERE hour >= :first AND hour < :end ORDER BY hour")
_THUMBS = sa.text("""
    SELECT SUM(CASE WHEN thumb > 0 THEN 1 ELSE 0 END) AS up,
           SUM(CASE WHEN thumb < 0 THEN 1 ELSE 0 END) AS down
    FROM reviews WHERE at >= :since AND at < :until""")
_REASONS = sa.text("""
    SELECT reasons FROM reviews WHERE at >= :since AND at < :until AND thumb < 0 AND reasons <> ''""")
_WAITS = sa.text("SELECT asked_at, taken_at FROM handoffs WHERE asked_at >= :since AND asked_at < :until")
