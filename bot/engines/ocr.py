"""OCR: reads text on photos with rapidocr and the models in its wheel, in a thread of its own.

There are two engine objects, because an option given per call changes shared state: with four threads, 3 of
60 results differed.  The first one turns upside-down lines round.  If it finds too little, the second one,
which does not, reads a blurred copy, in which the gaps between the segments of a display have closed.  On 80
drawn panels and plates (turned, dark, noisy, blurred, small) the first one reads 86 % of 192 words, both
together 93 %.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

from bot.errors import Unavailable
from context.turns import Line

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 1280
"""Longest side that is read: larger pictures cost seconds and are read no better."""
_SEARCHED_SIDE = 736
"""Longest side of the copy on which text is searched for; it is read at full size.  The library's own
choice, 736 for the shorter side, takes twice the time and finds 3 words of 192 less."""
MIN_CONFIDENCE = 0.6
IDLE_S = 600.0
"""The models leave memory when nothing was read for so long."""
_BLUR = 3
"""Radius that closes the gaps between the segments of a display."""

log = logging.getLogger(__name__)


class OcrUnavailable(Unavailable):
    """Text cannot be read: the library is missing or broken, or the picture cannot be opened."""


Enough = Callable[[Sequence[Line]], bool]


class Reader(Protocol):
    """Something that reads photos."""

    async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
        """Lines on a photo.  Raises `OcrUnavailable`."""

    async def close(self) -> None:
        """Release the models."""


class Ocr:
    """Reads photos, one at a time: on two cores four threads read no more than two.

    The models are loaded with the first photo (about a second, 170 MB), or by `start`.  When nothing was read
    for `idle_s`, they are released: 75 MB come back, the rest is code.
    """

    def __init__(self, *, threads: int = 1, idle_s: float = IDLE_S) -> None:
        self._threads = threads
        self._idle_s = idle_s
        self._letting_go: asyncio.TimerHandle | None = None
        # The one worker is also the queue: a cancelled reading that has not begun never begins.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ocr")
        self._engines: tuple[Any, Any] | None = None
        self._broken = ""

    async def start(self) -> None:
        """Load the models now.  Raises `OcrUnavailable`."""
        await self._run(self._load)

    async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
        """Lines on a photo, of both passes if those of the first are not `enough`."""
        try:
            lines: tuple[Line, ...] = await self._run(self._read, jpeg, enough)
        finally:
            self._let_go_later()
        return lines

    async def close(self) -> None:
        """Cancel what waits; a reading that has begun ends by itself."""
        if self._letting_go is not None:
            self._letting_go.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._engines = None

    def _let_go_later(self) -> None:
        if self._letting_go is not None:
            self._letting_go.cancel()
        # By the worker: a photo that is just being read keeps its models.
        self._letting_go = asyncio.get_running_loop().call_later(
            self._idle_s, self._worker.submit, self._let_go
        )

    def _let_go(self) -> None:
        self._engines = None

    async def _run(self, function: Callable[..., Any], *args: object) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, function, *args)
        except OcrUnavailable:
            raise
        except Exception as error:
            # Foreign code on a foreign picture: whatever it raises means that nothing was read.
            raise OcrUnavailable(f"text recognition failed: {type(error).__name__}") from error

    def _load(self) -> tuple[Any, Any]:
        if self._broken:
            raise OcrUnavailable(self._broken)
        if self._engines is None:
            try:
                self._engines = (self._engine(turns_lines=True), self._engine(turns_lines=False))
            except Exception as error:
                self._broken = f"text recognition cannot be loaded: {type(error).__name__}: {error}"
                raise OcrUnavailable(self._broken) from error
        return self._engines

    def _engine(self, *, turns_lines: bool) -> Any:
        from rapidocr import RapidOCR  # noqa: PLC0415 - heavy, and may be missing

        return RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": turns_lines,
                "Det.limit_type": "max",
                "Det.limit_side_len": _SEARCHED_SIDE,
                "EngineConfig.onnxruntime.intra_op_num_threads": self._threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def _read(self, jpeg: bytes, enough: Enough) -> tuple[Line, ...]:
        turning, plain = self._load()
        picture, scale = _open(jpeg)
        lines = _lines(turning, picture, scale)
        if enough(lines):
            return lines
        from PIL import ImageFilter  # noqa: PLC0415 - loaded by `_open`

        more = _lines(plain, picture.filter(ImageFilter.GaussianBlur(_BLUR)), scale)
        known = {line.text for line in lines}
        return lines + tuple(line for line in more if line.text not in known)


def _open(jpeg: bytes) -> tuple[Image, float]:
    """The picture, upright and scaled down, and the factor for its coordinates."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - the bot runs without it until a photo comes

    picture = ImageOps.exif_transpose(Image.open(BytesIO(jpeg)))
    longest = max(picture.size)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return picture.convert("RGB"), longest / max(picture.size)


def _lines(engine: Any, picture: Image, scale: float) -> tuple[Line, ...]:
    import numpy as np  # noqa: PLC0415 - comes with rapidocr

    # rapidocr takes arrays as OpenCV has them: blue first.
    result = engine(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]))
    if result.txts is None or result.boxes is None:
        return ()
    return tuple(
        Line(text, float(score), tuple((round(float(x) * scale), round(float(y) * scale)) for x, y in box))
        for text, score, box in zip(result.txts, result.scores, result.boxes, strict=True)
        if score >= MIN_CONFIDENCE and text.strip()
    )
