"""A chain over the verdicts: an edited, missing or inserted row is found, and named.

Each row is bound to the one before it by an HMAC.  What a row says about a customer is bound through a
salted hash, so that erasing the payload and its salt leaves the chain whole: the hash stays, and says no
more.  The key lives outside the database; who has both could write a new chain, so `head` is to be noted
elsewhere from time to time, which also shows when the last rows are gone.

Pure functions over values; the ledger stores the rows.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

GENESIS = "0" * 64
"""What stands before the first row."""
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Link:
    """One row of the chain.  `payload` and `salt` are None once the customer was erased."""

    number: int
    """From 1, without gaps."""
    at: float
    """Unix seconds."""
    payload: str | None
    """JSON of what was recorded."""
    salt: str | None
    """Hexadecimal; makes the digest of a guessable payload unguessable."""
    digest: str
    """HMAC of the payload under the salt."""
    seal: str
    """HMAC of the row and the seal before it, under the key."""


@dataclass(frozen=True, slots=True)
class Break:
    """Something wrong with the chain, and with which row."""

    number: int
    problem: Literal["edited", "missing", "inserted", "cut off"]


def append(key: bytes, record: Mapping[str, object], *, at: float, after: Link | None) -> Link:
    """The next row: `record` holds JSON values, `after` is the last row, None for the first."""
    payload = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    salt = secrets.token_hex(_SALT_BYTES)
    number = after.number + 1 if after else 1
    link = Link(number, at, payload, salt, _digest(payload, salt), seal="")
    return replace(link, seal=_seal(key, link, after.seal if after else GENESIS))


def erased(link: Link) -> Link:
    """The row without what it said: the chain still verifies, the payload cannot be guessed back."""
    return replace(link, payload=None, salt=None)


def breaks(key: bytes, links: Iterable[Link], *, head: Link | None = None) -> Iterator[Break]:
    """What is wrong with the rows, given in order of their numbers; nothing when all is well.

    `head` is the last row as it was noted elsewhere: the chain must still reach it unchanged.
    After a break the chain is taken up again from the next row; a forged seal names its neighbour too.
    That a row was rightly erased is for the record of erasures to say.
    """
    before: Link | None = None
    noted: Link | None = None
    for link in links:
        expected = before.number + 1 if before else 1
        if link.number < expected:
            yield Break(link.number, "inserted")
            continue
        for number in range(expected, link.number):
            yield Break(number, "missing")
        whole = link.number == expected
        if not _says_what_it_said(link) or (whole and not _follows(key, link, before)):
            yield Break(link.number, "edited")
        if head is not None and link.number == head.number:
            noted = link
        before = link
    if head is not None and noted is None:
        last = before.number if before else 0
        if last < head.number:
            yield Break(last + 1, "cut off")
    elif head is not None and noted is not None and not hmac.compare_digest(noted.seal, head.seal):
        yield Break(head.number, "edited")


def _follows(key: bytes, link: Link, before: Link | None) -> bool:
    return hmac.compare_digest(link.seal, _seal(key, link, before.seal if before else GENESIS))


def _says_what_it_said(link: Link) -> bool:
    if link.payload is None or link.salt is None:
        return link.payload is None and link.salt is None
    return hmac.compare_digest(link.digest, _digest(link.payload, link.salt))


def _digest(payload: str, salt: str) -> str:
    return hmac.new(salt.encode(), payload.encode(), hashlib.sha256).hexdigest()


def _seal(key: bytes, link: Link, before: str) -> str:
    row = f"{link.number}\n{link.at!r}\n{link.digest}\n{before}"
    return hmac.new(key, row.encode(), hashlib.sha256).hexdigest()
