"""`python -m bot retention`: what is older than the operator wants to keep it.

Safe beside a running bot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bot.errors import BotError
from context.db import StoreDown
from context.upkeep.retention import Lifetimes, Retention


def in_words(lifetimes: Lifetimes) -> str:
    """`conversations 365 days, photos 90 days, access log for good`."""
    names = {"conversations": lifetimes.chats, "photos": lifetimes.photos, "access log": lifetimes.access}
    return ", ".join(f"{name} {f'{days} days' if days else 'for good'}" for name, days in names.items())


async def run(
    retention: Retention, lifetimes: Lifetimes, *, scrub: Callable[[], Awaitable[bool]], sweep: bool
) -> int:
    """Print what would be deleted now, or delete it and print what was.  Raises BotError."""
    print(f"kept: {in_words(lifetimes)}")
    try:
        counts = await (retention.sweep() if sweep else retention.due())
        is_scrubbed = await scrub() if sweep and counts else True
    except (StoreDown, TimeoutError) as error:
        raise BotError(str(error) or "the database took too long") from error
    print("erased:" if sweep else "a sweep would erase now:")
    lines = [f"{count:>8}  {name}" for name, count in sorted(counts.items()) if count]
    print("\n".join(lines or ["       0  nothing"]))
    if not is_scrubbed:
        print("files: somebody was at work all the time; the bot overwrites what was erased in some minutes")
    return 0
