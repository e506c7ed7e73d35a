"""The child process that reads photos: runs rapidocr, knows nothing of the bot, and is started by `ocr`.

Started by its path, with the folder of its libraries and its niceness as arguments.  Its stdin is a socket:
it says when the models are loaded, then answers one picture after the other, until the bot closes it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

ORDER = struct.Struct("!?I")
"""Whether to read a blurred copy, and the length of the JPEG that follows."""
ANSWER = struct.Struct("!?I")
"""Whether it went well, and the length of the JSON that follows: lines, or what went wrong."""

MAX_SIDE = 1280
"""Longest side that is read: larger pictures cost seconds and are read no better."""
_SEARCHED_SIDE = 736
"""Longest side of the copy on which text is searched for; it is read at full size.  The library's own
choice, 736 for the shorter side, takes twice the time and finds 3 words of 192 less."""
MIN_CONFIDENCE = 0.6
_BLUR = 3
"""Radius that closes the gaps between the segments of a display."""


def main(libraries: str, niceness: str) -> None:
    """Load the models, then answer until the socket is closed."""
    # Both go to every process of a terminal or service; the bot closes the socket when it has finished.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(int(niceness))
    sys.path.append(libraries)
    with socket.socket(fileno=0) as channel, channel.makefile("rb") as orders:
        try:
            turning, plain = _engine(turns_lines=True), _engine(turns_lines=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be read
            _send(channel, f"{type(error).__name__}: {error}", is_good=False)
            return
        _send(channel, [])
        while head := orders.read(ORDER.size):
            is_blurred, length = ORDER.unpack(head)
            jpeg = orders.read(length)
            try:
                answer = _read(plain if is_blurred else turning, jpeg, is_blurred=is_blurred)
            except Exception as error:  # noqa: BLE001 - foreign code on a foreign picture
                _send(channel, type(error).__name__, is_good=False)
            else:
                _send(channel, answer)


def _send(channel: socket.socket, answer: object, *, is_good: bool = True) -> None:
    said = json.dumps(answer).encode()
    channel.sendall(ANSWER.pack(is_good, len(said)) + said)


def _engine(*, turns_lines: bool) -> Any:
    from rapidocr import RapidOCR  # noqa: PLC0415 - the bot imports this module and not the library

    return RapidOCR(
        params={
            "Global.log_level": "error",
            "Global.use_cls": turns_lines,
            "Det.limit_type": "max",
            "Det.limit_side_len": _SEARCHED_SIDE,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _read(engine: Any, jpeg: bytes, *, is_blurred: bool) -> list[tuple[str, float, Sequence[Sequence[int]]]]:
    """Text, confidence and corners of every line, in pixels of the picture as it was sent."""
    import numpy as np  # noqa: PLC0415 - comes with rapidocr
    from PIL import ImageFilter  # noqa: PLC0415

    picture, scale = _open(jpeg)
    if is_blurred:
        picture = picture.filter(ImageFilter.GaussianBlur(_BLUR))
    # rapidocr takes arrays as OpenCV has them: blue first.
    result = engine(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]))
    if result.txts is None or result.boxes is None:
        return []
    return [
        (text, float(score), [(round(float(x) * scale), round(float(y) * scale)) for x, y in box])
        for text, score, box in zip(result.txts, result.scores, result.boxes, strict=True)
        if score >= MIN_CONFIDENCE and text.strip()
    ]


def _open(jpeg: bytes) -> tuple[Image, float]:
    """The picture, upright and scaled down, and the factor for its coordinates."""
    from PIL import Image, ImageOps  # noqa: PLC0415

    picture = ImageOps.exif_transpose(Image.open(BytesIO(jpeg)))
    longest = max(picture.size)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return picture.convert("RGB"), longest / max(picture.size)


if __name__ == "__main__":
    main(*sys.argv[1:])
