"""The deterministic pass: every rule over one folded copy of the reply, then one decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from bot.guard import shape
from bot.guard.advice import find_unsafe_advice
from bot.guard.contacts import Allowed, Contact, find_contacts
from bot.guard.fold import Folded, fold
from bot.guard.leaks import find_leaks
from bot.guard.payments import find_payments
from bot.guard.policy import Policy
from bot.guard.promises import find_promises
from bot.guard.terms import Terms
from bot.guard.verdict import Action, Reason
from bot.guard.wordings import find_wordings
from context.turns import Language

_MOST_REASONS = 50  # a reply that breaks more rules is not examined further
_PLACEHOLDERS: dict[tuple[str, Language], str] = {
    ("link", "en"): "[link removed]",
    ("link", "zh"): "[链接已隐去]",
    ("phone", "en"): "[number removed]",
    ("phone", "zh"): "[号码已隐去]",
    ("email", "en"): "[address removed]",
    ("email", "zh"): "[邮箱已隐去]",
    ("handle", "en"): "[account removed]",
    ("handle", "zh"): "[账号已隐去]",
}


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of the rules for a reply."""

    checked: str
    """The reply with its shape repaired; spans refer to it."""
    text: str
    """The same with contacts masked: what may be sent, if anything may."""
    reasons: tuple[Reason, ...]

    @property
    def action(self) -> Action:
        """That of the most serious reason."""
        return gravest(self.reasons)


def gravest(reasons: tuple[Reason, ...]) -> Action:
    """The action that decides."""
    return max((reason.action for reason in reasons), key=lambda action: action.weight, default=Action.ALLOW)


def check(
    text: str, *, policy: Policy, allowed: Allowed, asked: str, language: Language, system: str, canary: str
) -> Findings:
    """Every rule on one reply.  Linear in its length; about 0.3 ms a KB."""
    shaped = shape.shape(text, max_chars=policy.max_chars)
    folded = fold(shaped.text)
    contacts = find_contacts(shaped.text, folded, allowed=allowed, asked=asked)
    found = [
        *find_leaks(shaped.text, folded, system=system, canary=canary),
        *find_unsafe_advice(folded),
        *_find_terms(policy.terms, folded),
        *_once((*find_wordings(folded), *find_payments(folded), *find_promises(folded))),
    ]
    if shape.wrong_language(shaped.text, asked=asked, language=language):
        found.append(Reason("shape.language", "shape", Action.HOLD))
    reasons = [*shaped.reasons, *(_of_contact(contact) for contact in contacts), *found]
    return Findings(
        checked=shaped.text,
        text=_masked(shaped.text, contacts, language),
        reasons=tuple(_under_policy(reason, policy) for reason in islice(reasons, _MOST_REASONS)),
    )


def _find_terms(terms: Terms, folded: Folded) -> Iterator[Reason]:
    for hit in terms.find(folded):
        # Chance matches neither block nor pass silently: they are recorded, for the second check.
        action, note = (hit.term.action, "") if hit.sure else (Action.ALLOW, "unaligned")
        if hit.term.shadow:
            action, note = Action.ALLOW, "shadow"
        yield Reason(hit.term.rule, hit.term.category, action, hit.span, note)


def _once(reasons: Iterable[Reason]) -> Iterator[Reason]:
    """Without those that say again what an earlier one says of the same words."""
    told: list[Reason] = []
    for reason in reasons:
        if not any(reason.rule == other.rule and _overlap(reason.span, other.span) for other in told):
            told.append(reason)
            yield reason


def _overlap(one: tuple[int, int] | None, other: tuple[int, int] | None) -> bool:
    return bool(one and other and one[0] < other[1] and other[0] < one[1])


def _of_contact(contact: Contact) -> Reason:
    note = "repaired" if contact.action is Action.ALLOW else ""
    return Reason(contact.rule, "contact", contact.action, contact.span, note)


def _under_policy(reason: Reason, policy: Policy) -> Reason:
    """The reason, with the action that this policy gives its rule."""
    if policy.on_trial(reason.rule):
        return replace(reason, action=Action.ALLOW, note="shadow")
    if reason.note == "unaligned":
        return reason
    return replace(reason, action=policy.action(reason.rule, reason.action))


def _masked(text: str, contacts: tuple[Contact, ...], language: Language) -> str:
    pieces: list[str] = []
    end = 0
    for contact in contacts:
        pieces += [text[end : contact.span[0]], contact.shown or _PLACEHOLDERS[contact.kind, language]]
        end = contact.span[1]
    return "".join([*pieces, text[end:]])
