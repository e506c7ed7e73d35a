"""Sends answers over HTTP, at once or as a stream, and stops when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bot.inquiries.inquiry import Answered
from bot.web.api.refusal import refusal_of
from bot.web.api.wire import Envelope, event_of

T = TypeVar("T")

HEADERS_S = 3.0
"""A stream begins after this at the latest.  An error before that has an HTTP status of its own, so clients
know how to retry."""
PING_S = 10.0
HUNG_UP = "hung_up"
"""The outcome of a request whose client disconnected."""


class HungUp(Exception):
    """The client has disconnected; nobody will read an answer."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await the work; cancel it and raise `HungUp` if the client disconnects first."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HungUp
        return task.result()
    finally:
        await _end(task, gone)


class Words:
    """The approved part of an answer that is still being written.  What an app has read stays read."""

    def __init__(self) -> None:
        self._approved = ""
        self._read = 0
        self._news = asyncio.Event()

    def show(self, words: str) -> None:
        """Set all approved words so far; an empty text withdraws what has not been read yet."""
        self._approved = words or self._approved[: self._read]
        self._news.set()

    def take(self) -> str:
        """The new words."""
        new, self._read = self._approved[self._read :], len(self._approved)
        self._news.clear()
        return new

    @property
    def taken(self) -> str:
        """Everything that was read."""
        return self._approved[: self._read]

    async def wait(self) -> None:
        """Wait for something new."""
        await self._news.wait()


async def begin(receive: Receive, work: Coroutine[Any, Any, T], words: Words) -> asyncio.Task[T]:
    """Start the work; wait a moment or for its first words.  Raises its error, or `HungUp`."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(receive))
    heard = asyncio.ensure_future(words.wait())
    try:
        await asyncio.wait((task, gone, heard), timeout=HEADERS_S, return_when=asyncio.FIRST_COMPLETED)
        has_hung_up = gone.done() and not task.done()
    except asyncio.CancelledError:
        await _end(task)
        raise
    finally:
        await _end(gone, heard)
    if has_hung_up:
        await _end(task)
        raise HungUp
    if task.done():
        task.result()
    return task


class EventStream(Response):
    """The answer as server-sent events: sentences as they are approved, comments while there is none.

    `after` is called when it ends, in whatever way, and `tell` with the outcome: the status that an answer in
    one piece would have, or `hung_up`.  If the client disconnects, the work is cancelled.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        work: asyncio.Task[Answered],
        words: Words,
        envelope: Envelope,
        *,
        wants_usage: bool,
        after: Callable[[], None],
        headers: dict[str, str],
    ) -> None:
        self.status_code = 200
        self.background = None
        self._work = work
        self._words = words
        self._envelope = envelope
        self._wants_usage = wants_usage
        self._after = after
        self._outcome = "200"
        self.tell: Callable[[str], None] = lambda _outcome: None
        self.body = b""
        self.init_headers(headers | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI
        """Write it."""
        writing = asyncio.ensure_future(self._write(send))
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            await asyncio.wait((writing, gone), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
            else:
                self._outcome = HUNG_UP
        finally:
            await _end(writing, gone, self._work)
            self._after()
            self.tell(self._outcome)

    async def _write(self, send: Send) -> None:
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in self._pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield b": waiting\n\n"
        read = False
        while not self._work.done():
            if new := self._words.take():
                yield b"".join(
                    self._envelope.beginning(new, is_first=not read, wants_usage=self._wants_usage)
                )
                read = True
            elif not await self._news():
                yield b": waiting\n\n"
        try:
            answered = self._work.result()
        except Exception as error:  # noqa: BLE001 - the status is sent: it is told as an event
            refusal = refusal_of(error)
            self._outcome = str(refusal.status)
            yield event_of(refusal.body())
            return
        said = self._words.taken
        yield b"".join(self._envelope.pieces(answered, said=said, wants_usage=self._wants_usage))

    async def _news(self) -> bool:
        """Wait for words, or for the end; False if neither came for a while."""
        heard = asyncio.ensure_future(self._words.wait())
        try:
            waiting = (self._work, heard)
            done, _ = await asyncio.wait(waiting, timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(heard)
        return bool(done)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
