"""Outcomes: what customers themselves say became of our answers, silence kept apart from either.

A fix is confirmed by the customer who was asked the next day, and by nobody else: who does not answer is
counted as silent, never as helped.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from context.console.figures import Thumbs
from context.db import Database

MOST_FAULTS = 20
_CODE = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{1,2})-?(\d{1,3})(?![A-Za-z0-9])")
"""As the gist of a conversation reads them (prompts/gist.py): E4, F-21, er12."""


@dataclass(frozen=True, slots=True)
class Fixes:
    """Answers to faults after which customers were asked whether they worked."""

    asked: int
    fixed: int
    not_fixed: int

    @property
    def silent(self) -> int:
        """Asked without an answer."""
        return self.asked - self.fixed - self.not_fixed

    @property
    def share_fixed(self) -> float | None:
        """Share of fixes among those who answered, 0 to 1; None without any."""
        total = self.fixed + self.not_fixed
        return self.fixed / total if total else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcomes of a period."""

    thumbs: Thumbs
    """The last vote of each customer on each answer."""
    reasons: Mapping[str, int]
    """Reasons of thumbs down, the most frequent first."""
    fixes: Fixes
    by_fault: Mapping[str, Fixes]
    """By the code in the question, else in the answer; `""` for neither.  The most asked first."""


class Outcomes:
    """Reads outcomes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def read(self, *, since: float, until: float) -> Outcome:
        """What was said, and asked, from a moment on and before another (Unix seconds)."""

        def work(connection: Connection) -> Outcome:
            among = {"since": since, "until": until}
            votes: Counter[str] = Counter()
            reasons: Counter[str] = Counter()
            for row in connection.execute(_VOTES, among):
                votes[row.vote] += row.times
                if row.reason:
                    reasons[row.reason] += row.times
            faults: defaultdict[str, Counter[str]] = defaultdict(Counter)
            for row in connection.execute(_ASKED, among):
                faults[_fault(row.text, row.reply)][row.vote or "silent"] += 1
            ordered = sorted(faults.items(), key=lambda item: (-item[1].total(), item[0]))
            return Outcome(
                thumbs=Thumbs(votes["up"], votes["down"]),
                reasons=dict(reasons.most_common()),
                fixes=_fixes(sum(faults.values(), Counter())),
                by_fault={code: _fixes(count) for code, count in ordered[:MOST_FAULTS]},
            )

        return await self._db.read(work)


def _fault(question: str, answer: str) -> str:
    found = _CODE.search(question) or _CODE.search(answer)
    return f"{found[1].upper()}{found[2]}" if found else ""


def _fixes(votes: Counter[str]) -> Fixes:
    return Fixes(asked=votes.total(), fixed=votes["up"], not_fixed=votes["down"])


_VOTES = sa.text("""
    SELECT vote, reason, COUNT(*) AS times FROM feedback
    WHERE question = 'helpful' AND at >= :since AND at < :until GROUP BY vote, reason""")
_ASKED = sa.text("""
    SELECT t.text, t.reply, f.vote
    FROM follow_ups u JOIN turns t ON t.id = u.turn_id
    LEFT JOIN feedback f ON f.turn_id = u.turn_id AND f.question = 'fixed'
    WHERE u.at >= :since AND u.at < :until""")
