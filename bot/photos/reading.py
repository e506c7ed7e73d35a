"""Reading: what machines read on the photos of a case, told to the model beside what it sees itself.

Facts on the photos of a case are told as soon as they are known (`bot.photos.second_look` finds them behind
the turn).  With `OCR=always` a question's own photos are read before the model is asked, and told
line by line.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bot.engines.ocr import OcrUnavailable, Reader
from context.db import StoreDown
from context.readings import Readings
from context.turns import Fact, Line, Message, Photo
from prompts.plan import Plan, View

READING_S = 5.0
"""Time limit for all photos of a question together; the model gets the rest without their text."""
_MOST_LINES = 20
_LONGEST = 60
_MOST_FACTS = 12
"""Of a whole case, some 150 tokens: the newest photos first."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Read:
    """What is told of a case's photos."""

    lines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """On the question's own photos, by sha256, from top to bottom."""
    facts: tuple[tuple[int, Fact], ...] = ()
    """With the number of the photo that each stands on, in the order of the photos."""


class CaseReading:
    """Looks up and reads.  Safe for many at once.

    `readings` is what was found before; without it nothing is known of earlier photos.  `reader` reads a
    question's own photos at once; None leaves those to the model.
    """

    def __init__(self, *, readings: Readings | None = None, reader: Reader | None = None) -> None:
        self._readings = readings
        self._reader = reader

    async def of(self, message: Message, planned: Plan, jpegs: Mapping[str, bytes]) -> Read:
        """What is known of the photos of a question and its case.  Never an error: a prompt does without."""
        lines: dict[str, Sequence[str]] = {}
        if self._reader is not None and planned.own:
            lines = await _read(self._reader, planned.own, jpegs)
        return Read(lines, await self._known(_photos(message, planned)))

    async def _known(self, photos: Sequence[Photo]) -> tuple[tuple[int, Fact], ...]:
        if self._readings is None or not photos:
            return ()
        try:
            by_photo = await self._readings.facts([photo.sha256 for photo in photos])
        except StoreDown as error:
            log.warning("facts on earlier photos are not told", extra={"reason": str(error)})
            return ()
        return newest([(photo.number, fact) for photo in photos for fact in by_photo.get(photo.sha256, ())])


def newest(facts: Sequence[tuple[int, Fact]]) -> tuple[tuple[int, Fact], ...]:
    """Each fact once, with the newest photo that shows it; of too many the newest."""
    kept = {(fact.kind, fact.value): (number, fact) for number, fact in sorted(facts, key=lambda one: one[0])}
    ordered = sorted(kept.values(), key=lambda one: one[0])
    return tuple(ordered[-_MOST_FACTS:])


def _photos(message: Message, planned: Plan) -> list[Photo]:
    turns = (*planned.condensed, *planned.turns)
    photos = [*(photo for turn in turns for photo in turn.photos), *message.recalled, *message.photos]
    return list({photo.sha256: photo for photo in photos}.values())


async def _read(
    reader: Reader, views: Sequence[View], jpegs: Mapping[str, bytes]
) -> dict[str, Sequence[str]]:
    """What stands on each photo, by sha256; nothing for one that could not be read."""
    read: dict[str, Sequence[str]] = {}
    try:
        async with asyncio.timeout(READING_S):
            for sha256 in (view.photo.sha256 for view in views):
                if sha256 in jpegs and (lines := await reader.read(jpegs[sha256], enough=bool)):
                    read[sha256] = _told(lines)
    except (OcrUnavailable, TimeoutError) as error:
        log.warning("the model gets photos without all of their text: %s", type(error).__name__)
    return read


def _told(lines: Sequence[Line]) -> tuple[str, ...]:
    ordered = sorted(lines, key=lambda line: min((y for _, y in line.box), default=0))
    return tuple(" ".join(line.text.split())[:_LONGEST] for line in ordered[:_MOST_LINES])
