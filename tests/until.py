"""Waiting for something that sets no event of ours: another process, a browser, a file's change."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

PATIENCE_S = 60.0
"""For what must happen: far more than any of it takes, so that no test fails because the machine is busy."""
PROCESS_S = 240.0
"""For a process of its own, which has everything to import before it begins."""


async def until(
    holds: Callable[[], object | Awaitable[object]], *, timeout_s: float = PATIENCE_S, every_s: float = 0.02
) -> None:
    """Return when `holds` is true (it may be asked in a coroutine); TimeoutError when it is not in time.

    Asked too often, it takes from the others what they need to become true.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            found = holds()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return
            await asyncio.sleep(every_s)
