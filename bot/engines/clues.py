"""Clues: fault codes and lights, found by rules in a customer's text and in the text on photos.

Only phrases and short fixed patterns are used, never a pattern from a file or a customer, so that the time is
linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MAX_LETTERS = 2000
"""Longer texts are cut: clues are near the beginning, and rules must stay cheap."""


@dataclass(frozen=True, slots=True)
class Light:
    """An indicator light; each part is empty if it was not mentioned."""

    colour: str
    state: str
    blinks: int = 0
    """Blinks before a pause, if somebody counted them; otherwise 0."""


@dataclass(frozen=True, slots=True)
class Code:
    """A fault code as it is shown (`E04`) and as rules compare it (`E4`)."""

    shown: str
    key: str


@dataclass(frozen=True, slots=True)
class Clues:
    """Everything that rules look at."""

    text: str = ""
    """Folded by `fold`."""
    codes: tuple[Code, ...] = ()
    lights: tuple[Light, ...] = ()
    """Each light once, the one mentioned last at the end."""

    def __add__(self, other: Clues) -> Clues:
        return Clues(
            f"{self.text}\n{other.text}",
            tuple(dict.fromkeys(self.codes + other.codes)),
            tuple(reversed(dict.fromkeys(reversed(self.lights + other.lights)))),
        )


def fold(text: str) -> str:
    """Make different spellings equal: full width, case, apostrophes."""
    return unicodedata.normalize("NFKC", text[:MAX_LETTERS]).lower().replace("’", "'")


class Phrases:
    """Finds phrases, the longest first, each with the name it was given."""

    def __init__(self, phrases: Mapping[str, Iterable[str]]) -> None:
        named = [(fold(phrase), name) for name, texts in phrases.items() for phrase in texts]
        named.sort(key=lambda pair: -len(pair[0]))
        self._names = [name for _, name in named]
        pattern = "|".join(f"(?P<p{at}>{_pattern(phrase)})" for at, (phrase, _) in enumerate(named))
        self._pattern = re.compile(pattern or "(?!)")

    def find(self, folded: str) -> list[str]:
        """Names of all phrases in a folded text, in their order."""
        return [name for _, _, name in self.places(folded)]

    def places(self, folded: str) -> list[tuple[int, int, str]]:
        """Positions of all phrases: start, end and name, in order."""
        return [
            (match.start(), match.end(), self._names[int(match.lastgroup[1:])])
            for match in self._pattern.finditer(folded)
            if match.lastgroup is not None
        ]

    def __contains__(self, folded: str) -> bool:
        return self._pattern.search(folded) is not None

    def are_all_of(self, folded: str) -> bool:
        """Whether a folded text holds phrases, and beside them no letter and no digit."""
        rest, found = self._pattern.subn(" ", folded)
        return found > 0 and not any(letter.isalnum() for letter in rest)


def _pattern(phrase: str) -> str:
    stem = phrase.removesuffix("*")
    escaped = r"\s+".join(re.escape(word) for word in stem.split())
    if not stem[:1].isascii():
        return escaped
    ending = "[a-z]*" if stem != phrase else ""
    return rf"(?<![a-z0-9]){escaped}{ending}(?![a-z0-9])"


_CLAUSE = re.compile(r"[。，,.;；!！?？\n]+")
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_COUNTS |= {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_COUNTS |= {"once": 1, "twice": 2}
_TIMES = re.compile(
    rf"(?<![a-z0-9])(?:(once|twice)(?![a-z])|([1-9]|{'|'.join(_COUNTS)})\s?(?:x|times|次|下))"
)
_TYPED_CODE = re.compile(r"(?<![a-z0-9])([a-z]{1,2})[-_]?(\d{1,3})(?![a-z0-9])")
_CALLED_A_CODE = re.compile(r"(?:code|error|fault|shows?|代码|故障码?|错误码?|显示|报错?)[\s:：是为\"'“]*$")
_TOKEN = re.compile(r"(?<![A-Z0-9])([A-Z]{1,2})[-_]?([0-9A-Z]{1,3})(?![A-Z0-9])")
_AS_DIGITS = str.maketrans("OQDILZSGB", "000112568")
"""What OCR confuses with the digits of a seven-segment display."""


class Vocabulary:
    """Finds clues in texts.  `known` are the codes in the rules, in any spelling."""

    def __init__(
        self,
        *,
        light: Sequence[str],
        colours: Mapping[str, Sequence[str]],
        states: Mapping[str, Sequence[str]],
        code_prefixes: Iterable[str],
        known: Iterable[str],
    ) -> None:
        self._colours = frozenset(colours)
        self._words = Phrases({"light": light} | dict(colours) | dict(states))
        self._prefixes = frozenset(prefix.upper() for prefix in code_prefixes)
        self._known = frozenset(filter(None, map(code_key, known)))

    def typed(self, text: str, *, colour: str = "") -> Clues:
        """Clues in what somebody wrote.  `colour` is the light they spoke of before ("now it is steady")."""
        folded = fold(text)
        return Clues(folded, tuple(self._typed_codes(folded)), self._lights(folded, colour))

    def read(self, lines: Sequence[str]) -> Clues:
        """Clues in the lines that were read on a photo."""
        folded = fold("\n".join(lines))
        codes = dict.fromkeys(code for line in lines for code in self._read_codes(line))
        return Clues(folded, tuple(codes), self._lights(folded, ""))

    def _typed_codes(self, folded: str) -> Iterable[Code]:
        seen = set()
        for match in _TYPED_CODE.finditer(folded):
            code = _code(match[1].upper(), match[2])
            called = _CALLED_A_CODE.search(folded[max(0, match.start() - 16) : match.start()])
            if code.key not in seen and (
                code.key in self._known or match[1].upper() in self._prefixes or called
            ):
                seen.add(code.key)
                yield code

    def _read_codes(self, line: str) -> Iterable[Code]:
        upper = unicodedata.normalize("NFKC", line[:MAX_LETTERS]).upper()
        joined = upper.replace(" ", "")
        # A display's own line is short, and may come with gaps between the digits.
        is_display = len(joined) <= 4  # noqa: PLR2004
        for match in _TOKEN.finditer(joined if is_display else upper):
            prefix, rest = match[1], match[2]
            if rest.isdigit() and (prefix in self._prefixes or _code(prefix, rest).key in self._known):
                yield _code(prefix, rest)
            elif is_display or not (prefix + rest).isalpha():
                yield from self._folded_code(prefix + rest)

    def _folded_code(self, token: str) -> Iterable[Code]:
        """A token in which letters stand for digits, where that makes it a known code: `EO4`, `EB`."""
        for size in (1, 2):
            digits = token[size:].translate(_AS_DIGITS)
            if digits.isdigit() and (code := _code(token[:size], digits)).key in self._known:
                yield code
                return

    def _lights(self, folded: str, colour: str) -> tuple[Light, ...]:
        lights: list[Light] = []
        meant = bool(colour)
        for clause in _CLAUSE.split(folded):
            names = self._words.find(clause)
            colours = [name for name in names if name in self._colours]
            states = [name for name in names if name not in self._colours and name != "light"]
            meant = (
                meant
                or "light" in names
                or "灯" in clause
                or bool(colours and states)
                or "blinking" in states
            )
            if not colours and states:
                # "The red light, it blinks": the colour is in an earlier clause or message.
                lights = [light for light in lights if light.colour != colour or light.state]
                colours = [colour]
            lights += _pair(colours, states, _blinks(clause))
            colour = colours[-1] if colours else colour
        return tuple(dict.fromkeys(lights)) if meant else ()


def _pair(colours: Sequence[str], states: Sequence[str], blinks: int) -> list[Light]:
    pairs = (
        zip(colours, states, strict=True)
        if len(colours) == len(states)
        else ((colour, state) for colour in colours for state in states or ("",))
    )
    return [Light(colour, state, blinks if state == "blinking" else 0) for colour, state in pairs]


def _blinks(clause: str) -> int:
    match = _TIMES.search(clause)
    word = "" if match is None else match[1] or match[2]
    return int(word) if word.isdecimal() else _COUNTS.get(word, 0)


def _code(prefix: str, digits: str) -> Code:
    return Code(prefix + digits, prefix + str(int(digits)))


def code_key(spelled: str) -> str:
    """The form in which codes are compared: `e-04` is `E4`.  Empty for anything that is not a code."""
    match = _TYPED_CODE.fullmatch(fold(spelled).replace(" ", ""))
    return _code(match[1].upper(), match[2]).key if match else ""
