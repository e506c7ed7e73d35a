"""Clips of blinking lamps, drawn and encoded as a phone would: noise, shake, glare, any frame rate."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.stream import VideoStream

Frame = NDArray[np.uint8]
COLOURS = {
    "red": (255, 40, 30),
    "green": (40, 255, 70),
    "yellow": (255, 180, 20),
    "blue": (40, 90, 255),
    "white": (250, 250, 250),
}


@dataclass(frozen=True, slots=True)
class DrawnLamp:
    """A lamp that blinks `blinks` times, pauses, and so on; 0 never pauses, -1 is always lit."""

    colour: str
    blinks: int
    x: float = 0.5
    y: float = 0.5
    on_s: float = 0.25
    gap_s: float = 0.3
    pause_s: float = 1.6
    phase_s: float = 0.0
    radius: float = 5.0

    def is_lit(self, at_s: float) -> bool:
        if self.blinks < 0:
            return True
        beat = self.on_s + self.gap_s
        if self.blinks == 0:
            return (at_s + self.phase_s) % beat < self.on_s
        whole = self.blinks * beat - self.gap_s + self.pause_s
        at_s = (at_s + self.phase_s) % whole
        return at_s < self.blinks * beat and at_s % beat < self.on_s


@dataclass(frozen=True, slots=True)
class DrawnClip:
    """How a clip is filmed."""

    lamps: tuple[DrawnLamp, ...]
    seconds: float = 8.0
    rate: int = 30
    size: tuple[int, int] = (320, 240)
    noise: float = 3.0
    shake: float = 0.0
    """Pixels."""
    glare: float = 0.0
    """Levels of a reflection that wanders over the panel."""
    seed: int = 1


def draw(clip: DrawnClip) -> list[Frame]:
    """The frames of a clip."""
    dice = np.random.default_rng(clip.seed)
    width, height = clip.size
    margin = 24
    panel = _panel(width + 2 * margin, height + 2 * margin, dice)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    where = np.zeros(2)
    frames = []
    halos = [_halo(lamp, margin, panel.shape) for lamp in clip.lamps]
    grain = dice.normal(0, max(clip.noise, 0.01), (8, height, width, 1)).astype(np.float32)
    for number in range(round(clip.seconds * clip.rate)):
        at_s = number / clip.rate
        scene = panel.copy()
        for lamp, (box, halo) in zip(clip.lamps, halos, strict=True):
            # A sensor collects light over part of the frame's time.
            share = sum(lamp.is_lit(at_s + part * 0.6 / clip.rate / 4) for part in range(4)) / 4
            light = np.asarray(COLOURS[lamp.colour], np.float32)
            scene[box] += halo[:, :, None] * (light * share + 12 * (1 - share))
        where = 0.9 * where + dice.normal(0, 1, 2) * clip.shake * 0.45
        down, right = np.clip(np.round(where), -margin, margin).astype(int)
        view = scene[margin + down : margin + down + height, margin + right : margin + right + width].copy()
        if clip.glare:
            x = width * (0.5 + 0.45 * np.sin(0.9 * at_s + clip.seed))
            y = height * (0.4 + 0.3 * np.cos(0.7 * at_s))
            spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (0.12 * width) ** 2))
            view += clip.glare * spot[:, :, None]
        view += grain[dice.integers(8)]
        frames.append(view.clip(0, 255).astype(np.uint8))
    return frames


def encode(frames: Sequence[Frame], *, rate: int = 30, codec: str = "libx264", format: str = "mp4") -> bytes:  # noqa: A002
    """A video file."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = cast("VideoStream", container.add_stream(codec, rate=rate))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if codec == "libx264":
            # By itself it takes a thread for each core, and the file depends on how many there are.
            stream.options = {"preset": "ultrafast", "crf": "26", "threads": "2"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def film(clip: DrawnClip) -> bytes:
    """A clip as an MP4."""
    return encode(draw(clip), rate=clip.rate)


def drawn_clips(count: int, *, seed: int) -> list[DrawnClip]:
    """Clips of every difficulty: 1 to 9 blinks in turn, every third with a second lamp."""
    dice = random.Random(seed)
    clips = []
    for number in range(count):
        blinks = number % 9 + 1
        first = _drawn_lamp(dice, blinks, x=dice.uniform(0.2, 0.4), y=dice.uniform(0.25, 0.75))
        lamps = [first]
        if number % 3 == 1:
            other = dice.choice([0, -1, dice.randint(1, 5)])
            lamps.append(_drawn_lamp(dice, other, x=dice.uniform(0.6, 0.8), y=dice.uniform(0.25, 0.75)))
        seconds = max(8.0, 2.4 * max(_period(lamp) for lamp in lamps))
        clips.append(
            DrawnClip(
                tuple(lamps),
                seconds=seconds,
                rate=dice.choice([24, 25, 30, 30, 50, 60]),
                size=dice.choice([(320, 240), (240, 320), (426, 240)]),
                noise=dice.uniform(1, 9),
                shake=dice.choice([0, 0.5, 1, 2]),
                glare=dice.choice([0, 0, 40, 80]),
                seed=dice.randint(1, 10**6),
            )
        )
    return clips


def _drawn_lamp(dice: random.Random, blinks: int, *, x: float, y: float) -> DrawnLamp:
    on_s, gap_s = dice.uniform(0.12, 0.4), dice.uniform(0.15, 0.45)
    return DrawnLamp(
        colour=dice.choice(list(COLOURS)),
        blinks=blinks,
        x=x,
        y=y,
        on_s=on_s,
        gap_s=gap_s,
        pause_s=max(2.2 * gap_s, dice.uniform(1.2, 2.2)),
        phase_s=dice.uniform(0, 3),
        radius=dice.uniform(3, 7),
    )


def _period(lamp: DrawnLamp) -> float:
    return max(1, lamp.blinks) * (lamp.on_s + lamp.gap_s) + lamp.pause_s


def _panel(width: int, height: int, dice: np.random.Generator) -> NDArray[np.float32]:
    """A grey housing with edges, slots and a label."""
    shade = np.linspace(70, 110, width, dtype=np.float32)[None, :, None].repeat(height, 0).repeat(3, 2)
    for row in range(height // 2 + 40, height, 14):
        shade[row : row + 5, width // 6 : -width // 6] *= 0.45
    for _ in range(14):
        top, left = int(dice.integers(0, height - 12)), int(dice.integers(0, width - 30))
        shade[top : top + int(dice.integers(3, 12)), left : left + int(dice.integers(8, 30))] = dice.uniform(
            40, 190, 3
        )
    return shade


def _halo(
    lamp: DrawnLamp, margin: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
    height, width = shape[0] - 2 * margin, shape[1] - 2 * margin
    row, column, reach = int(margin + lamp.y * height), int(margin + lamp.x * width), int(5 * lamp.radius)
    box = (slice(max(0, row - reach), row + reach + 1), slice(max(0, column - reach), column + reach + 1))
    rows, columns = np.mgrid[box[0], box[1]].astype(np.float32)
    distance = np.hypot(rows - row, columns - column)
    core = (distance <= lamp.radius) * 0.9
    return box, (core + 0.25 * np.exp(-distance / lamp.radius)).astype(np.float32)
