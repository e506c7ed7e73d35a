"""Reading: what stands on the photos of a question, told to the model before it is asked (`OCR=always`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from bot.engines.ocr import Line, OcrUnavailable, Reader
from prompts.plan import View

READING_S = 5.0
"""For all photos of a question together; what is not read by then goes to the model unread."""
_MOST_LINES = 20
_LONGEST = 60

log = logging.getLogger(__name__)


async def read_photos(
    reader: Reader, views: Sequence[View], jpegs: Mapping[str, bytes], *, limit_s: float = READING_S
) -> dict[str, tuple[str, ...]]:
    """What stands on each photo, by sha256, from top to bottom; nothing for one that could not be read."""
    read: dict[str, tuple[str, ...]] = {}
    try:
        async with asyncio.timeout(limit_s):
            for sha256 in (view.photo.sha256 for view in views):
                if sha256 in jpegs and (lines := await reader.read(jpegs[sha256], enough=bool)):
                    read[sha256] = _told(lines)
    except (OcrUnavailable, TimeoutError) as error:
        log.warning("the model gets photos without all of their text: %s", type(error).__name__)
    return read


def _told(lines: Sequence[Line]) -> tuple[str, ...]:
    ordered = sorted(lines, key=lambda line: min((y for _, y in line.box), default=0))
    return tuple(" ".join(line.text.split())[:_LONGEST] for line in ordered[:_MOST_LINES])
