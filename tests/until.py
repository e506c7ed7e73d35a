"""Waiting for something that sets no event of ours: another process, a browser, a file's change."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], object | Awaitable[object]], *, timeout_s: float = 10.0) -> None:
    """Return when `holds` is true (it may be asked in a coroutine); TimeoutError when it is not in time."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = holds()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.005)
