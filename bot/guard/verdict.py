"""The guard's results: a verdict with its reasons, and what it found in the customer's words.

Both are values without I/O.  A verdict contains rules, places and milliseconds but no quotes, so
its record may be stored, shown and counted where a customer's words may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from context.turns import Language


class Action(StrEnum):
    """What happens to a reply."""

    ALLOW = "allow"
    """It may be sent, as in `Verdict.text`."""
    HOLD = "hold"
    """A person releases, edits or refuses it; the customer is told that a colleague is checking."""
    BLOCK = "block"
    """It is never sent; the customer gets a safe sentence and a way to reach a person."""

    @property
    def weight(self) -> int:
        """Orders actions by severity: the most severe one decides."""
        return _WEIGHTS[self]


_WEIGHTS = {Action.ALLOW: 0, Action.HOLD: 1, Action.BLOCK: 2}

Source = Literal["reply", "asked", "photo"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that matched.  It contains no quote of what was checked."""

    rule: str
    """`term:<hash>`, `contact.link`, `promise.refund`, `shape.loop`, `second.unsafe`, ..."""
    category: str
    action: Action
    span: tuple[int, int] | None = None
    """Characters from, to: in `Verdict.checked`, or in what the customer wrote; None means all of it."""
    note: str = ""
    """`repaired`, `shadow`, `unaligned`, or what failed: for staff, never quoted text."""
    source: Source = "reply"

    def record(self) -> dict[str, object]:
        """JSON values for the ledger."""
        return {
            "rule": self.rule,
            "category": self.category,
            "action": self.action.value,
            "span": list(self.span) if self.span else None,
            "note": self.note,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Opinion:
    """The opinion of the second check, a guard model."""

    action: Action
    label: str
    """`safe`, `controversial` or `unsafe`; `error` if there was no usable answer."""
    categories: tuple[str, ...] = ()
    refusal: bool = False
    """Whether the model saw a polite refusal in the reply, if its format says so."""
    model: str = ""
    ms: float = 0.0
    shadow: bool = False
    """Only recorded, without effect."""
    error: str = ""
    """What went wrong (`timeout`, `http 500`, `unreadable`, `circuit open`), never the text of an answer."""

    def record(self) -> dict[str, object]:
        """JSON values for the ledger."""
        return {
            "action": self.action.value,
            "label": self.label,
            "categories": list(self.categories),
            "refusal": self.refusal,
            "model": self.model,
            "ms": round(self.ms, 3),
            "shadow": self.shadow,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Signals:
    """What the customer's words and photos require, whatever the model answers."""

    dangers: tuple[str, ...] = ()
    """`gas`, `fire`, `electric`, `battery`, `life`: the most serious first."""
    wants_person: bool = False
    angry: bool = False
    reasons: tuple[Reason, ...] = ()
    opinion: Opinion | None = None
    """The second check's opinion of what came in; None if it was not asked."""

    @property
    def notices(self) -> tuple[str, ...]:
        """Names of the fixed sentences that go above any answer, in order."""
        return tuple(f"safety_{danger}" for danger in self.dangers)

    @property
    def handoff(self) -> str:
        """Why a person should take over now; empty if none is needed."""
        if self.dangers:
            return f"safety:{self.dangers[0]}"
        if self.wants_person:
            return "asked for a person"
        return "angry" if self.angry else ""

    def record(self) -> dict[str, object]:
        """JSON values for the ledger."""
        return {
            "dangers": list(self.dangers),
            "wants_person": self.wants_person,
            "angry": self.angry,
            "reasons": [reason.record() for reason in self.reasons],
            "opinion": self.opinion.record() if self.opinion else None,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The guard's decision about one reply."""

    action: Action
    text: str
    """What may be sent (`allow`) or released by a person (`hold`), after repairs; empty on `block`."""
    reasons: tuple[Reason, ...]
    policy: str
    """The version of the terms and rules that were used: `<version>+<hash>`."""
    ms: float
    language: Language
    checked: str = ""
    """The draft with its shape repaired and nothing masked: only for staff; spans refer to it."""
    lead: tuple[str, ...] = ()
    """Names of the notices above the reply, whatever the action (`safety_gas`)."""
    handoff: str = ""
    """Why a person should take over; empty if none is needed."""
    second: Opinion | None = None
    screened: Opinion | None = None
    """The second check's opinion of the question alone; None if it was not asked."""

    @property
    def repaired(self) -> bool:
        """Whether `text` differs from the draft because a rule repaired it."""
        return any(reason.note == "repaired" for reason in self.reasons)

    def record(self) -> dict[str, object]:
        """JSON values for the ledger: rule ids, spans, versions, times; never anybody's words."""
        return {
            "action": self.action.value,
            "reasons": [reason.record() for reason in self.reasons],
            "policy": self.policy,
            "ms": round(self.ms, 3),
            "language": self.language,
            "lead": list(self.lead),
            "handoff": self.handoff,
            "second": self.second.record() if self.second else None,
            "screened": self.screened.record() if self.screened else None,
        }
