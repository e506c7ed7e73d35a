"""The guard: no word of a model gets out unchecked, and every verdict can be explained."""

from bot.guard.guard import Guard
from bot.guard.policy import Policy, load_policy, policy_of
from bot.guard.verdict import Action, Opinion, Reason, Signals, Verdict

__all__ = [
    "Action",
    "Guard",
    "Opinion",
    "Policy",
    "Reason",
    "Signals",
    "Verdict",
    "load_policy",
    "policy_of",
]
