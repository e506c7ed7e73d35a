"""Series: pictures that look alike are described in the same style.

The first picture of a series sets the style; the model sees its text together with each of the others.  Which
picture belongs to which series depends only on their order, so an interrupted job continues consistently.
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
    """The first usable text of the series, by language."""
    _promised: dict[Language, asyncio.Event] = field(default_factory=dict)

    def promise(self, languages: Iterable[Language]) -> None:
        """The first texts are being written: `example` waits until they are settled."""
        self._promised = {language: asyncio.Event() for language in languages}

    def settle(self, language: Language, text: str = "") -> None:
        """A text was written in this language, or could not be."""
        if text:
            self.examples.setdefault(language, text)
        if language in self._promised:
            self._promised[language].set()

    async def example(self, language: Language) -> str:
        """A text to imitate; empty if there is none."""
        if language not in self.examples and language in self._promised:
            await self._promised[language].wait()
        return self.examples.get(language, "")


class SeriesBook:
    """All series of a job."""

    def __init__(self) -> None:
        self._all: list[Series] = []
        self._of: dict[str, Series] = {}

    def place(self, file: str, fingerprint: Fingerprint) -> Series:
        """The series of a picture: its own from before, that of similar pictures, or a new one."""
        series = self._of.get(file) or next(
            (known for known in self._all if known.fingerprint.is_near(fingerprint)), None
        )
        if series is None:
            series = Series(file, fingerprint)
            self._all.append(series)
        self._of[file] = series
        return series

    def remember(self, file: str, name: str, look: Fingerprint, language: Language, text: str) -> None:
        """Add what an earlier run wrote, or tried to: a picture and its series."""
        series = self._of.get(name)
        if series is None:
            series = self._of[name] = Series(name, look)
            self._all.append(series)
        elif file == name:  # the first to be told of was a later picture
            series.fingerprint = look
        self._of[file] = series
        series.settle(language, text)
