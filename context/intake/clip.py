"""Turns one clip into a JPEG of two of its moments and the lamps that blinked; runs inside the child.

Imports FFmpeg and numpy, which photos do not need, so only a clip's child imports it, before the limits
are set and before it sees a byte of the file.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image

from context.facts import written
from context.intake.blinks import Finding, Frames, find_lamps
from context.intake.formats import is_clip
from context.intake.limits import MAX_SIDE, MIN_SIDE, Refused
from context.intake.normalise import JPEG_QUALITY, LONGEST_SIDE
from context.intake.wire import Normalised
from context.turns import Clip

MOST_S = 60.0
"""What comes later is ignored."""
MOST_FRAMES = 900
"""Half a minute at 30 frames a second: two rounds of the longest codes."""
MOST_CPU_S = 10.0
"""For decoding; what was decoded by then is used."""
MAX_PIXELS = 4096 * 2304
_SIDE = 160
"""Size of the measured frames: a lamp of 1 % of the picture's width is still a pixel and a half."""
_DENSE = 40.0
"""With more frames a second, every other one is enough."""
_GAP = 8
_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "h263", "gif", "mjpeg"})


def watch(data: bytes) -> Normalised:
    """Analyse a clip.  Raises `Refused`, and whatever FFmpeg raises for damaged files."""
    kind = _kind(data)
    with _opened(data, kind) as (container, stream):
        frames, times = _small_frames(container, stream)
    findings = find_lamps(np.stack(frames), np.array(times, np.float32))
    moments = _moments(findings, times)
    with _opened(data, kind) as (container, stream):
        still = _side_by_side(_frames_at(container, stream, moments))
    seconds = round(times[-1] - times[0], 1)
    # An animation of one frame is a picture.
    clip = Clip(seconds, tuple(finding.lamp for finding in findings)) if len(times) > 1 else None
    out = io.BytesIO()
    still.save(out, "JPEG", quality=JPEG_QUALITY)
    return Normalised(out.getvalue(), *still.size, facts=written(clip))


def rehearse() -> None:
    """Run everything once: a child may open no file, so it must have loaded everything before."""
    pictures = [Image.new("RGB", (80, 60)) for _ in range(48)]
    for number, picture in enumerate(pictures):
        picture.paste((9 * number % 256, 0, 0) if number % 8 > 1 else (255, 255, 255), (30, 20, 36, 26))
    clip = io.BytesIO()
    pictures[0].save(clip, "GIF", save_all=True, append_images=pictures[1:], duration=80)
    watch(clip.getvalue())
    with contextlib.suppress(av.error.FFmpegError):
        watch(b"GIF89a")


def _kind(data: bytes) -> str:
    """FFmpeg's name for the container: of about a hundred that it would try, we open three."""
    if not is_clip(data):
        raise Refused("not_a_clip")
    if data.startswith(b"GIF8"):
        return "gif"
    return "matroska" if data.startswith(b"\x1a") else "mov"


@contextlib.contextmanager
def _opened(data: bytes, kind: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    with av.open(io.BytesIO(data), "r", format=kind) as container:
        if not container.streams.video:
            raise Refused("not_a_clip", "no pictures in it")
        stream = container.streams.video[0]
        codec = stream.codec_context
        if codec.name not in _CODECS:
            raise Refused("unsupported", "codec")
        _measure(codec.width, codec.height)
        codec.thread_count = 1
        yield container, stream


def _measure(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise Refused("too_many_pixels", f"{width}x{height}")
    if min(width, height) < MIN_SIDE:
        raise Refused("too_small", f"{width}x{height}")


def _small_frames(container: InputContainer, stream: VideoStream) -> tuple[list[Frames], list[float]]:
    rate = float(stream.average_rate or 30)
    every = 2 if rate > _DENSE else 1
    frames: list[Frames] = []
    times: list[float] = []
    size = (0, 0)
    for number, (frame, at_s) in enumerate(_decoded(container, stream)):
        if at_s > MOST_S or len(frames) >= MOST_FRAMES or time.process_time() > MOST_CPU_S:
            break
        if number % every or (times and at_s <= times[-1]):
            continue
        if not frames:
            scale = _SIDE / max(frame.width, frame.height)
            size = max(MIN_SIDE, round(frame.width * scale)), max(MIN_SIDE, round(frame.height * scale))
        pixels = frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray()
        small = np.rot90(pixels, _quarters(frame)).astype(np.uint8, copy=False)
        if frames and small.shape != frames[0].shape:
            continue
        frames.append(small)
        times.append(at_s)
    if not frames:
        raise Refused("damaged", "no frame in it")
    return frames, times


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames with their times in seconds.  A truncated clip ends early; its frames are still used."""
    base = stream.time_base or Fraction(1, 30)
    some = False
    try:
        for frame in container.decode(stream):
            _measure(frame.width, frame.height)
            yield frame, float((frame.pts or 0) * base)
            some = True
    except av.error.FFmpegError:
        if not some:
            raise


def _quarters(frame: av.VideoFrame) -> int:
    """Counter-clockwise quarter turns that make a frame upright."""
    return round(frame.rotation / 90) % 4


def _moments(findings: list[Finding], times: list[float]) -> list[float]:
    """One with the lamp lit and one with it dark; otherwise an early one and a later one."""
    if findings:
        return [times[findings[0].lit], times[findings[0].dark]]
    span = times[-1] - times[0]
    return [times[0] + span / 10, times[0] + span / 2]


def _frames_at(container: InputContainer, stream: VideoStream, moments: list[float]) -> list[Image.Image]:
    """Pictures of these moments, in their order."""
    waiting = sorted({*moments})
    found: dict[float, Image.Image] = {}
    for frame, at_s in _decoded(container, stream):
        while waiting and at_s >= waiting[0] - 1e-4:
            scale = min(1.0, LONGEST_SIDE / max(frame.width, frame.height))
            size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
            pixels = frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray()
            found[waiting.pop(0)] = Image.fromarray(np.ascontiguousarray(np.rot90(pixels, _quarters(frame))))
        if not waiting:
            break
    return [found[moment] for moment in dict.fromkeys(moments) if moment in found]


def _side_by_side(moments: list[Image.Image]) -> Image.Image:
    """One picture of them: side by side if they are tall, otherwise one above the other."""
    if not moments:
        raise Refused("damaged", "no frame in it")
    width, height = moments[0].size
    right, down = (width + _GAP, 0) if height > width else (0, height + _GAP)
    count = len(moments)
    sheet = Image.new("RGB", (width + right * (count - 1), height + down * (count - 1)), "white")
    for at, moment in enumerate(moments):
        sheet.paste(moment, (at * right, at * down))
    sheet.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return sheet
