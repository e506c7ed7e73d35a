"""The gate between a model's words and a customer: rules first, then an optional guard model.

It returns a value and never raises: a checker that fails, is late or gives an invalid answer means `hold`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Protocol

from bot.errors import BadConfiguration
from bot.guard.contacts import Allowed
from bot.guard.dangers import find_dangers
from bot.guard.fold import fold
from bot.guard.policy import BUNDLED, Policy, load_policy
from bot.guard.rules import check, gravest
from bot.guard.verdict import Action, Opinion, Reason, Signals, Verdict
from bot.guard.wishes import is_angry, wants_person
from context.background import BackgroundTask
from context.health import Health
from context.turns import Language

log = logging.getLogger(__name__)

_MAX_HEARD = 10_000  # characters at the start, and as many at the end, of what a customer wrote
_SENTENCE_ENDS = ("。", "！", "？", "\n", ". ", "! ", "? ")
_ITEM_BEGINS = re.compile(
    r"(?:\A|(?<=\n))[ \t]*(?:\d{1,3}[.)]|[-*•])[ \t]+\Z"
)  # `2. `: a dot that ends no sentence
_UNSETTLED = 48
"""Characters at the end of an unfinished draft that may still become part of something else: `evil. com`, a
number over two lines, a canary with a line for each letter."""


class Second(Protocol):
    """A second opinion: `bot.guard.second.SecondCheck`."""

    @property
    def shadow(self) -> bool:
        """Only recorded: its opinion has no effect."""

    @property
    def is_suspended(self) -> bool:
        """Not asked at the moment, because it keeps failing."""

    async def opinion(
        self,
        asked: str,
        *,
        reply: str = "",
        photo_text: str = "",
        actions: Mapping[str, Action] | None = None,
    ) -> Opinion:
        """Judge question and reply, or the question alone.  Never raises; has a time limit."""

    async def close(self) -> None:
        """Let go of everything."""


class Guard:
    """Judges replies and inspects customers' words.  Safe for concurrent calls on one event loop."""

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        allowed_hosts: Iterable[str] = (),
        allowed_phones: Iterable[str] = (),
        second: Second | None = None,
        reload_every_s: float = 2.0,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._allowed_phones = frozenset(allowed_phones)
        self._second = second
        self._reload_every_s = reload_every_s
        self._clock = clock
        self._watcher = BackgroundTask("guard policy", self._watch)
        self._problem = ""
        self._use(policy or load_policy())

    @property
    def policy(self) -> Policy:
        """The current policy."""
        return self._in_force[0]

    @property
    def has_second(self) -> bool:
        """Whether there is a guard model."""
        return self._second is not None

    async def start(self) -> None:
        """Watch the policy's files for changes.  Calling twice is harmless."""
        if self.policy.stamps:
            self._watcher.start()

    async def close(self) -> None:
        """Let go of everything.  Calling twice is harmless."""
        await self._watcher.stop()
        if self._second is not None:
            await self._second.close()

    async def health(self) -> Health:
        """Its state, for `/health`; never raises."""
        if self._problem:
            return Health("degraded", f"policy {self.policy.version} stays in force: {self._problem}")
        if self._second is not None and self._second.is_suspended:
            held = "" if self._second.shadow else "; replies are held for staff"
            return Health("degraded", f"the guard model does not answer{held} (GUARD_URL)")
        return Health("ok", f"policy {self.policy.version}, {len(self.policy.terms.terms)} terms")

    async def judge(
        self,
        text: str,
        *,
        asked: str,
        language: Language,
        system: str = "",
        canary: str = "",
        photo_text: str = "",
        screened: Opinion | None = None,
    ) -> Verdict:
        """Check a draft that answers what the customer asked.

        `system` is the prompt that must not be repeated, `canary` a mark in it, `photo_text` the text read
        on the photos; `screened` is the opinion about the question alone, and is recorded.
        Never raises: what cannot be checked is held, with a reason that names the checker.
        """
        started = self._clock()
        verdict = self._by_rules(text, asked=asked, language=language, system=system, canary=canary)
        if self._second is not None and verdict.action is not Action.BLOCK:
            opinion = await self._opinion(self._second, asked, reply=verdict.checked, photo_text=photo_text)
            verdict = _with_opinion(verdict, opinion)
        if verdict.action is not Action.ALLOW and not verdict.handoff:
            verdict = replace(verdict, handoff=_handoff(verdict))
        text_out = "" if verdict.action is Action.BLOCK else verdict.text
        return replace(verdict, text=text_out, screened=screened, ms=(self._clock() - started) * 1000)

    def refuse(self, asked: str, opinion: Opinion, *, language: Language) -> Verdict:
        """The verdict on a question that the model does not answer because of what `screen` said."""
        signals = self.inspect(asked)
        category = ",".join(opinion.categories) or "second"
        reason = Reason(f"second.{opinion.label}", category, Action.BLOCK, source="asked")
        return Verdict(
            Action.BLOCK,
            "",
            (*signals.reasons, reason),
            self.policy.version,
            opinion.ms,
            language,
            lead=signals.notices,
            handoff=signals.handoff or f"blocked: {reason.rule}",
            screened=opinion,
        )

    def review(self, text: str, *, asked: str, language: Language) -> Verdict:
        """What the rules alone say about a text that a person wrote.  Never raises; asks no second check."""
        return self._by_rules(text, asked=asked, language=language, system="", canary="")

    def inspect(self, asked: str) -> Signals:
        """Find danger, anger and wishes for a person in a customer's words.  Blocks nothing; never raises."""
        try:
            return _heard(_ends_of(asked))
        except Exception:
            log.exception("guard could not inspect a message")
            failed = Reason("guard.failed", "guard", Action.HOLD, note="inspect", source="asked")
            return Signals(reasons=(failed,))

    async def screen(self, asked: str, *, photo_text: str = "") -> Signals:
        """`inspect`, and the second check's opinion of what came in: words, and text on photos."""
        signals = self.inspect(asked)
        if self._second is None or not (asked.strip() or photo_text.strip()):
            return signals
        return replace(signals, opinion=await self._opinion(self._second, asked, photo_text=photo_text))

    def reveal(
        self, draft: str, *, asked: str, language: Language, system: str = "", canary: str = ""
    ) -> str:
        """The whole sentences at the start of an unfinished draft that may already be shown.

        They end well before the end of what was checked.  Empty if a rule objects, if a danger was reported,
        and always if a second check decides, since it has not judged yet.  In the end the customer sees
        what `judge` lets through.
        """
        if self._second is not None and not self._second.shadow:
            return ""
        whole = _sentences(draft, len(draft))
        if len(whole) <= _UNSETTLED:
            return ""
        verdict = self._by_rules(whole, asked=asked, language=language, system=system, canary=canary)
        if verdict.action is not Action.ALLOW or verdict.lead:
            return ""
        return _sentences(verdict.text, len(verdict.text) - _UNSETTLED).rstrip()

    def reload(self) -> bool:
        """Read the policy's files again.  If they are wrong, keeps the old policy and returns False."""
        try:
            policy = load_policy(*(path for path, _ in self.policy.stamps[len(BUNDLED) :]))
        except BadConfiguration as error:
            self._problem = str(error)
            log.warning("guard policy refused: %s", error)
            return False
        self._problem = ""
        self._use(policy)
        return True

    def _use(self, policy: Policy) -> None:
        # One assignment: a reload runs concurrently with checks, and none may mix two policies.
        self._in_force = policy, Allowed.of(policy.allow, self._allowed_hosts, self._allowed_phones)

    async def _watch(self) -> None:
        refused: object = None
        while True:
            await asyncio.sleep(self._reload_every_s)
            if not self.policy.is_stale():
                continue
            now = tuple(path.stat().st_mtime if path.exists() else 0.0 for path, _ in self.policy.stamps)
            if now != refused and not await asyncio.to_thread(self.reload):
                refused = now

    def _by_rules(self, text: str, *, asked: str, language: Language, system: str, canary: str) -> Verdict:
        policy, allowed = self._in_force
        verdict = Verdict(Action.HOLD, text, (), policy.version, 0.0, language, checked=text)
        signals = self.inspect(asked)
        verdict = replace(verdict, lead=signals.notices, handoff=signals.handoff)
        try:
            found = check(
                text,
                policy=policy,
                allowed=allowed,
                asked=asked,
                language=language,
                system=system,
                canary=canary,
            )
        except Exception as error:
            log.exception("guard rules failed")
            reason = Reason("guard.failed", "guard", Action.HOLD, note=f"rules: {type(error).__name__}")
            return replace(verdict, reasons=(*signals.reasons, reason))
        reasons = (*signals.reasons, *found.reasons)
        return replace(
            verdict, action=gravest(reasons), text=found.text, checked=found.checked, reasons=reasons
        )

    async def _opinion(self, second: Second, asked: str, *, reply: str = "", photo_text: str = "") -> Opinion:
        policy = self.policy
        try:
            opinion = await second.opinion(
                _ends_of(asked), reply=reply, photo_text=_ends_of(photo_text), actions=policy.second
            )
        except Exception as error:
            log.exception("second check failed")
            opinion = Opinion(Action.HOLD, "error", shadow=second.shadow, error=type(error).__name__)
        return replace(opinion, shadow=True) if policy.on_trial(f"second.{opinion.label}") else opinion


