"""What the guard's tests share: a guard over a small list of terms, and one judgement in a line."""

from __future__ import annotations

from bot.guard import Action, Guard, Verdict, policy_of
from bot.guard.terms import Term
from context.turns import Language

TERMS = (
    Term("freemoney", "fraud", Action.BLOCK, match="substring"),
    Term("ass", "profanity", Action.BLOCK),
    *(
        Term(word, "abuse", Action.BLOCK)
        for word in ("台独", "口交", "色情", "自杀", "套现", "加微信", "代开发票")
    ),
)
OURS = {"phones": ["400-123-4567"], "emails": ["help@example.com"], "handles": ["@example_help"]}


def small_guard(*terms: Term) -> Guard:
    """A guard for `support.example.com` with the few terms the cases speak of."""
    return Guard(
        policy=policy_of((*TERMS, *terms), allow={**OURS, "names": ["asp.net"]}),
        allowed_hosts=["support.example.com"],
    )


async def judge(
    reply: str, *, asked: str = "E4", language: Language = "en", guard: Guard | None = None, system: str = ""
) -> Verdict:
    """One reply through the gate."""
    return await (guard or small_guard()).judge(reply, asked=asked, language=language, system=system)


def rules(verdict: Verdict) -> set[str]:
    """The rules that spoke about the reply."""
    return {reason.rule for reason in verdict.reasons if reason.source == "reply"}
