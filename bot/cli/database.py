"""Opens the database for the length of one command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.errors import BotError
from context.db import Database, StoreDown


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """Open it, and close it when the block ends.

    Safe beside a running bot.  Raises BotError, with the reason, when the database cannot be opened or fails
    inside the block.
    """
    try:
        db = await asyncio.to_thread(Database, url)
        try:
            yield db
        finally:
            await db.close()
    except StoreDown as error:
        raise BotError(str(error)) from error
