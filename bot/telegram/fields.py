"""Fields of Telegram's JSON objects, read strictly: a field of another type makes the update unreadable."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bot.errors import BotError

Fields = Mapping[str, object]
"""An object of the Bot API, by Telegram's own names."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class UnreadableUpdate(BotError):
    """An update that does not look like the Bot API's.  The message names the field, never its content."""


def required(raw: Fields, name: str) -> Fields:
    """An object that has to be there."""
    value = raw.get(name)
    if not isinstance(value, Mapping):
        raise UnreadableUpdate(f"{name} is not an object")
    return value


def child(raw: Fields, name: str) -> Fields | None:
    """An object; None if it is missing."""
    return None if raw.get(name) is None else required(raw, name)


def children(raw: Fields, name: str) -> Sequence[Fields]:
    """A list of objects; empty if it is missing."""
    value = raw.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise UnreadableUpdate(f"{name} is not a list of objects")
    return value


def string(raw: Fields, name: str) -> str:
    """A text that every store takes; empty if it is missing."""
    value = raw.get(name, "")
    if not isinstance(value, str):
        raise UnreadableUpdate(f"{name} is not text")
    return _clean(value)


def integer(raw: Fields, name: str) -> int:
    """A whole number of 64 bits that has to be there."""
    value = raw.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise UnreadableUpdate(f"{name} is not a whole number")
    return value


def _clean(text: str) -> str:
    """Text that every store takes: no NUL, no half of a surrogate pair."""
    text = text.replace("\x00", "")
    return (
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if _SURROGATE.search(text)
        else text
    )
