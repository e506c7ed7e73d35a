"""Reads rating plates and displays: lines of text become facts with a meaning and a place.

A field is named on the plate itself (`MODEL KFR-35GW`, 型号：...); its value follows the name, is in
the next box of the same row, or below.  What is not named is not guessed, except for brands, which are known.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bot.engines.clues import Phrases, Vocabulary, fold
from context.turns import Fact, FactKind, Line

FIELDS: tuple[FactKind, ...] = ("brand", "model", "serial")
MOST_FACTS = 12
"""Of one photo: more than that is no plate."""
_VALUE = re.compile(r"(?=[^\s]*\d)[A-Za-z0-9][A-Za-z0-9/.()_+-]{2,38}[A-Za-z0-9)]")
"""A model or serial number: no spaces, at least one digit."""
_BRAND = re.compile(r"[A-Za-z\u4e00-\u9fff][A-Za-z0-9&.\u4e00-\u9fff -]{1,23}")
_COUNT_WORD = re.compile(r"\s*(?:no|nr|number|code|号码?)?[\s.:：#]*", re.IGNORECASE)
_NEAR = 12.0
"""How far to the right a value may stand, in heights of its name."""
_BELOW = 2.5
_SAME_ROW, _OVERLAP = 0.6, 0.5


@dataclass(frozen=True, slots=True)
class Labels:
    """Reads facts out of lines.  `fields` and `brands` come from `prompts/rules/vocabulary.yaml`."""

    vocabulary: Vocabulary
    fields: Phrases
    brands: Phrases

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, fields: Mapping[str, Sequence[str]], brands: Mapping[str, Sequence[str]]
    ) -> Labels:
        """From phrases by field, and spellings by the name of a brand."""
        return cls(vocabulary, Phrases(fields), Phrases(brands))

    def facts(self, lines: Sequence[Line]) -> tuple[Fact, ...]:
        """Codes, brands, model and serial numbers, each once and in the order of the lines."""
        found: dict[tuple[FactKind, str], Fact] = {}
        for fact in self._all(lines):
            known = found.get((fact.kind, fact.value))
            if known is None or known.confidence < fact.confidence:
                found[fact.kind, fact.value] = fact
        return tuple(found.values())[:MOST_FACTS]

    def _all(self, lines: Sequence[Line]) -> Iterator[Fact]:
        for line in lines:
            named = list(self._named(line, lines))
            yield from named
            if not any(fact.kind == "brand" for fact in named):
                for brand in self.brands.find(fold(line.text)):
                    yield Fact("brand", brand, line.confidence, line.box)
            if not named:
                for code in self.vocabulary.read([line.text]).codes:
                    yield Fact("code", code.shown, line.confidence, line.box)

    def _named(self, line: Line, lines: Sequence[Line]) -> Iterator[Fact]:
        """The fields that this line names."""
        text = unicodedata.normalize("NFKC", line.text)
        places = [place for place in self.fields.places(fold(text)) if place[2] in FIELDS]
        for at, (_, end, kind) in enumerate(places):
            until = places[at + 1][0] if at + 1 < len(places) else len(text)
            if value := value_in(kind, text[_after(text, end) : until]):
                yield Fact(kind, value, line.confidence, line.box)  # type: ignore[arg-type]  # one of FIELDS
            elif (beside := self._beside(line, lines)) and (value := value_in(kind, beside.text)):
                confidence = min(line.confidence, beside.confidence)
                yield Fact(kind, value, confidence, beside.box)  # type: ignore[arg-type]  # one of FIELDS

    def _beside(self, line: Line, lines: Sequence[Line]) -> Line | None:
        """The nearest line to the right in the same row, else the one below; never another name."""
        others = [other for other in lines if other is not line and not self.fields.find(fold(other.text))]
        near = [(gap, other) for other in others if (gap := _gap(line, other)) is not None]
        return min(near, key=lambda pair: pair[0])[1] if near else None


def _after(text: str, end: int) -> int:
    """Where the value begins after the name: `MODEL NO.: `."""
    match = _COUNT_WORD.match(text, end)
    return match.end() if match else end


def value_in(kind: str, text: str) -> str:
    """The value that a text begins with, as it is written there; empty where none of this kind does."""
    text = unicodedata.normalize("NFKC", text).strip(" :.#-")
    if kind == "brand":
        match = _BRAND.match(text)
        return " ".join(match[0].split()) if match else ""
    match = _VALUE.match(text)
    return match[0] if match else ""


def _gap(name: Line, other: Line) -> float | None:
    """How far `other` is from where a value of `name` is expected; None where it is none.

    Along the text's own directions, so that a plate may be turned.
    """
    if len(name.box) != 4 or len(other.box) != 4:  # noqa: PLR2004 - corners
        return None
    (x0, y0), (x1, y1), _, (x3, y3) = name.box
    height = math.hypot(x3 - x0, y3 - y0) or 1.0
    width = math.hypot(x1 - x0, y1 - y0) or 1.0
    right = (x1 - x0) / width, (y1 - y0) / width
    down = (x3 - x0) / height, (y3 - y0) / height
    # From the name's upper left corner to the middle of the other's left edge.
    dx = (other.box[0][0] + other.box[3][0]) / 2 - x0
    dy = (other.box[0][1] + other.box[3][1]) / 2 - y0
    along = (dx * right[0] + dy * right[1] - width) / height
    below = (dx * down[0] + dy * down[1]) / height - 0.5
    if abs(below) <= _SAME_ROW and -_OVERLAP <= along <= _NEAR:
        return max(0.0, along)
    if _SAME_ROW < below <= _BELOW and abs(along + width / height) <= 1.0:
        return _NEAR + below
    return None
