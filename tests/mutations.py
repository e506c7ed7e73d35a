"""Picture files gone wrong, the same ones every time: cut, bits flipped, parts lost, repeated or swapped."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

Mutation = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(1, len(data))]


def flip_bits(data: bytes, dice: random.Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        flipped[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(flipped)


def flip_bits_early(data: bytes, dice: random.Random) -> bytes:
    """In the headers, where sizes and tables stand."""
    flipped = bytearray(data)
    for _ in range(dice.choice((1, 2, 4))):
        flipped[dice.randrange(min(len(data), 700))] ^= 1 << dice.randrange(8)
    return bytes(flipped)


def lose(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + data[at + dice.randrange(1, 40) :]


def blank(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    size = dice.choice((1, 4, 100))
    return data[:at] + (dice.choice((b"\0", b"\xff")) * size)[: len(data) - at] + data[at + size :]


def repeat(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + data[at : at + dice.randrange(1, 200)] + data[at:]


def swap_parts(data: bytes, dice: random.Random) -> bytes:
    """Two chunks or segments in each other's place."""
    parts = list(parts_of(data))
    if len(parts) > 2:
        one, other = dice.sample(range(1, len(parts)), 2)
        parts[one], parts[other] = parts[other], parts[one]
    return b"".join(parts)


def repeat_part(data: bytes, dice: random.Random) -> bytes:
    parts = list(parts_of(data))
    at = dice.randrange(1, len(parts)) if len(parts) > 1 else 0
    return b"".join([*parts[:at], parts[at] * dice.choice((2, 3, 50)), *parts[at + 1 :]])


MUTATIONS: tuple[Mutation, ...] = (
    cut,
    flip_bits,
    flip_bits_early,
    lose,
    blank,
    repeat,
    swap_parts,
    repeat_part,
)


def parts_of(data: bytes) -> Iterator[bytes]:
    """The chunks of a PNG or WebP, the segments of a JPEG; joined they are the file."""
    if data.startswith(b"\x89PNG"):
        yield from _chunks(data, 8, lambda at: 12 + int.from_bytes(data[at : at + 4], "big"))
    elif data.startswith(b"RIFF"):
        yield from _chunks(
            data, 12, lambda at: 8 + -(-int.from_bytes(data[at + 4 : at + 8], "little") // 2) * 2
        )
    else:
        begins = [match.start() for match in re.finditer(rb"\xff[\xc0-\xcf\xda-\xfe]", data)]
        for begin, end in zip([0, *begins], [*begins, len(data)], strict=True):
            yield data[begin:end]


def _chunks(data: bytes, at: int, size: Callable[[int], int]) -> Iterator[bytes]:
    yield data[:at]
    while at < len(data):
        yield data[at : at + size(at)]
        at += size(at)


def _even(length: int) -> int:
    return length + length % 2
