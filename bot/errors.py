"""Errors: what may go wrong in a turn, and who handles it.

::

    BotError
    ├── BadConfiguration          the settings are wrong: the bot names all problems and ends
    ├── Again                     the same thing may work later: the worker runs the batch again
    │   └── NotSent                 certainly not delivered (refused connection, 429)
    ├── Ambiguous                 the channel may or may not have delivered a part
    ├── Undeliverable             this chat cannot be written to (blocked, deleted)
    │   ├── TopicGone               only the topic of a group is gone
    │   └── BadFormatting           refused as formatted; plain text may pass
    └── Unavailable               a lesser answer or a person takes over
        ├── EngineUnavailable       the model cannot answer now
        │   ├── EngineOverloaded      it could, later
        │   └── EngineTimeout         it did not in time
        ├── PromptTooLong           this question does not fit the model
        └── FileUnavailable         an attachment cannot be downloaded

`bot.turn` chooses what the customer is told; the words are in `prompts/notices.*.j2`.  Superseded turns and
lost leases are errors of the ledger (`context.outbox`).
"""

from __future__ import annotations


class BotError(Exception):
    """Base of every error that we raise on purpose.  Messages hold ids, never customers' text or secrets."""


class BadConfiguration(BotError):
    """The settings cannot be used.  `problems` holds one line each, naming the setting."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Again(BotError):
    """Not now: the same thing may work after `after_s` seconds.

    `blame` says whether it counts as a failed attempt; it does not if only the channel is to blame.
    """

    def __init__(self, reason: str, *, after_s: float, blame: bool = True) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.blame = blame


class NotSent(Again):
    """The part was certainly not delivered."""

    def __init__(self, reason: str, *, after_s: float) -> None:
        super().__init__(reason, after_s=after_s, blame=False)


class Ambiguous(BotError):
    """The part may have been delivered: the connection broke after it was handed over.

    `is_seldom` says that it hardly ever was: the server answered, that it had failed.
    """

    def __init__(self, reason: str, *, is_seldom: bool = False) -> None:
        super().__init__(reason)
        self.is_seldom = is_seldom


class Undeliverable(BotError):
    """The channel refuses this chat for good (the customer blocked the bot, the account is gone)."""


class TopicGone(Undeliverable):
    """The topic of a group is gone, not the group; another one may be made."""


class BadFormatting(Undeliverable):
    """The channel refuses this part, not this chat; as plain text it may pass."""


class Unavailable(BotError):
    """Something that a turn needs is not available; a lesser answer or a person takes over."""


class EngineUnavailable(Unavailable):
    """The model cannot answer now."""


class NoModel(EngineUnavailable):
    """Only a model may answer, and none is set up."""


class EngineOverloaded(EngineUnavailable):
    """The model is there but takes no more work."""


class EngineTimeout(EngineUnavailable):
    """The model did not answer in time."""


class PromptTooLong(Unavailable):
    """The question does not fit the model's context."""


class FileUnavailable(Unavailable):
    """An attachment could not be downloaded.  `code` is a rejection code of `context.photos`."""

    def __init__(self, reason: str, *, code: str) -> None:
        super().__init__(reason)
        self.code = code
