"""Gray releases: a candidate that answers a share of the chats, and how its turns ended.

Turns themselves count nothing.  A reply's record names its release and arm; the process on duty reads the
turns closed since the last time and adds them up, one row per chat.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.turns import Chat

Arm = Literal["candidate", "stable"]
State = Literal["running", "promoted", "withdrawn", "stopped"]
MEASURES = ("held", "fallback", "handoff", "slow", "disliked")
"""Ways in which a turn can be bad; a chat is bad in one if any of its turns was."""
AT_ONCE = 2000
"""Turns counted in one transaction."""
STUCK_S = 600.0
"""A turn that has been unsent for so long is not waited for."""
ENOUGH = 50
"""Turns needed to determine what is slow."""
SLOW_S = 20.0
"""What counts as slow without such a history."""


class NoRelease(Exception):
    """There is no such release, or another one is in the way."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is tried; empty fields are as in the current version."""

    model_url: str = ""
    model: str = ""
    templates: Mapping[str, str] | None = None
    """Prompt templates by name."""
    policy: str = ""
    """YAML that extends the bot's own policy."""


@dataclass(frozen=True, slots=True)
class Release:
    """A candidate and its state."""

    id: int
    name: str
    candidate: Candidate
    share: float
    """Share of the chats, 0 to 1."""
    slow_s: float
    """Seconds after which a turn is slow: the 90th percentile of the thousand turns before the release."""
    state: State
    reason: str
    looks: int
    started_at: float
    ended_at: float | None

    def arm_of(self, chat: Chat) -> Arm:
        """The arm that answers this chat: always the same one, also when the candidate's share grows."""
        if self.state == "promoted":
            return "candidate"
        digest = hashlib.sha256(f"{self.id}:{chat.key}".encode()).digest()
        return "candidate" if int.from_bytes(digest[:8]) < self.share * 2**64 else "stable"


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of one arm."""

    chats: int
    turns: int
    bad: Mapping[str, int]
    """Chats that were bad at least once, by measure."""
    seconds: float
    """Seconds of all its turns together."""


class Releases:
    """Starts, ends and counts releases.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def start(self, name: str, candidate: Candidate, *, share: float) -> Release:
        """Start a release.  Raises NoRelease while another one is running or promoted."""

        def work(connection: Connection) -> Release:
            if connection.execute(_CURRENT).first() is not None:
                raise NoRelease("another release is in force: withdraw it first")
            seen_to, slow_s = _history(connection)
            values = {
                "name": name,
                "candidate": json.dumps(_as_json(candidate), ensure_ascii=False),
                "share": share,
                "slow_s": slow_s,
                "seen_to": seen_to,
                "now": self._db.now(connection),
            }
            connection.execute(_START, values)
            return _release(connection.execute(_CURRENT).one())

        return await self._db.write(work)

    async def current(self) -> Release | None:
        """The release that is running or promoted; None if there is none."""
        row = await self._db.read(lambda connection: connection.execute(_CURRENT).first())
        return _release(row) if row is not None else None

    async def last(self) -> Release | None:
        """The newest release, whatever its state."""
        row = await self._db.read(lambda connection: connection.execute(_LAST).first())
        return _release(row) if row is not None else None

    async def end(self, release_id: int, state: State, reason: str = "") -> bool:
        """Promote, withdraw or stop a release; False if somebody else was faster.

        A promoted one can still be withdrawn, and nothing else.
        """
        values = {"id": release_id, "state": state, "reason": reason}
        before = ("running", "promoted") if state == "withdrawn" else ("running",)

        def work(connection: Connection) -> bool:
            now = {"now": self._db.now(connection)}
            return connection.execute(_END, values | now | {"before": before}).rowcount == 1

        return await self._db.write(work)

    async def widen(self, release_id: int, share: float) -> bool:
        """Change the candidate's share; False if it is not running any more."""
        values = {"id": release_id, "share": share}
        return await self._db.write(lambda connection: connection.execute(_WIDEN, values).rowcount == 1)

    async def count(self, release: Release) -> dict[Arm, Tally]:
        """Count the turns closed since the last time; returns both arms."""
        await self._db.write(lambda connection: _count(self._db, connection, release))
        return await self.tallies(release.id)

    async def tallies(self, release_id: int) -> dict[Arm, Tally]:
        """Both arms as they were last counted."""
        rows = await self._db.read(lambda connection: connection.execute(_TALLIES, {"id": release_id}).all())
        empty = Tally(0, 0, dict.fromkeys(MEASURES, 0), 0.0)
        found = {row.arm: _tally(row) for row in rows}
        return {"candidate": found.get("candidate", empty), "stable": found.get("stable", empty)}

    async def looked(self, release_id: int, looks: int) -> bool:
        """Take the next look; False when another process took it."""
        values = {"id": release_id, "looks": looks}
        return await self._db.write(lambda connection: connection.execute(_LOOKED, values).rowcount == 1)


