"""Keys and values of earlier prompts and answers, used again when a prompt begins the same way.

The same means the same tokens *and* the same photos: two photos of one size are the same run of
placeholder tokens, and reuse by tokens alone would answer about another customer's photo.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import DynamicCache

from bot.engines.local.encoding import Span
from bot.engines.local.slots import Kept

LEAST = 16
"""Shorter beginnings are read faster than found."""


@dataclass(frozen=True, slots=True)
class _Entry:
    ids: Any
    """Tensor (tokens,) on the CPU, as everywhere here."""
    spans: tuple[Span, ...]
    kept: Kept
    size: int


class Prefixes:
    """Earlier prompts and answers, the least recently used forgotten first, within a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self.bytes = 0
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    def wants(self, size: int) -> bool:
        """Whether so many bytes would be kept at all."""
        return size <= self._max_bytes

    def put(self, ids: Any, spans: Sequence[Span], kept: Kept) -> None:
        """Remember what was computed for these tokens; replaces what it merely continues."""
        size = sum(part.numel() * part.element_size() for pair in kept for part in pair)
        if size > self._max_bytes or not kept:
            return
        entry = _Entry(ids[: kept[0][0].shape[2]].clone(), tuple(spans), kept, size)
        for key, old in list(self._entries.items()):
            if shared(old.ids, old.spans, entry.ids, entry.spans) == len(old.ids):
                self._drop(key)
        self._entries[self._next] = entry
        self._next += 1
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def find(self, ids: Any, spans: Sequence[Span]) -> tuple[int, int | None]:
        """Length in tokens of the longest known beginning of these, and the entry that has it.

        Zero and None if there is none worth it.  Always leaves at least one token to read: the next word
        comes from reading it.
        """
        best, found = 0, None
        for key, entry in self._entries.items():
            length = shared(entry.ids, entry.spans, ids, spans)
            if length == len(ids):
                length = whole_photos(length - 1, spans)
            if length > best:
                best, found = length, key
        return (best, found) if best >= LEAST else (0, None)

    def lacking(self, ids: Any, spans: Sequence[Span], others: Iterable[tuple[Any, Sequence[Span]]]) -> int:
        """Length of the longest beginning that these tokens have in common with one of the others.

        Zero if hardly more than what is known already: every copy takes the room of somebody's history.
        """
        length = max((shared(ids, spans, one, its) for one, its in others), default=0)
        return length if length >= self.find(ids, spans)[0] + LEAST else 0

    def take(self, ids: Any, spans: Sequence[Span], cache: DynamicCache) -> int:
        """Copy the longest known beginning of these tokens into an empty cache.  Returns its length."""
        best, found = self.find(ids, spans)
        if found is None:
            return 0
        self._entries.move_to_end(found)
        for number, (keys, values) in enumerate(self._entries[found].kept):
            cache.update(keys[:, :, :best].clone(), values[:, :, :best].clone(), number)
        return best

    def forget(self) -> None:
        """Give the memory back."""
        self._entries.clear()
        self.bytes = 0

    def _drop(self, key: int) -> None:
        self.bytes -= self._entries.pop(key).size


def shared(ours: Any, our_spans: Sequence[Span], theirs: Any, their_spans: Sequence[Span]) -> int:
    """How many tokens from the start are the same in both, photos included; never ends inside a photo."""
    most = min(len(ours), len(theirs))
    differ = (ours[:most] != theirs[:most]).nonzero()
    length = int(differ[0]) if len(differ) else most
    for number, span in enumerate(our_spans):
        if span.start < length and (number >= len(their_spans) or their_spans[number] != span):
            length = span.start
            break
    return whole_photos(whole_photos(length, our_spans), their_spans)


def whole_photos(length: int, spans: Sequence[Span]) -> int:
    """The length itself, or the start of the photo that it would cut through."""
    for span in spans:
        if span.start < length < span.end:
            return span.start
    return length
