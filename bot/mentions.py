"""Which earlier photos a message speaks of: "photo 2", "the first picture", 照片2, 第二张图."""

from __future__ import annotations

import re

MOST = 4
"""Photos that one message brings back: more would crowd out its own."""

_WORDS = "first second third fourth fifth sixth seventh eighth ninth".split()  # noqa: SIM905 - easier to read
_ORDINALS = {word: number for number, word in enumerate(_WORDS, start=1)}
_CHINESE = {char: number for number, char in enumerate("一二三四五六七八九", start=1)}
_NUMBERED = re.compile(
    r"(?:(?<![a-z])(?:photo|picture|image|pic)|照片|图片|相片|图)\s{0,2}(?:no\.?|number|#|№)?\s{0,2}(\d{1,3})(?!\d)",
    re.IGNORECASE,
)
_ORDINAL = re.compile(
    rf"(?<![a-z])({'|'.join(_WORDS)})\s{{1,2}}(?:photo|picture|image|pic)(?![a-rt-z])"
    r"|第\s?([一二三四五六七八九]|\d{1,3})\s?张",
    re.IGNORECASE,
)


def photos_mentioned(text: str, *, has_own: bool, most: int = MOST) -> tuple[int, ...]:
    """Numbers of the photos that are named, in their order, at most `most`.

    With photos of its own (`has_own`), "the first picture" of a message is one of those.
    """
    numbers = [int(number) for number in _NUMBERED.findall(text)]
    if not has_own:
        numbers += [_number(english.lower() or chinese) for english, chinese in _ORDINAL.findall(text)]
    return tuple(dict.fromkeys(number for number in numbers if number))[:most]


def places_mentioned(text: str) -> list[tuple[int, int, int]]:
    """Where photos are named by their number: from, to, and the number, in the order of the text."""
    return [(match.start(), match.end(), int(match[1])) for match in _NUMBERED.finditer(text)]


def _number(word: str) -> int:
    return _ORDINALS.get(word) or _CHINESE.get(word) or int(word)
