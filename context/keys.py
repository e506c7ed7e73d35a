"""Every Redis key and every age, named once.

The braces are Redis Cluster's hash tag: all keys of one chat lie on one node, so that a script may
touch them together.  Nothing under these keys is the only copy of anything.
"""

from __future__ import annotations

from context.turns import Chat

WINDOW_AGE_S = 72 * 3600.0
"""A window that nobody has added to for three days is forgotten; SQL still has its turns."""


def draft(namespace: str, key: str) -> str:
    """`draft:{bot:<sha256>}`: a draft that was made before; its age is the operator's choice."""
    return f"draft:{{{namespace}:{key}}}"


def window(namespace: str, chat: Chat) -> str:
    """`ctx:{bot:telegram:42}`: the last turns of a chat."""
    return f"ctx:{{{namespace}:{chat.key}}}"
