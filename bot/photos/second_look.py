"""A second look: every photo is read and fingerprinted behind its turn, below everything else.

Nobody waits for it.  What it finds is there for the next question of the case, for the rules, and for
staff.  It begins a photo when no turn has run for a while; on a day without such a while now and then all
the same, the newest photo first, and the night does the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

from bot.engines.labels import Labels
from bot.engines.ocr import OcrUnavailable, Reader
from bot.photos.plates import Plates
from context.background import BackgroundTask
from context.db import StoreDown
from context.duties import Duties
from context.fingerprints import Fingerprint, fingerprint
from context.photos import Photos
from context.readings import Reading, Readings
from context.turns import Line

log = logging.getLogger(__name__)

EVERY_S = 3.0
"""Between two looks for something to do."""
QUIET_S = 3.0
"""So long no turn has run before a photo is begun."""
PATIENCE_S = 20.0
"""So long it waits for that: half a second of CPU in this time is what a busy bot gives."""
READING_S, SHOWN_S = 120.0, 50.0
"""For a photo, behind everything else; and with a colleague waiting, who is told that it is being read."""
SURE = 0.85
_DUTY = "second look"
_DUTY_S = 120.0


class SecondLook:
    """Looks.  `start` it, `stop` it; of several processes on one database one does it.

    `reader` may be slow; `reader_for_staff` reads what a colleague is waiting for.
    """

    def __init__(
        self,
        *,
        photos: Photos,
        readings: Readings,
        reader: Reader,
        reader_for_staff: Reader,
        labels: Labels,
        plates: Plates,
        duties: Duties,
        me: str,
        is_busy: Callable[[], bool],
        mask: Callable[[str], str],
    ) -> None:
        self._photos = photos
        self._readings = readings
        self._reader = reader
        self._reader_for_staff = reader_for_staff
        self._labels = labels
        self._plates = plates
        self._duties = duties
        self._me = me
        self._is_busy = is_busy
        self._mask = mask
        self._calm_since = 0.0
        """By the loop's clock, as far as was seen."""
        self._background = BackgroundTask("second look", self._run)
        self._shown: dict[str, asyncio.Task[Reading]] = {}
        """Photos that colleagues wait for, by sha256."""
        # However many they open, a customer's photo waits for one of them at most.
        self._one_at_a_time = asyncio.Lock()

    def start(self) -> None:
        """Begin; calling twice is harmless."""
        if not self._background.is_running:
            self._calm_since = asyncio.get_running_loop().time()
            self._background.start()

    async def stop(self) -> None:
        """End; a photo in hand is looked at again later."""
        await self._background.stop()
        for task in self._shown.values():
            task.cancel()
        await asyncio.gather(*self._shown.values(), return_exceptions=True)

    async def look(self) -> bool:
        """Look at the newest photo that nobody has looked at; False when there is none.

        Raises StoreDown.
        """
        sha256 = await self._readings.claim()
        if sha256 is None:
            return False
        jpeg = await self._photos.read(sha256)
        if jpeg is None:  # it is not here any more: looking for it again would not help
            await self._readings.keep(sha256, Reading(()))
            return True
        reading = await self._read(jpeg, self._reader, READING_S, turn=nullcontext())
        await self._readings.keep(sha256, reading)
        if facts := await self._plates.read(sha256, jpeg, reading):
            await self._readings.add(sha256, facts)
        return True

    async def of(self, sha256: str, jpeg: bytes) -> Reading:
        """What stands on a photo, for staff who look at it now; lines are None where nobody can read it."""
        found = await self._readings.of(sha256)
        if found is not None and found.lines is not None:
            return found
        if sha256 not in self._shown:
            self._shown[sha256] = task = asyncio.create_task(self._show(sha256, jpeg), name="photo's text")
            task.add_done_callback(lambda _: self._shown.pop(sha256))
        return await asyncio.shield(self._shown[sha256])

    async def _show(self, sha256: str, jpeg: bytes) -> Reading:
        reading = await self._read(jpeg, self._reader_for_staff, SHOWN_S, turn=self._one_at_a_time)
        if reading.lines is not None:
            await self._readings.keep(sha256, reading)
        return reading

    async def _read(
        self, jpeg: bytes, reader: Reader, limit_s: float, *, turn: AbstractAsyncContextManager[object]
    ) -> Reading:
        """What is on a photo, read within the limit, which includes the wait for a turn."""
        look = await asyncio.to_thread(_fingerprint, jpeg)
        try:
            async with asyncio.timeout(limit_s), turn:
                lines = await reader.read(jpeg, enough=self._is_enough)
        except (OcrUnavailable, TimeoutError) as error:
            log.warning("a photo was not read: %s", type(error).__name__)
            return Reading(look=look)
        # As a customer's own words are kept: without cards and identity numbers.
        lines = tuple(replace(line, text=self._mask(line.text)) for line in lines)
        return Reading(lines, self._labels.facts(lines), look)

    def _is_enough(self, lines: Sequence[Line]) -> bool:
        """What a device shows or a label says, read with certainty, needs no look at a blurred copy."""
        return any(fact.confidence >= SURE for fact in self._labels.facts(lines))

    async def _run(self) -> None:
        while True:
            try:
                while await self._readings.is_due() and await self._is_mine():
                    await self._quiet()
                    await self.look()
            except (StoreDown, OSError) as error:
                log.warning("photos are not looked at behind their turns", extra={"reason": str(error)})
            await asyncio.sleep(EVERY_S)

    async def _is_mine(self) -> bool:
        return await self._duties.take(_DUTY, self._me, seconds=_DUTY_S) == self._me

    async def _quiet(self) -> None:
        """Until no turn has run for `QUIET_S`, or patience is at its end."""
        now = asyncio.get_running_loop().time
        end = now() + PATIENCE_S
        while now() < end:
            if self._is_busy():
                self._calm_since = now()
            elif now() - self._calm_since >= QUIET_S:
                return
            await asyncio.sleep(QUIET_S / 6)


def _fingerprint(jpeg: bytes) -> Fingerprint | None:
    try:
        return fingerprint(jpeg)
    except (OSError, ValueError):  # it is one of our own: only a disk could have broken it
        log.exception("a photo has no fingerprint")
        return None
