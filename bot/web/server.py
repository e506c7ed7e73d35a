"""The HTTP server, in the bot's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from bot.errors import BadConfiguration

KEEP_ALIVE_S = 75
"""An idle connection is closed after this.  Longer than the 60 s of nginx and load balancers: whoever sends a
request on a connection that we are just closing gets an error."""
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class Serving:
    """A running server."""

    url: str
    """The address to open on this machine, `http://127.0.0.1:8080`."""
    task: asyncio.Task[None]
    """Ends before the block only because of a failure, which it raises."""


@asynccontextmanager
async def serve(app: ASGIApp, host: str, port: int) -> AsyncIterator[Serving]:
    """Serve `app` inside the block.

    Port 0 takes a free one.  Requests that run when the block ends have a second to finish.  Raises
    `BadConfiguration` naming HTTP_HOST or HTTP_PORT when the address cannot be had.
    """
    listener = await _bind(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
        )
    )
    running = asyncio.create_task(server.run_until_stopped(listener), name="http-server")
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield Serving(_address(listener), running)
    finally:
        ready.cancel()
        server.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class _Server(uvicorn.Server):
    """A server that leaves signals to the bot, says when it is ready and stops at once.

    uvicorn looks ten times a second whether it should exit; we tell it, and let it look once a
    second for the `Date` header.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    async def run_until_stopped(self, listener: socket.socket) -> None:
        try:
            await self.serve(sockets=[listener])
        finally:
            listener.close()  # uvicorn leaves it open when it fails
        if not self._stopping.is_set():
            raise RuntimeError("the HTTP server ended by itself")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stopping.wait()


async def _bind(host: str, port: int) -> socket.socket:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        problem = (
            f"HTTP_HOST: {host!r} is no address of this machine; for example 127.0.0.1, or 0.0.0.0 for all"
        )
        raise BadConfiguration([problem]) from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Two programs may both bind a port; only one may listen on it.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise BadConfiguration([_complaint(error, host, port)]) from error
    return listener


def _complaint(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"HTTP_PORT: {port} on {host} is in use by another program; stop that one or choose another port"
        )
    if error.errno == errno.EACCES:
        return f"HTTP_PORT: {port} may only be used by root; choose one above 1023"
    return f"HTTP_HOST: {host} cannot be listened on ({error.strerror})"


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
