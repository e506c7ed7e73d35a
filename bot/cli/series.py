"""Series: pictures that look alike are told in one voice.

The first picture of a series sets the tone; the others are shown its text.  Which picture belongs
where depends only on their order, so a job that was killed goes on as it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from context.fingerprints import Fingerprint
from context.turns import Language


@dataclass(slots=True)
class Series:
    """Pictures that look alike, named after the first of them."""

    name: str
    fingerprint: Fingerprint
    examples: dict[Language, str] = field(default_factory=dict)
    """The first text of the series that could be used, by language."""
    _promised: dict[Language, asyncio.Event] = field(default_factory=dict)

    def promise(self, languages: Iterable[Language]) -> None:
        """The first texts are about to be written: `example` waits until they are settled."""
        self._promised = {language: asyncio.Event() for language in languages}

    def settle(self, language: Language, text: str = "") -> None:
        """Something was written in the language, or nothing came of it."""
        if text:
            self.examples.setdefault(language, text)
        if language in self._promised:
            self._promised[language].set()

    async def example(self, language: Language) -> str:
        """A text to sound like; empty when there is none."""
        if language not in self.examples and language in self._promised:
            await self._promised[language].wait()
        return self.examples.get(language, "")


class SeriesBook:
    """All series of a job."""

    def __init__(self) -> None:
        self._all: list[Series] = []
        self._of: dict[str, Series] = {}

    def place(self, file: str, fingerprint: Fingerprint) -> Series:
        """The series of a picture: the one that it had, else the nearest kin's, else its own."""
        series = self._of.get(file) or next(
            (known for known in self._all if known.fingerprint.is_near(fingerprint)), None
        )
        if series is None:
            series = Series(file, fingerprint)
            self._all.append(series)
        self._of[file] = series
        return series

    def remember(self, file: str, name: str, look: Fingerprint, language: Language, text: str) -> None:
        """What an earlier run wrote, or tried to: a picture, and the series that it belongs to."""
        series = self._of.get(name)
        if series is None:
            series = self._of[name] = Series(name, look)
            self._all.append(series)
        elif file == name:  # the first to be told of was a later picture
            series.fingerprint = look
        self._of[file] = series
        series.settle(language, text)
