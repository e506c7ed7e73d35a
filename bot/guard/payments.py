"""Account numbers in a reply: cards and IBANs with correct check digits, and addresses of crypto wallets.

What asks for them in words is in `bot.guard.wordings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.guard.fold import Folded
from bot.guard.mask import find_account_numbers
from bot.guard.verdict import Action, Reason

_WALLET = re.compile(r"\b(?:bc1[a-z0-9]{20,60}|0x[0-9a-f]{40})\b")


def find_payments(folded: Folded) -> Iterator[Reason]:
    """Every account that a customer could be told to pay into."""
    for number in find_account_numbers(folded):
        yield Reason("payment.number", "payment", Action.HOLD, number.span)
    if "bc1" in folded.text or "0x" in folded.text:
        for wallet in _WALLET.finditer(folded.text):
            yield Reason("payment.number", "payment", Action.HOLD, folded.span(*wallet.span()))
