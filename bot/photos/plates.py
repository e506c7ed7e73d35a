"""Plates: which of the words on a rating plate are brand, model and serial number, as the model says.

Text recognition reads the letters, and knows a field where the plate names it (`bot.engines.labels`); for the
rest the model is asked, behind the turn.  Its answer is three values and no words of its own: each has to
stand on the photo as text recognition read it, but for a letter in five, and lies where that stands.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from bot.engines import Engine
from bot.engines.clues import fold
from bot.engines.labels import FIELDS, value_in
from bot.engines.structured import facts
from bot.language import language_of
from context.readings import Reading
from context.turns import Fact, FactKind, Line, Photo
from prompts.prompt import Manner, PromptImage
from prompts.prompts import Prompts

PLATE_S = 60.0
"""For one photo; nobody waits for it."""
LEAST_LINES = 3
"""A display has fewer: a plate says what it needs, and who made it."""
MOST_LINES = 40
ALIKE = 0.8
"""So much of a value has to be what text recognition read; the rest it may have read wrongly."""
LITERAL = 5
"""Shorter values have to stand there to the letter."""
MEASURE = re.compile(r"[\d.,]+\s?(?:v|k?w|m?a|hz|kg|g|ml?|mm|bar|mpa|btu|℃)(?![a-z0-9])", re.IGNORECASE)
_FIELD = {"type": "string", "maxLength": 40}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": dict.fromkeys(FIELDS, _FIELD),
        "required": list(FIELDS),
        "additionalProperties": False,
    }
)
MANNER = Manner(max_tokens=120, temperature=0, by_model=True, schema=SCHEMA)


class Plates:
    """Asks the model."""

    def __init__(self, *, engine: Engine, prompts: Prompts) -> None:
        self._engine = engine
        self._prompts = prompts

    async def read(self, sha256: str, jpeg: bytes, reading: Reading) -> tuple[Fact, ...]:
        """Brand, model and serial number, where a photo looks like a plate and `reading` lacks them.

        Empty where the model cannot be asked.
        """
        lines = (reading.lines or ())[:MOST_LINES]
        missing = [kind for kind in FIELDS if all(fact.kind != kind for fact in reading.facts)]
        if not missing or not is_plate(lines):
            return ()
        told = [line.text for line in lines]
        prompt = self._prompts.plate(
            told, PromptImage(Photo(sha256, 0, 0), jpeg), language_of(" ".join(told)), manner=MANNER
        )
        try:
            async with asyncio.timeout(PLATE_S):
                values = await facts(self._engine, prompt, fields_in)
        except TimeoutError:
            return ()
        found = (fact_of(kind, (values or {}).get(kind, ""), lines) for kind in missing)
        return tuple(fact for fact in found if fact is not None)


def is_plate(lines: Sequence[Line]) -> bool:
    """Whether so much stands on a photo, and something like a model number among it."""
    return len(lines) >= LEAST_LINES and any(
        value_in("model", word) for line in lines for word in line.text.split()
    )


def fields_in(value: object) -> Mapping[FactKind, str] | None:
    """The fields by name, empty ones too; None for anything that is not those three texts."""
    if not isinstance(value, dict) or set(value) != set(FIELDS):
        return None
    return value if all(isinstance(text, str) for text in value.values()) else None


def fact_of(kind: FactKind, said: str, lines: Sequence[Line]) -> Fact | None:
    """The value where it stands, as sure as text recognition was of it; None where it does not."""
    value = value_in(kind, said)
    if not value or MEASURE.match(value):
        return None
    alike, line = max(((_likeness(value, line.text), line) for line in lines), key=lambda pair: pair[0])
    if alike < ALIKE:
        return None
    return Fact(kind, value, round(alike * line.confidence, 3), line.box, source="model")


def _likeness(value: str, text: str) -> float:
    """How much of a value stands in a line, 0 to 1: letters and digits alone are compared."""
    sought, there = (_letters(words) for words in (value, text))
    if sought in there:
        return 1.0
    if len(sought) < LITERAL:
        return 0.0
    windows = range(max(1, len(there) - len(sought) + 1))
    return max(SequenceMatcher(None, sought, there[at : at + len(sought)]).ratio() for at in windows)


def _letters(text: str) -> str:
    return "".join(letter for letter in fold(text) if letter.isalnum())