def _heard(asked: str) -> Signals:
    folded = fold(asked)
    reasons: list[Reason] = []
    dangers: list[str] = []
    for danger, span in find_dangers(folded):
        dangers.append(danger)
        reasons.append(Reason(f"danger.{danger}", "danger", Action.ALLOW, span, source="asked"))
    person, anger = wants_person(folded), is_angry(folded, asked)
    reasons += [
        Reason(rule, "wish", Action.ALLOW, span, source="asked")
        for rule, span in (("wish.person", person), ("wish.anger", anger))
        if span
    ]
    return Signals(tuple(dangers), person is not None, anger is not None, tuple(reasons))


def _with_opinion(verdict: Verdict, opinion: Opinion) -> Verdict:
    action = Action.ALLOW if opinion.shadow else opinion.action
    rule = f"second.{opinion.label}"
    note = opinion.error or ("shadow" if opinion.shadow else "")
    if opinion.label == "safe":
        return replace(verdict, second=opinion)
    reasons = (*verdict.reasons, Reason(rule, ",".join(opinion.categories) or "second", action, note=note))
    return replace(verdict, second=opinion, reasons=reasons, action=gravest(reasons))


def _handoff(verdict: Verdict) -> str:
    gravest_reason = max(verdict.reasons, key=lambda reason: reason.action.weight)
    word = "held" if verdict.action is Action.HOLD else "blocked"
    return f"{word}: {gravest_reason.rule}"


def _sentences(text: str, most: int) -> str:
    """The whole sentences among the first `most` characters."""
    head = text[: max(most, 0)]
    head = head[: max((head.rfind(mark) + len(mark) for mark in _SENTENCE_ENDS if mark in head), default=0)]
    return _ITEM_BEGINS.sub("", head)


def _ends_of(text: str) -> str:
    if len(text) <= 2 * _MAX_HEARD:
        return text
    return f"{text[:_MAX_HEARD]}\n{text[-_MAX_HEARD:]}"
