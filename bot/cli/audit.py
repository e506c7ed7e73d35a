"""`python -m bot verify-audit`: prove that nobody has altered the guard's verdicts.

Safe beside a running bot, which seals a verdict about a second after its turn.  Each run prints number and
seal of the last row.  Given to a later run with `--head`, they also reveal rows that were cut off at the end.
"""

from __future__ import annotations

import re

from bot.cli.database import open_database
from bot.errors import BotError
from context.audit import Link
from context.verdicts import Verdicts

SHOWN = 20
"""Most breaks of the chain that are printed one by one."""


async def run(database_url: str, *, key: bytes, head: str | None = None) -> int:
    """Print what is wrong, or that nothing is; the exit code.  Raises BotError for an invalid head."""
    noted = _head(head) if head else None
    async with open_database(database_url) as db:
        verdicts = Verdicts(db, key=key)
        count, found = await verdicts.verify(head=noted)
        last, waiting = await verdicts.head(), await verdicts.waiting()
    for wrong in found[:SHOWN]:
        print(f"verdict {wrong.number}: {wrong.problem}")
    if len(found) > SHOWN:
        print(f"... and {len(found) - SHOWN} more")
    print(f"{count} verdicts, {'whole' if not found else f'{len(found)} breaks'}")
    if waiting:
        print(f"{waiting} more are on record and wait for the bot to seal them")
    if last is not None:
        print(f"note this outside the database: --head {last.number}:{last.seal}")
    return 1 if found else 0


def _head(text: str) -> Link:
    found = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text)
    if found is None:
        raise BotError("--head takes NUMBER:SEAL as an earlier run printed it")
    return Link(int(found[1]), 0.0, None, None, "", found[2])