def _count(db: Database, connection: Connection, release: Release) -> None:
    # FOR UPDATE where there is more than one process: two that count at once would count twice.
    locked = _SEEN_TO if connection.dialect.name == "sqlite" else sa.text(f"{_SEEN_TO.text} FOR UPDATE")
    seen_to = int(connection.execute(locked, {"id": release.id}).scalar_one())
    now = db.now(connection)
    rows = connection.execute(_TURNS, {"seen_to": seen_to, "most": AT_ONCE}).all()
    chats: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if row.state == "open":
            if now - float(row.opened_at) < STUCK_S:
                break  # the ones behind it are counted when it is closed
            continue
        seen_to = int(row.id)
        record = json.loads(row.record)
        arm = record.get("release", {}).get("arm")
        if row.state != "closed" or record.get("release", {}).get("id") != release.id:
            continue
        one = chats.setdefault((row.chat, arm), dict.fromkeys((*MEASURES, "turns"), 0) | {"seconds": 0.0})
        seconds = float(row.closed_at) - float(row.came_at or row.opened_at)
        one["turns"] += 1
        one["seconds"] += seconds
        one["held"] += row.origin in {"notice:held", "notice:blocked"}
        one["fallback"] += row.origin in {"fallback", "notice:engine_down"}
        one["handoff"] += bool(row.handoff)
        one["slow"] += seconds > release.slow_s
    for (chat, arm), one in chats.items():
        connection.execute(_ADD, {"id": release.id, "chat": chat, "arm": arm, **one})
    _count_dislikes(connection, release)
    connection.execute(_SEEN, {"id": release.id, "seen_to": seen_to})


def _count_dislikes(connection: Connection, release: Release) -> None:
    """Thumbs come long after their turn, and change: all of them anew, each for the arm that made the reply.

    The arm is read from the turn: its chat may be in the other one since the share grew.
    """
    now: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(_DISLIKED, {"since": release.started_at}):
        made_by = json.loads(row.record).get("release", {})
        if made_by.get("id") == release.id:
            now[row.chat, made_by.get("arm", "")] += 1
    before = {
        (row.chat, row.arm): int(row.disliked)
        for row in connection.execute(_DISLIKED_BEFORE, {"id": release.id})
    }
    for chat, arm in before.keys() | now.keys():
        if before.get((chat, arm), 0) != now[chat, arm]:
            values = {"id": release.id, "chat": chat, "arm": arm, "disliked": now[chat, arm]}
            connection.execute(_SET_DISLIKED, values)


def _history(connection: Connection) -> tuple[int, float]:
    """The last turn so far, and the 90th percentile of the seconds that the last thousand took."""
    rows = connection.execute(_RECENT).all()
    if not rows:
        return 0, SLOW_S
    seconds = sorted(float(row.closed_at) - float(row.came_at or row.opened_at) for row in rows)
    usual = seconds[int(0.9 * (len(seconds) - 1))]
    return int(rows[0].id), max(1.0, usual) if len(rows) >= ENOUGH else SLOW_S


def _as_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "model_url": candidate.model_url,
        "model": candidate.model,
        "templates": dict(candidate.templates) if candidate.templates is not None else None,
        "policy": candidate.policy,
    }


