"""Statistics of gray releases: when a candidate is worse than the current version, not just unlucky.

Chats are assigned at random, so chats are counted: how many had at least one bad turn.  Two shares are
compared by Fisher's exact test, one-sided (R.  A.  Fisher, 1935).  The comparison is repeated while chats
come in, and each look may err; so each look spends part of an error budget, `6 / (pi k)^2` of it at the k-th
look.  These parts add up to the whole budget over any number of looks (a union bound, as in Bonferroni's
correction).  Over all measures, a candidate that is just as good is stopped in at most one of twenty
releases, however long they run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

ERROR_BUDGET = 0.05
"""Probability that a candidate that is just as good is stopped, over all measures and looks."""
LOOK_EVERY = 25
"""New chats of the candidate between two looks."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many chats of an arm were bad."""

    bad: int
    chats: int

    def __str__(self) -> str:
        return f"{self.bad} of {self.chats} chats"


@dataclass(frozen=True, slots=True)
class Finding:
    """A measure in which the candidate is significantly worse."""

    measure: str
    candidate: Share
    stable: Share
    p: float


def chance(candidate: Share, stable: Share) -> float:
    """Probability (0 to 1) of at least that many bad chats of the candidate, if both were equally good."""
    chats, bad = candidate.chats + stable.chats, candidate.bad + stable.bad
    most = min(bad, candidate.chats)
    whole = _ways(chats, candidate.chats)
    terms = (
        _ways(bad, count) + _ways(chats - bad, candidate.chats - count) - whole
        for count in range(candidate.bad, most + 1)
        if candidate.chats - count <= chats - bad
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def budget(look: int, measures: int) -> float:
    """Error probability allowed for one measure at the `look`-th look, counted from 1."""
    return ERROR_BUDGET / measures * 6 / (math.pi * look) ** 2


def worse(look: int, arms: Mapping[str, tuple[Share, Share]]) -> Finding | None:
    """The measure with the strongest evidence against the candidate, if that is enough at this look.

    `arms` holds the candidate's and the stable arm's share by measure.
    """
    found = [
        Finding(measure, candidate, stable, chance(candidate, stable))
        for measure, (candidate, stable) in arms.items()
    ]
    strongest = min(found, key=lambda finding: finding.p, default=None)
    if strongest is None or strongest.p > budget(look, len(arms)):
        return None
    return strongest


def _ways(of: int, chosen: int) -> float:
    """Logarithm of the binomial coefficient: the number of ways to choose."""
    return math.lgamma(of + 1) - math.lgamma(chosen + 1) - math.lgamma(of - chosen + 1)
