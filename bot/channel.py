"""What a way to a customer can do: Telegram, the chat page, and whatever comes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from context.turns import Attachment, Chat, Part, Receipt

Show = Callable[[Sequence[Part]], None]
"""Lets a customer see what is approved of an answer before it is sent: all of it each time, no part to take
it back.  Returns at once and never raises; what is seen lasts no longer than the sign of writing."""


class Channel(Protocol):
    """The far end of a conversation, as the road of a turn sees it."""

    name: str
    """The first half of its chats' keys."""

    async def fetch(self, attachment: Attachment) -> bytes:
        """Download a picture.  Raises `FileUnavailable`, or `Again` when it may work later."""

    async def ready(self, chat: Chat) -> None:
        """Wait until this chat may be sent one more part: before each `send`, which it counts.

        Nothing has been handed over while it waits.  Raises `NotSent` when that would take too long.
        """

    async def send(self, chat: Chat, part: Part) -> Receipt:
        """Deliver one part.  Raises `NotSent`, `Ambiguous`, `Undeliverable` or `BadFormatting`."""

    def typing(self, chat: Chat) -> AbstractAsyncContextManager[Show | None]:
        """Show that an answer is being written; never raises into the body.

        Gives what shows its beginning, or None where the channel cannot.
        """
