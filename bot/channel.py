"""Channels: what every way of reaching a customer (Telegram, the chat page) can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from context.turns import Attachment, Chat, Part, Receipt

Show = Callable[[Sequence[Part]], None]
"""Shows the customer the approved beginning of an answer before it is sent.  Each call passes everything that
is approved so far; no parts at all withdraw it.  Returns at once and never raises.  The preview disappears
together with the typing sign."""


class Channel(Protocol):
    """A connection to customers, as a turn uses it."""

    name: str
    """First half of the keys of its chats: `telegram`, `web`."""

    async def fetch(self, attachment: Attachment) -> bytes:
        """Download a picture.  Raises `FileUnavailable`, or `Again` when it may work later."""

    async def ready(self, chat: Chat) -> None:
        """Wait until one more part may be sent to this chat.  Call it before each `send`.

        It counts the part against the rate limits.  Nothing has been sent while it waits.  Raises `NotSent`
        if the wait would be too long.
        """

    async def send(self, chat: Chat, part: Part) -> Receipt:
        """Deliver one part.  Raises `NotSent`, `Ambiguous`, `Undeliverable` or `BadFormatting`."""

    def typing(self, chat: Chat) -> AbstractAsyncContextManager[Show | None]:
        """Show the typing sign while the block runs; never raises into the block.

        Yields a function that shows the beginning of the answer, or None if the channel has no previews.
        """
