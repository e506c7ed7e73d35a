"""`python -m bot keys`: the keys of the HTTP API.  Safe beside a running bot."""

from __future__ import annotations

import sys
import time

from bot.cli.database import open_database
from bot.errors import BotError
from context.api.keys import Allowance, ApiKeys, Used

MAX_NAME = 80


async def add(database_url: str, name: str, limits: tuple[int, int, int]) -> int:
    """Create a key and print it: the key alone on standard output, everything else on standard error."""
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise BotError(f"a name has 1 to {MAX_NAME} printable characters")
    async with open_database(database_url) as db:
        made, plain = await ApiKeys(db).add(name, Allowance(*limits))
    print(f"key {made.id} for {name}; it is shown this once and cannot be found again:", file=sys.stderr)
    print(plain)
    return 0


async def show(database_url: str) -> int:
    """Print one line for each key."""
    async with open_database(database_url) as db:
        keys = ApiKeys(db)
        every = await keys.every()
        used = await keys.used([key.id for key in every])
    for key in every:
        most, today = key.allowance, used.get(key.id, Used())
        limits = f"{_most(most.requests_per_min)}/min, {_most(most.tokens_per_day)} tokens/day, "
        limits += f"{_most(most.streams)} at a time"
        since = time.strftime("%Y-%m-%d", time.gmtime(key.created_at))
        state = "revoked" if key.revoked_at else f"today {today.requests} requests, {today.tokens} tokens"
        print(f"{key.id}  {since}  {key.name}  ({limits})  {state}")
    if not every:
        print("no keys yet: python -m bot keys add NAME")
    return 0


async def revoke(database_url: str, key_id: str) -> int:
    """Revoke a key; running bots know within seconds."""
    async with open_database(database_url) as db:
        if not await ApiKeys(db).revoke(key_id):
            raise BotError(f"no key {key_id} is in force")
    print(f"key {key_id} is revoked")
    return 0


def _most(limit: int) -> str:
    return str(limit) if limit else "any"
