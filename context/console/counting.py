"""Counting: turns by the hour, a few rows for each, from which figures are read.

So a year of figures is read in a moment, and survives the deletion of the conversations.  An hour is counted
repeatedly while it runs, once when it is over, and once a day later, when late events have come in.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.console.figures import DAY_S, HOUR_S, Answered, Figures, class_of, read_in
from context.db import Database

FRESH_S = 5.0
"""Shortest time between two counts of the running hour."""
SETTLED_S = 600.0
"""After its end an hour is counted once more, this late."""
AT_ONCE = 6
"""Hours that are counted in one transaction."""
BUDGET_S = 1.0
"""Time for counting before figures are read."""


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

        return await self._db.read(
            lambda connection: read_in(
                connection, first, end, length_s=length_s, offset_s=offset_s, is_whole=is_whole
            )
        )

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
        group["seconds"][class_of(row.closed_at - row.asked_at)] += 1


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
