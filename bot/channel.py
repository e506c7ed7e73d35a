"""What a way to a customer can do: Telegram, the chat page, and whatever comes next."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from context.turns import Attachment, Chat, Part, Receipt


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

    def typing(self, chat: Chat) -> AbstractAsyncContextManager[None]:
        """Show that an answer is being written; never raises into the body."""
