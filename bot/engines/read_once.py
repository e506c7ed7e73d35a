"""A cache in front of OCR: each photo is read once, whoever asks."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from bot.engines.ocr import Enough, Reader
from context.turns import Line

REMEMBERED = 256
"""Photos remembered: about 100 kB of text."""


Memory = OrderedDict[bytes, tuple[tuple[Line, ...], bool]]
"""By the picture's hash: its lines, and whether nothing more can be found on it."""


class ReadOnce:
    """Wraps a reader.  If two ask for the same new photo at once, both read it."""

    def __init__(self, reader: Reader, memory: Memory | None = None) -> None:
        """With the same `memory`, several readers profit from what each has read."""
        self._reader = reader
        self._read = OrderedDict() if memory is None else memory

    async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
        """Lines on a photo; it is read again if the earlier lines are not `enough` and more may be found."""
        key = hashlib.sha256(jpeg).digest()
        lines, is_all = self._read.get(key, ((), False))
        if key not in self._read or not (is_all or enough(lines)):
            is_all = False

            def noted(found: Sequence[Line]) -> bool:
                nonlocal is_all
                is_all = not enough(found)
                return not is_all

            lines = await self._reader.read(jpeg, enough=noted)
            self._read[key] = lines, is_all
            while len(self._read) > REMEMBERED:
                self._read.popitem(last=False)
        self._read.move_to_end(key)
        return lines

    async def close(self) -> None:
        """Close the reader."""
        self._read.clear()
        await self._reader.close()
