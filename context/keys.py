"""Every Redis key and every age, named once.

The braces are Redis Cluster's hash tag: all keys of one chat lie on one node, so that a script may
touch them together.  Nothing under these keys is the only copy of anything.
"""

from __future__ import annotations

from context.turns import Chat

ERASED_AGE_S = 2 * 3600.0
"""Longer than any turn may be in work."""
WINDOW_AGE_S = 72 * 3600.0
"""A window that nobody has added to for three days is forgotten; SQL still has its turns."""


def draft(namespace: str, key: str) -> str:
    """`draft:{bot:<sha256>}`: a draft that was made before; its age is the operator's choice."""
    return f"draft:{{{namespace}:{key}}}"


def drafts(namespace: str, alias: str) -> str:
    """`drafts:{bot:<alias>}`: names of the drafts that hold words of one chat."""
    return f"drafts:{{{namespace}:{alias}}}"


def erased(namespace: str, alias: str) -> str:
    """`erased:{bot:<alias>}`: the chat was erased a moment ago; what is still in work is not kept."""
    return f"erased:{{{namespace}:{alias}}}"


def gone(namespace: str, chat: Chat) -> str:
    """`gone:{bot:telegram:42}`: turns of the chat up to this one were erased."""
    return f"gone:{{{namespace}:{chat.key}}}"


def window(namespace: str, chat: Chat) -> str:
    """`ctx:{bot:telegram:42}`: the last turns of a chat."""
    return f"ctx:{{{namespace}:{chat.key}}}"


def of_windows(namespace: str) -> tuple[str, str]:
    """What matches every key of every window of a bot, and what was noted beside them."""
    return f"ctx:{{{namespace}:*", f"gone:{{{namespace}:*"
