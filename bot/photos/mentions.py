"""Which earlier photos a message refers to: "photo 2", "the first picture", 照片2, 第二张图."""

from __future__ import annotations

import re

MOST = 4
"""Most earlier photos that one message can refer to: more would leave no room for its own."""

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
    """Numbers of the photos that the text names, in their order, at most `most`.

    In a message that has photos of its own (`has_own`), "the first picture" means one of those.
    """
    numbers = [int(number) for number in _NUMBERED.findall(text)]
    if not has_own:
        numbers += [_number(english.lower() or chinese) for english, chinese in _ORDINAL.findall(text)]
    return tuple(dict.fromkeys(number for number in numbers if number))[:most]


def places_mentioned(text: str) -> list[tuple[int, int, int]]:
    """Places in the text where a photo is named: start, end and the photo's number, in order."""
    return [(match.start(), match.end(), int(match[1])) for match in _NUMBERED.finditer(text)]


def _number(word: str) -> int:
    return _ORDINALS.get(word) or _CHINESE.get(word) or int(word)
