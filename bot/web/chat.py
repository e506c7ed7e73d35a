"""The chat page as a channel, like Telegram, with browsers at the other end.

A reply is delivered by being in the transcript, which every open page reads.  So `send` cannot fail, and a
page that was closed or offline finds everything when it comes back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bot.channel import Show
from bot.web.uploads import Spool
from context.background import BackgroundTask
from context.turns import Attachment, Chat, Part, Receipt

_SWEEP_EVERY_S = 600.0


@dataclass(slots=True, eq=False)
class OpenPage:
    """A browser tab that listens to a chat."""

    room: _Room
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def typing(self) -> bool:
        """Whether an answer is being written right now."""
        return self.room.typing > 0 or self.room.typing_elsewhere

    @property
    def preview(self) -> tuple[Part, ...]:
        """The approved beginning of an answer that is being written by this process."""
        return self.room.preview

    @property
    def newest(self) -> int:
        """Id of the newest part sent while somebody listened."""
        return self.room.newest

    async def wait(self, timeout_s: float) -> bool:
        """Wait for news; False if none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def tell(self) -> None:
        """Announce news."""
        self._news.set()


@dataclass(slots=True)
class _Room:
    """The listeners of one chat, and what they should know."""

    pages: set[OpenPage] = field(default_factory=set)
    typing: int = 0
    typing_elsewhere: bool = False
    preview: tuple[Part, ...] = ()
    newest: int = 0

    def tell(self) -> None:
        for page in self.pages:
            page.tell()


Tell = Callable[[str, str, str], None]
"""Tells other processes of a chat (its key): `part` and its id, `typing` and 0 or 1, `changed`."""


class WebChannel:
    """Both directions of the chat page: uploads come in, parts and typing signs go out."""

    name = "web"

    def __init__(self, *, spool: Path, tell: Tell = lambda *_: None) -> None:
        self.spool = Spool(spool)
        self._tell = tell
        self._closed = False
        self._rooms: dict[Chat, _Room] = {}
        self._sweeping = BackgroundTask("sweeping uploads", self._sweep)

    async def open(self) -> None:
        """Prepare to receive uploads."""
        await self.spool.open()
        self._sweeping.start()

    async def fetch(self, attachment: Attachment) -> bytes:
        """The bytes of an upload.  Raises `FileUnavailable` if it is gone."""
        return await self.spool.read(attachment.file_id)

    async def ready(self, chat: Chat) -> None:
        """Returns at once: a page has no rate limit."""

    async def send(self, chat: Chat, part: Part) -> Receipt:
        """Tell the open pages of this chat to read on: the transcript itself is the delivery.

        A side message is in no transcript: it is seen where the answer is being written, until that comes.
        """
        if not part.id:
            room = self._rooms.get(chat)
            if room is not None and room.typing:
                room.preview = (part,)
                room.tell()
            return Receipt("", time.time())
        self._told(chat, "part", part.id)
        self._tell(chat.key, "part", str(part.id))
        return Receipt(f"part-{part.id}", time.time())

    @asynccontextmanager
    async def typing(self, chat: Chat) -> AsyncIterator[Show]:
        """Show the typing sign on the open pages of this chat, also on those opened meanwhile.

        The answer's beginning is shown on the pages that this process serves.
        """
        with self._in(chat) as room:
            room.typing += 1
            room.tell()
            self._tell(chat.key, "typing", "1")

            def show(parts: Sequence[Part]) -> None:
                room.preview = tuple(parts)
                room.tell()

            try:
                yield show
            finally:
                room.typing -= 1
                room.preview = ()
                room.tell()
                self._tell(chat.key, "typing", "0")

    def changed(self, chat: Chat) -> None:
        """Tell the open pages that the customer wrote something, perhaps in another tab."""
        self._told(chat, "changed", 0)
        self._tell(chat.key, "changed", "0")

    def hear(self, words: Sequence[str]) -> None:
        """Handle news of a chat from another process; without words, some news may have been missed."""
        if not words:
            for room in self._rooms.values():
                room.tell()
            return
        chat, what, number = words
        self._told(Chat.parse(chat), what, int(number))

    def _told(self, chat: Chat, what: str, number: int) -> None:
        room = self._rooms.get(chat)
        if room is None:
            return
        if what == "part":
            room.newest = max(room.newest, number)
        if what != "changed":  # another process says when it begins to type, and has finished when it sends
            room.typing_elsewhere = what == "typing" and bool(number)
        room.tell()

    @contextmanager
    def listen(self, chat: Chat) -> Iterator[OpenPage]:
        """Listen to the news of this chat."""
        with self._in(chat) as room:
            page = OpenPage(room)
            room.pages.add(page)
            try:
                yield page
            finally:
                room.pages.discard(page)

    def listeners(self, chat: Chat) -> int:
        """Number of pages that listen to this chat."""
        room = self._rooms.get(chat)
        return 0 if room is None else len(room.pages)

    def is_closed(self) -> bool:
        """Whether the bot is stopping: then streams end, or the server would wait for them."""
        return self._closed

    async def close(self) -> None:
        """End the streams of all open pages.  Calling it twice is harmless."""
        self._closed = True
        for room in self._rooms.values():
            room.tell()
        await self._sweeping.stop()

    @contextmanager
    def _in(self, chat: Chat) -> Iterator[_Room]:
        """The chat's room, which exists while anybody listens or types in it."""
        room = self._rooms.setdefault(chat, _Room())
        try:
            yield room
        finally:
            if not room.pages and not room.typing:
                self._rooms.pop(chat, None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            await self.spool.sweep()
