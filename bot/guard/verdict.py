"""What the guard answers: a verdict with its reasons, and what it heard in the customer's words.

Both are values without I/O.  A verdict names rules, places and milliseconds and never quotes, so
its record may be kept, shown and counted where a customer's words may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from context.turns import Language


class Action(StrEnum):
    """What becomes of a reply."""

    ALLOW = "allow"
    """It may leave, as `Verdict.text` has it."""
    HOLD = "hold"
    """A person releases it, edits it or refuses it; the customer hears that a colleague is checking."""
    BLOCK = "block"
    """It never leaves; the customer gets a safe sentence and a way to a person."""

    @property
    def weight(self) -> int:
        """Orders actions by severity: the gravest reason decides."""
        return _WEIGHTS[self]


_WEIGHTS = {Action.ALLOW: 0, Action.HOLD: 1, Action.BLOCK: 2}

Source = Literal["reply", "asked", "photo"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that spoke.  Nothing in it quotes what was checked."""

    rule: str
    """`term:<hash>`, `contact.link`, `promise.refund`, `shape.loop`, `second.unsafe`, ..."""
    category: str
    action: Action
    span: tuple[int, int] | None = None
    """Characters from, to: in `Verdict.checked`, or in what the customer wrote; None for all of it."""
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
    """What the second check, a guard model, said."""

    action: Action
    label: str
    """`safe`, `controversial`, `unsafe`; `error` when no usable answer came."""
    categories: tuple[str, ...] = ()
    refusal: bool = False
    """The model saw a polite refusal in the reply, where its format says so."""
    model: str = ""
    ms: float = 0.0
    shadow: bool = False
    """Recorded, not obeyed."""
    error: str = ""
    """What went wrong (`timeout`, `http 500`, `unreadable`, `circuit open`), never an answer's text."""

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
    """What the customer's words and photos call for, whatever the model makes of them."""

    dangers: tuple[str, ...] = ()
    """`gas`, `fire`, `electric`, `battery`, `life`: gravest first."""
    wants_person: bool = False
    angry: bool = False
    reasons: tuple[Reason, ...] = ()
    opinion: Opinion | None = None
    """The second check's view of what came in; None when it was not asked."""

    @property
    def notices(self) -> tuple[str, ...]:
        """Names of the fixed sentences that go above any answer, in order."""
        return tuple(f"safety_{danger}" for danger in self.dangers)

    @property
    def handoff(self) -> str:
        """Why a person should take over now; empty when none is needed."""
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
    """The guard's answer about one reply."""

    action: Action
    text: str
    """What may leave (`allow`) or may be released by a person (`hold`), repairs made; empty on `block`."""
    reasons: tuple[Reason, ...]
    policy: str
    """Names the terms and rules that were in force: `<version>+<hash>`."""
    ms: float
    language: Language
    checked: str = ""
    """The draft, its shape mended, nothing masked: for staff only; spans count in it."""
    lead: tuple[str, ...] = ()
    """Names of the notices that are said above the reply, whatever the action (`safety_gas`)."""
    handoff: str = ""
    """Why a person should take over; empty when none is needed."""
    second: Opinion | None = None
    screened: Opinion | None = None
    """What the second check said of the question alone, on the way in; None when it was not asked."""

    @property
    def repaired(self) -> bool:
        """Whether `text` differs from the draft because a rule mended it."""
        return any(reason.note == "repaired" for reason in self.reasons)

    def record(self) -> dict[str, object]:
        """JSON values for the ledger: rule ids, spans, versions, times; nobody's words."""
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
