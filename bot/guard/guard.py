"""The gate between a model's words and a customer: rules first, then an optional guard model.

It answers with a value and never raises: a checker that fails, is late or talks nonsense means `hold`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from time import perf_counter

from bot.errors import BadConfiguration
from bot.guard import shape
from bot.guard.fold import fold
from bot.guard.policy import Policy, load_policy
from bot.guard.verdict import Action, Reason, Signals, Verdict
from context.health import Health
from context.turns import Language

log = logging.getLogger(__name__)


class Guard:
    """Judges replies, listens to customers.  Safe for many concurrent calls on one event loop."""

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        allowed_hosts: Iterable[str] = (),
        second: None = None,
        reload_every_s: float = 2.0,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._policy = policy or load_policy()
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._second = second
        self._reload_every_s = reload_every_s
        self._clock = clock
        self._watcher: asyncio.Task[None] | None = None
        self._problem = ""

    @property
    def policy(self) -> Policy:
        """What is in force now."""
        return self._policy

    async def start(self) -> None:
        """Watch the policy's files.  Calling twice is harmless."""
        if self._watcher is None and self._policy.stamps:
            self._watcher = asyncio.create_task(self._watch(), name="guard policy")

    async def close(self) -> None:
        """Let go of everything.  Calling twice is harmless."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    async def health(self) -> Health:
        """How it is doing; never raises."""
        if self._problem:
            return Health("degraded", f"policy {self._policy.version} stays in force: {self._problem}")
        return Health("ok", f"policy {self._policy.version}, {len(self._policy.terms.terms)} terms")

    async def judge(
        self, text: str, *, asked: str, language: Language, system: str = "", photo_text: str = ""
    ) -> Verdict:
        """Check a draft against what the customer asked; `system` is the prompt that must not be repeated.

        Never raises: what cannot be checked is held, with a reason that names the checker.
        """
        started = self._clock()
        policy = self._policy
        verdict = Verdict(Action.HOLD, text, (), policy.version, 0.0, language)
        try:
            verdict = self._by_rules(verdict, policy, asked=asked, system=system, photo_text=photo_text)
        except Exception as error:
            log.exception("guard rules failed")
            verdict = _failed(verdict, f"rules: {type(error).__name__}")
        return replace(verdict, ms=(self._clock() - started) * 1000)

    def inspect(self, asked: str, *, photo_text: str = "") -> Signals:
        """Hear what the customer's words and photos call for.  Blocks nothing; never raises."""
        del asked, photo_text
        return Signals()

    def reload(self) -> bool:
        """Read the policy's files again.  False, and the old policy stays, when they are wrong."""
        try:
            extra = [path for path, _ in self._policy.stamps[2:]]
            self._policy = load_policy(*extra)
        except BadConfiguration as error:
            self._problem = str(error)
            log.warning("guard policy refused: %s", error)
            return False
        self._problem = ""
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._reload_every_s)
            if self._policy.is_stale():
                await asyncio.to_thread(self.reload)

    def _by_rules(
        self, verdict: Verdict, policy: Policy, *, asked: str, system: str, photo_text: str
    ) -> Verdict:
        shaped = shape.shape(verdict.text, max_chars=policy.max_chars)
        folded = fold(shaped.text)
        reasons = list(shaped.reasons)
        for hit in policy.terms.find(folded):
            reasons.append(
                Reason(
                    hit.term.rule, hit.term.category, hit.term.action if hit.sure else Action.ALLOW, hit.span
                )
            )
        return _decided(verdict, shaped.text, reasons)


def _decided(verdict: Verdict, text: str, reasons: list[Reason]) -> Verdict:
    action = max(
        (reason.action for reason in reasons), key=lambda action: action.weight, default=Action.ALLOW
    )
    return replace(
        verdict, action=action, text="" if action is Action.BLOCK else text, reasons=tuple(reasons)
    )


def _failed(verdict: Verdict, what: str) -> Verdict:
    reason = Reason("guard.failed", "guard", Action.HOLD, note=what)
    return replace(verdict, action=Action.HOLD, reasons=(*verdict.reasons, reason))