def _release(row: Row[Any]) -> Release:
    return Release(
        id=int(row.id),
        name=row.name,
        candidate=Candidate(**json.loads(row.candidate)),
        share=float(row.share),
        slow_s=float(row.slow_s),
        state=row.state,
        reason=row.reason,
        looks=int(row.looks),
        started_at=float(row.started_at),
        ended_at=row.ended_at,
    )


def _tally(row: Row[Any]) -> Tally:
    bad = {measure: int(getattr(row, measure)) for measure in MEASURES}
    return Tally(int(row.chats), int(row.turns), bad, float(row.seconds))


_CURRENT = sa.text("SELECT * FROM releases WHERE state IN ('running', 'promoted')")
_LAST = sa.text("SELECT * FROM releases ORDER BY id DESC LIMIT 1")
_START = sa.text("""
    INSERT INTO releases (name, candidate, share, slow_s, state, seen_to, started_at)
    VALUES (:name, :candidate, :share, :slow_s, 'running', :seen_to, :now)""")
_END = sa.text("""
    UPDATE releases SET state = :state, reason = :reason, ended_at = :now
    WHERE id = :id AND state IN :before""").bindparams(sa.bindparam("before", expanding=True))
_WIDEN = sa.text("UPDATE releases SET share = :share WHERE id = :id AND state = 'running'")
_LOOKED = sa.text("UPDATE releases SET looks = :looks WHERE id = :id AND looks = :looks - 1")
_SEEN_TO = sa.text("SELECT seen_to FROM releases WHERE id = :id")
_SEEN = sa.text("UPDATE releases SET seen_to = :seen_to WHERE id = :id")
_CAME = "(SELECT MIN(at) FROM messages WHERE messages.turn_id = turns.id AND direction = 'in') AS came_at"
_TURNS = sa.text(f"""
    SELECT id, chat, state, opened_at, closed_at, origin, handoff, record, {_CAME}
    FROM turns WHERE id > :seen_to ORDER BY id LIMIT :most""")  # noqa: S608 - our own words
_RECENT = sa.text(f"""
    SELECT id, opened_at, closed_at, {_CAME}
    FROM turns WHERE state = 'closed' AND closed_at IS NOT NULL ORDER BY id DESC LIMIT 1000""")  # noqa: S608 - same
_ADD = sa.text("""
    INSERT INTO release_chats (release_id, chat, arm, turns, held, fallback, handoff, slow, seconds)
    VALUES (:id, :chat, :arm, :turns, :held, :fallback, :handoff, :slow, :seconds)
    ON CONFLICT (release_id, chat, arm) DO UPDATE SET
        turns = release_chats.turns + excluded.turns, held = release_chats.held + excluded.held,
        fallback = release_chats.fallback + excluded.fallback,
        handoff = release_chats.handoff + excluded.handoff, slow = release_chats.slow + excluded.slow,
        seconds = release_chats.seconds + excluded.seconds""")
_DISLIKED = sa.text("""
    SELECT chat, record FROM turns WHERE state = 'closed' AND id IN (
        SELECT turn_id FROM reviews WHERE thumb < 0 AND at >= :since
        UNION SELECT turn_id FROM feedback WHERE vote = 'down' AND at >= :since)""")
_DISLIKED_BEFORE = sa.text("""
    SELECT chat, arm, disliked FROM release_chats WHERE release_id = :id AND disliked > 0""")
_SET_DISLIKED = sa.text("""
    UPDATE release_chats SET disliked = :disliked WHERE release_id = :id AND chat = :chat AND arm = :arm""")
_BAD = ", ".join(f"SUM(CASE WHEN {measure} > 0 THEN 1 ELSE 0 END) AS {measure}" for measure in MEASURES)
_TALLIES = sa.text(f"""
    SELECT arm, COUNT(*) AS chats, SUM(turns) AS turns, SUM(seconds) AS seconds, {_BAD}
    FROM release_chats WHERE release_id = :id GROUP BY arm""")  # noqa: S608 - same
