"""Figures: how much was asked, who answered, how long it took, and how it ended.

Turns are counted by the hour and stored as a few rows per hour, so that a year of figures is read in a moment
and survives the deletion of the conversations.  An hour is counted repeatedly while it runs, once when it is
over, and once a day later, when late events have come in.  What nobody did is None, not 0: no thumbs at all
is not "0 % happy".
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database

HOUR_S, DAY_S = 3600, 86_400
Answered = Literal["model", "fallback", "person", "notice"]
ANSWERED: tuple[Answered, ...] = ("model", "fallback", "person", "notice")
"""Who wrote the reply: a model, rules in its place, a member of staff, or our own fixed words."""

FRESH_S = 5.0
"""Shortest time between two counts of the running hour."""
SETTLED_S = 600.0
"""After its end an hour is counted once more, this late."""
AT_ONCE = 6
"""Hours that are counted in one transaction."""
BUDGET_S = 1.0
"""Time for counting before figures are read."""
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


class Counting:
    """Counts, and reads the counts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def read(
        self, *, since: float, until: float, step: Literal["day", "hour"] = "day", offset_s: int = 0
    ) -> Figures:
        """The figures of a period, in whole hours; a day begins at midnight UTC + `offset_s`.

        Hours that are not counted yet are counted now, for about a second: if `is_whole` is False, ask again.
        """
        is_whole = await self.catch_up(since=since, until=until, budget_s=BUDGET_S)
        first, end = math.floor(since / HOUR_S), math.ceil(until / HOUR_S)
        length_s = DAY_S if step == "day" else HOUR_S

        def work(connection: Connection) -> Figures:
            rows = connection.execute(_COUNTED, {"first": first, "end": end}).all()
            among = {"since": first * HOUR_S, "until": end * HOUR_S}
            thumbs = connection.execute(_THUMBS, among).one()
            reasons: Counter[str] = Counter()
            for row in connection.execute(_REASONS, among):
                reasons.update(row.reasons.split())
            waits = connection.execute(_WAITS, among).all()
            return Figures(
                total=_tally(rows, first * HOUR_S, end * HOUR_S),
                steps=_steps(rows, first * HOUR_S, end * HOUR_S, length_s, offset_s),
                by_template=_by(rows, "template", first * HOUR_S, end * HOUR_S),
                by_model=_by(rows, "model", first * HOUR_S, end * HOUR_S),
                staff_thumbs=Thumbs(int(thumbs.up or 0), int(thumbs.down or 0)),
                reasons=dict(reasons.most_common()),
                waiting=_waiting(waits),
                is_whole=is_whole,
            )

        return await self._db.read(work)

    async def catch_up(
        self, *, since: float = 0.0, until: float | None = None, budget_s: float = math.inf
    ) -> bool:
        """Count what is not counted yet, newest first, for about `budget_s`; True if nothing is left.

        If two processes do this at once, they do the same work twice; that is harmless.
        """
        deadline = time.monotonic() + budget_s
        while True:
            left = await self._db.read(lambda connection: self._uncounted(connection, since, until))
            if not left:
                return True
            await self._count(left[:AT_ONCE])
            if time.monotonic() >= deadline:
                return len(left) <= AT_ONCE

    async def _count(self, hours: list[int]) -> None:
        counted = await self._db.read(lambda connection: _count(connection, hours))
        await self._db.write(lambda connection: self._keep(connection, hours, counted))

    def _uncounted(self, connection: Connection, since: float, until: float | None) -> list[int]:
        now = self._db.now(connection)
        oldest = connection.execute(_OLDEST, {"since": since}).scalar()
        if oldest is None:
            return []
        first, end = int(oldest // HOUR_S), math.ceil(min(now, until or now) / HOUR_S)
        known = {row.hour: row.counted_at for row in connection.execute(_HOURS, {"first": first, "end": end})}
        return [hour for hour in range(end - 1, first - 1, -1) if _is_stale(hour, known.get(hour), now)]

    def _keep(self, connection: Connection, hours: list[int], counted: list[dict[str, Any]]) -> None:
        now = self._db.now(connection)
        for hour in hours:
            connection.execute(_DROP, {"hour": hour})
            connection.execute(_MARK, {"hour": hour, "now": now})
        for values in counted:
            connection.execute(_KEEP, values)


def _is_stale(hour: int, counted_at: float | None, now: float) -> bool:
    """Whether an hour has to be counted again: see the top of the module."""
    if counted_at is None:
        return True
    end = (hour + 1) * HOUR_S
    if now < end + SETTLED_S:
        return counted_at < now - FRESH_S
    return counted_at < end + SETTLED_S or (now >= end + DAY_S > counted_at)


def _count(connection: Connection, hours: list[int]) -> list[dict[str, Any]]:
    """The rows of some hours, counted from the turns."""
    groups: dict[tuple[int, str, str, str], dict[str, Any]] = {}
    for hour in hours:
        values = {"since": hour * HOUR_S, "until": (hour + 1) * HOUR_S}
        for row in connection.execute(_TURNS, values):
            answered = _answered(row.origin)
            is_announced = (
                answered == "person" and not row.remembered
            )  # that a colleague came in answers nothing
            if not answered or is_announced:
                continue
            key = (hour, answered, *_made_by(row.record))
            group = groups.setdefault(key, _nothing(*key))
            _add(group, row)
    for group in groups.values():
        group["seconds"] = json.dumps(group["seconds"], separators=(",", ":"))
    return list(groups.values())


def _nothing(hour: int, answered: str, template: str, model: str) -> dict[str, Any]:
    names = ("turns", "messages", "photos", "held", "blocked", "failed")
    key = {"hour": hour, "answered": answered, "template": template, "model": model, "seconds": Counter()}
    return key | dict.fromkeys(names, 0)


def _add(group: dict[str, Any], row: Row[Any]) -> None:
    group["turns"] += 1
    group["messages"] += row.messages
    group["photos"] += row.photos
    group["held"] += row.origin == "notice:held"
    group["blocked"] += row.origin == "notice:blocked"
    group["failed"] += row.state == "failed" or row.origin == "notice:turn_failed"
    is_engines = not row.origin.startswith(("notice:", "staff:"))
    if is_engines and row.state == "closed" and row.asked_at is not None and row.closed_at is not None:
        group["seconds"][_class_of(row.closed_at - row.asked_at)] += 1


def _answered(origin: str) -> Answered | Literal[""]:
    """Who answered; empty if nobody did, because a person had the chat."""
    match origin.partition(":")[0]:
        case "relayed":
            return ""
        case "staff":
            return "person"
        case "notice":
            return "notice"
        case "fallback":
            return "fallback"
        case _:
            return "model"


def _made_by(record: str) -> tuple[str, str]:
    """Template version and model from a turn's record."""
    if record in ("", "{}"):
        return "", ""
    made = json.loads(record)
    return str(made.get("prompt") or ""), str(made.get("model") or "")


def _class_of(seconds: float) -> int:
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
            waits[_class_of(row.taken_at - row.asked_at)] += 1
    return Waiting(asked, waits.total(), _percentile(waits, 0.5), _percentile(waits, 0.95))


_OLDEST = sa.text("SELECT MIN(opened_at) FROM turns WHERE opened_at >= :since")
_HOURS = sa.text("SELECT hour, counted_at FROM figures_hours WHERE hour >= :first AND hour < :end")
# What newer words overtook was never said, and what is open will be.
_ASKED = "m.direction = 'in' AND m.kind <> 'staff'"
_TURNS = sa.text(
    f"""
    SELECT t.origin, t.state, t.record, t.closed_at, t.remembered,
           (SELECT MIN(at) FROM messages m WHERE m.turn_id = t.id AND {_ASKED}) AS asked_at,
           (SELECT COUNT(*) FROM messages m WHERE m.turn_id = t.id AND {_ASKED}) AS messages,
           (SELECT COUNT(photo) FROM messages m WHERE m.turn_id = t.id AND {_ASKED}) AS photos
    FROM turns t WHERE t.opened_at >= :since AND t.opened_at < :until AND t.state IN ('closed', 'failed')"""  # noqa: S608  (a constant)
)
_DROP = sa.text("DELETE FROM figures WHERE hour = :hour")
_MARK = sa.text("""
    INSERT INTO figures_hours (hour, counted_at) VALUES (:hour, :now)
    ON CONFLICT (hour) DO UPDATE SET counted_at = excluded.counted_at""")
_KEEP = sa.text("""
    INSERT INTO figures (hour, answered, template, model, turns, messages, photos, held, blocked, failed,
                         seconds)
    VALUES (:hour, :answered, :template, :model, :turns, :messages, :photos, :held, :blocked, :failed,
            :seconds)
    ON CONFLICT (hour, answered, template, model) DO NOTHING""")
_COUNTED = sa.text("SELECT * FROM figures WHERE hour >= :first AND hour < :end ORDER BY hour")
_THUMBS = sa.text("""
    SELECT SUM(CASE WHEN thumb > 0 THEN 1 ELSE 0 END) AS up,
           SUM(CASE WHEN thumb < 0 THEN 1 ELSE 0 END) AS down
    FROM reviews WHERE at >= :since AND at < :until""")
_REASONS = sa.text("""
    SELECT reasons FROM reviews WHERE at >= :since AND at < :until AND thumb < 0 AND reasons <> ''""")
_WAITS = sa.text("SELECT asked_at, taken_at FROM handoffs WHERE asked_at >= :since AND asked_at < :until")
