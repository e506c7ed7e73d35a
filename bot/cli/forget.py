"""`python -m bot forget CHAT`: erase a customer's data everywhere.  Safe beside a running bot."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.errors import BotError
from context.db import StoreDown
from context.turns import Chat
from context.upkeep.erasure import Erasure, Receipt


async def run(erasure: Erasure, name: str) -> int:
    """Erase the chat and print a receipt; 1 if something could not be reached.  Raises BotError."""
    try:
        chat = Chat.parse(name)
    except ValueError as error:
        raise BotError(f"{error}; for example telegram:42") from error
    try:
        receipt = await erasure.forget(chat, wish="operator")
        is_scrubbed = await erasure.scrub()
    except (StoreDown, TimeoutError) as error:
        raise BotError(str(error) or "the database took too long") from error
    print("\n".join(_lines(receipt)))
    if not is_scrubbed:
        print("files: somebody was at work all the time; run it again to overwrite what was erased")
    if receipt.left:
        print(f"not reached: {', '.join(receipt.left)}; run it again when it is")
    return int(bool(receipt.left) or not is_scrubbed)


def _lines(receipt: Receipt) -> list[str]:
    moment = datetime.fromtimestamp(receipt.at, UTC).isoformat(timespec="seconds")
    if not receipt.counts:
        return [f"erased at {moment}: nothing was there"]
    counts = [f"{count:>8}  {name}" for name, count in sorted(receipt.counts.items())]
    return [f"erased at {moment}:", *counts]
