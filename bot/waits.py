"""Waiting in a turn: for work, and for newer messages of the customer, which make the work pointless."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from context.outbox import Superseded

T = TypeVar("T")


async def event_or(event: asyncio.Event, deadline: float) -> None:
    """Wait for the event, at most until the event loop's clock shows `deadline`."""
    if deadline > asyncio.get_running_loop().time():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await event.wait()


async def unless(event: asyncio.Event, work: Awaitable[T]) -> T:
    """Await the work; if the event comes first, cancel it and raise `Superseded`."""
    task = asyncio.ensure_future(work)
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Superseded
        return task.result()
    finally:
        waiter.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that must not be left half done: if cancelled, finish it before raising CancelledError."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
