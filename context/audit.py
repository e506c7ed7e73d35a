"""An audit chain over the verdicts: finds and names edited, missing and inserted rows.

Each row is linked to the one before it by an HMAC.  What a row says about a customer is included through a
salted hash, so that erasing payload and salt leaves the chain intact: the hash remains and reveals nothing.
The key is stored outside the database.  Somebody with the key and the database could write a new chain;
therefore `head` should be noted elsewhere from time to time, which also shows if the last rows are missing.

These are pure functions of values; the ledger stores the rows.
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
"""The seal before the first row."""
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Link:
    """One row of the chain.  `payload` and `salt` are None after the customer was erased."""

    number: int
    """From 1, without gaps."""
    at: float
    """Unix seconds."""
    payload: str | None
    """JSON of what was recorded."""
    salt: str | None
    """Hexadecimal; prevents guessing a short payload from its digest."""
    digest: str
    """HMAC of the payload under the salt."""
    seal: str
    """HMAC of the row and the seal before it, under the key."""


@dataclass(frozen=True, slots=True)
class Break:
    """A fault in the chain, and the number of its row."""

    number: int
    problem: Literal["edited", "missing", "inserted", "cut off"]


def append(key: bytes, record: Mapping[str, object], *, at: float, after: Link | None) -> Link:
    """The next row.  `record` contains JSON values; `after` is the last row, None for the first."""
    payload = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    salt = secrets.token_hex(_SALT_BYTES)
    number = after.number + 1 if after else 1
    link = Link(number, at, payload, salt, _digest(payload, salt), seal="")
    return replace(link, seal=_seal(key, link, after.seal if after else GENESIS))


def erased(link: Link) -> Link:
    """The row without its payload: the chain still verifies, and the payload cannot be guessed."""
    return replace(link, payload=None, salt=None)


def breaks(key: bytes, links: Iterable[Link], *, head: Link | None = None) -> Iterator[Break]:
    """The faults of the chain; `links` are given in the order of their numbers.

    `head` is the last row as it was noted elsewhere: the chain must still contain it unchanged.  After a
    fault, verification continues with the next row; a forged seal makes its neighbour look faulty as well.
    Whether a row was rightly erased is not decided here.
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
