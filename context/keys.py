"""The names and lifetimes of all Redis keys.

The braces are hash tags of Redis Cluster: all keys of one chat are on one node, so that a script may use them
together.  Nothing under these keys is the only copy of anything.
"""

from __future__ import annotations

from context.turns import Chat

ERASED_AGE_S = 2 * 3600.0
"""Longer than any turn can take."""
WINDOW_AGE_S = 72 * 3600.0
"""A window expires after three days without a new turn; SQL still has its turns."""


def draft(namespace: str, key: str) -> str:
    """`draft:{bot:<sha256>}`: a cached draft; the operator chooses its lifetime."""
    return f"draft:{{{namespace}:{key}}}"


def drafts(namespace: str, alias: str) -> str:
    """`drafts:{bot:<alias>}`: names of the cached drafts that contain words of one chat."""
    return f"drafts:{{{namespace}:{alias}}}"


def erased(namespace: str, alias: str) -> str:
    """`erased:{bot:<alias>}`: the chat was just erased; drafts that are being written are not cached."""
    return f"erased:{{{namespace}:{alias}}}"


def gone(namespace: str, chat: Chat) -> str:
    """`gone:{bot:telegram:42}`: turns of the chat up to this one were erased."""
    return f"gone:{{{namespace}:{chat.key}}}"


def window(namespace: str, chat: Chat) -> str:
    """`ctx:{bot:telegram:42}`: the last turns of a chat."""
    return f"ctx:{{{namespace}:{chat.key}}}"


def of_windows(namespace: str) -> tuple[str, str]:
    """Patterns for all windows of a bot, and for the marks beside them."""
    return f"ctx:{{{namespace}:*", f"gone:{{{namespace}:*"
