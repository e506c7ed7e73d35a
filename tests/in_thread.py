"""A server of ours in a thread of its own, for tests of commands that bring their own event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from tests.until import PATIENCE_S


class _Server(Protocol):
    async def start(self) -> None: ...
    async def close(self) -> None: ...


S = TypeVar("S", bound=_Server)


class Served(Generic[S]):
    """The server, serving, for as long as the block lasts."""

    def __init__(self, server: S) -> None:
        self._server = server
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> S:
        self._thread.start()
        self._started.result(timeout=PATIENCE_S)
        return self._server

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(timeout=PATIENCE_S)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self._server.start()
        except BaseException as error:
            self._started.set_exception(error)
            raise
        self._started.set_result(None)
        await self._end.wait()
        await self._server.close()
