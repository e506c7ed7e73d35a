"""The arrows of the ledger: every step between two states, and how to die exactly there.

`python -m torture.arrows` is `python -m bot` with a bomb in it: the environment variable
`TORTURE_DIE_AT` names one arrow, and the process kills itself (SIGKILL, nothing is cleaned up) when it
gets there.  The bot's own code knows nothing of it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import runpy
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

VARIABLE = "TORTURE_DIE_AT"

Provoke = Literal["talk", "flood", "cut", "cut twice", "newer"]


@dataclass(frozen=True, slots=True)
class Arrow:
    """A place to die at: before or after one call of one method."""

    method: str
    """`module:Class.method`, or `module:function`."""
    when: Literal["before", "after"]
    means: str
    provoke: Provoke = "talk"
    """What makes the bot get there."""

    def __str__(self) -> str:
        return f"{self.method}:{self.when}"


COMING_IN = (
    Arrow("context.inbox:Inbox.put", "before", "fetched, not stored"),
    Arrow("context.inbox:store", "after", "in the middle of storing"),
    Arrow("context.inbox:Inbox.put", "after", "stored, not confirmed to Telegram"),
    Arrow("context.claims:Claims.take", "after", "in the middle of claiming"),
    Arrow("context.inbox:Inbox.claim", "after", "claimed, nothing done"),
    Arrow("context.inbox:Inbox.attach", "after", "picture taken in, not shown to the model"),
    Arrow("context.inbox:Inbox.superseded", "before", "newer words came, draft not given back", "newer"),
    Arrow("context.inbox:Inbox.superseded", "after", "newer words came, draft given back", "newer"),
)
GOING_OUT = (
    Arrow("context.outbox:Outbox.open", "before", "answer thought of, not decided"),
    Arrow("context.outbox:Outbox.open", "after", "decided, not handed to Telegram"),
    Arrow("bot.telegram.channel:TelegramChannel.send", "after", "delivered, receipt not written"),
    Arrow("context.outbox:Outbox._go_on", "after", "in the middle of writing the receipt"),
    Arrow("context.outbox:Outbox.sent", "after", "receipt written"),
    Arrow("context.window:ContextWindow.push", "after", "remembered, chat not given back"),
    Arrow("context.outbox:Outbox.not_sent", "after", "refused by Telegram, written down", "flood"),
    Arrow("context.outbox:Outbox.ambiguous", "after", "perhaps delivered, written down", "cut"),
    Arrow("context.outbox:Outbox.sending", "after", "about to be sent once more", "cut"),
    Arrow("context.outbox:Outbox.finish", "after", "taken for delivered, after two tries", "cut twice"),
)


def main() -> None:
    """Arm the bomb, then run the bot with our own command line.  Ends the process."""
    if where := os.environ.pop(VARIABLE, ""):
        method, _, when = where.rpartition(":")
        arm(method, when)
    runpy.run_module("bot", run_name="__main__", alter_sys=True)  # as `python -m bot` does


def arm(method: str, when: str) -> None:
    """Let the process die before or after the first call of a method or function.

    Raises AttributeError when there is no such method: a bomb that cannot go off proves nothing.
    """
    module, _, path = method.partition(":")
    owner_name, _, name = path.rpartition(".")
    owner: Any = importlib.import_module(module)
    owner = getattr(owner, owner_name) if owner_name else owner
    setattr(owner, name, _deadly(getattr(owner, name), when))


def _deadly(inner: Callable[..., Any], when: str) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(inner):

        @functools.wraps(inner)
        def call(*args: Any, **named: Any) -> Any:
            if when == "before":
                _die()
            result = inner(*args, **named)
            _die()
            return result

        return call

    @functools.wraps(inner)
    async def call_async(*args: Any, **named: Any) -> Any:
        if when == "before":
            _die()
        result = await inner(*args, **named)
        if not _is_empty(result):
            _die()
        return result

    return call_async


def _is_empty(result: Any) -> bool:
    """Whether nothing happened: a claim of nothing, a batch that was stored before."""
    return result == 0 or (isinstance(result, tuple) and not (result and result[0]))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
