"""Lamps in a clip: where one changes, in which colour, and how often it blinks before each pause.

Arithmetic on small frames, without any file format; it runs in the intake's child, which has numpy.
A count is only certain if it is the same at three thresholds, if light comes and goes within a frame, if
short and long gaps are clearly different, and if every group that was seen completely has it.  Otherwise
the customer is asked to count.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from context.turns import Lamp

Floats = NDArray[np.float32]
Frames = NDArray[np.uint8]
"""Frames, rows, columns, RGB."""

MOST_LAMPS = 3
_CANDIDATES = 6
_APART = 9
"""Pixels between two lamps; closer ones are one lamp."""
_EDGE_S = 0.07
"""A lamp has changed after this; a moving reflection has not."""
_DETAIL = 0.25
"""Cycles a pixel."""
_EDGE = 24.0
_NOTICED = 14.0
"""Levels of 255 that a change must exceed."""
_REACH = 4
"""A lamp's pixels are looked for this far around its middle."""
_BASELINE_S = 3.0
_THRESHOLDS = (0.37, 0.5, 0.63)
_CERTAINLY = 0.8
_CLEAR = 4.5
"""On and off are this many times further apart than they vary."""
_SPREAD = 1.7
"""Gaps of one kind differ by less than this factor, gaps of different kinds by more."""
_LONE_PAUSE_S = 1.1
"""Single flashes are a count of one only when nothing longer than this could be the gap inside a group."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A lamp, and one frame in which it was lit and one in which it was not."""

    lamp: Lamp
    lit: int
    dark: int


@dataclass(frozen=True, slots=True)
class _Signal:
    """One lamp's brightness: about 0 when dark, 1 when lit."""

    level: Floats
    colour: str
    strength: float
    """Levels of 255 between dark and lit."""
    clarity: float
    place: str


@dataclass(frozen=True, slots=True)
class _Pattern:
    blinks: int
    """Blinks before each pause; 0 if not certain."""
    regular: bool = False
    on_s: float = 0.0
    gap_s: float = 0.0
    pause_s: float = 0.0


def find_lamps(frames: Frames, times: Floats) -> list[Finding]:
    """Lamps that change, the strongest first.  `times` are seconds, one for each frame, increasing."""
    if len(frames) < 8 or times[-1] - times[0] < 1:  # noqa: PLR2004 - too short to see anything blink
        return []
    signals = _signals(*_held_still(frames), times)
    found = [(signal, _pattern(signal.level, times)) for signal in signals]
    is_counted = any(pattern.blinks or pattern.regular for _, pattern in found)
    findings = []
    for signal, pattern in found:
        if not (pattern.blinks or pattern.regular) and signal.clarity < _CLEAR * (1 + is_counted):
            continue  # something that moves, or noise
        lamp = Lamp(
            colour=signal.colour,
            place=signal.place,
            blinks=pattern.blinks,
            regular=pattern.regular,
            on_s=round(pattern.on_s, 2),
            gap_s=round(pattern.gap_s, 2),
            pause_s=round(pattern.pause_s, 1),
        )
        lit = int((signal.level > _CERTAINLY).argmax())
        dark = np.flatnonzero(signal.level < 1 - _CERTAINLY)
        findings.append(Finding(lamp, lit, int(dark[np.abs(dark - lit).argmin()]) if len(dark) else lit))
    return findings[:MOST_LAMPS]


# Holding still -----------------------------------------------------------------------------------


def _held_still(frames: Frames) -> tuple[Frames, int, int]:
    """Shift every frame so that the picture stays in place: a hand shakes, a lamp does not.

    Returns the part that all frames show, and the rows and columns cut off on either side.
    """
    count, height, width, _ = frames.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    # Noise is in the finest detail, and a shift is seen just as well in slightly coarser detail.
    fineness = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    weight = np.exp(-((fineness / _DETAIL) ** 2)).astype(np.float32)
    target = np.conj(_outline(frames[count // 2], window)) * weight
    half = np.array((height, width)) // 2
    moved = np.empty((count, 2), np.int64)
    for at, frame in enumerate(frames):
        cross = _outline(frame, window) * target
        peak = np.fft.irfft2(cross, s=(height, width))
        moved[at] = np.unravel_index(int(peak.argmax()), peak.shape)
    moved = (moved + half) % (height, width) - half
    # A hand does not jump back and forth within a frame; a reflection may seem to.
    padded = np.pad(moved, ((1, 1), (0, 0)), mode="edge")
    moved = np.median(np.lib.stride_tricks.sliding_window_view(padded, 3, axis=0), axis=2).astype(np.int64)
    still = np.empty_like(frames)
    for at, (down, right) in enumerate(moved):
        still[at] = np.roll(frames[at], (-down, -right), axis=(0, 1))
    # What was shifted in from the other side is not part of the picture.
    rows, columns = (int(edge) for edge in np.minimum(np.abs(moved).max(axis=0) + 1, half // 2))
    return still[:, rows:-rows, columns:-columns], rows, columns


def _outline(frame: Frames, window: Floats) -> NDArray[np.complex64]:
    """The spectrum of edges, all about equally strong: a lamp or reflection must not dominate."""
    grey = frame.astype(np.float32).mean(axis=2)
    edges = 4 * grey
    for axis in (0, 1):
        edges -= np.roll(grey, 1, axis) + np.roll(grey, -1, axis)
    return np.fft.rfft2(edges.clip(-_EDGE, _EDGE) * window).astype(np.complex64)


# Signals -----------------------------------------------------------------------------------------


def _signals(frames: Frames, rows: int, columns: int, times: Floats) -> list[_Signal]:
    lag = max(1, round(_EDGE_S * (len(times) - 1) / float(times[-1] - times[0])))
    changes = np.zeros(frames.shape[1:3], np.float32)
    for at in range(len(frames) - lag):
        jump = np.abs(frames[at + lag].astype(np.int16) - frames[at]).max(axis=2)
        changes += np.maximum(0, jump - _NOTICED)
    changes = _blurred(changes)
    signals: list[_Signal] = []
    for _ in range(_CANDIDATES):
        row, column = np.unravel_index(int(changes.argmax()), changes.shape)
        if changes[row, column] <= 0:
            break
        place = _place(
            (row + rows) / (frames.shape[1] + 2 * rows), (column + columns) / (frames.shape[2] + 2 * columns)
        )
        signal = _signal(frames, changes, int(row), int(column), times, place=place)
        top, left = max(0, row - _APART), max(0, column - _APART)
        changes[top : row + _APART + 1, left : column + _APART + 1] = 0
        if signal is not None and not any(_is_same(signal, other) for other in signals):
            signals.append(signal)
    return sorted(signals, key=lambda signal: -signal.strength)


def _signal(
    frames: Frames, changes: Floats, row: int, column: int, times: Floats, *, place: str
) -> _Signal | None:
    """How the pixels around a place change, relative to their surroundings."""
    height, width = changes.shape
    near = _box(row, column, _REACH, height, width)
    far = _box(row, column, 3 * _REACH, height, width)
    own = changes[near] > 0.5 * changes[row, column]
    pixels = frames[(slice(None), *near)].astype(np.float32)
    around = frames[(slice(None), *far)].astype(np.float32)
    ring = np.ones(changes[far].shape, dtype=bool)
    ring[
        near[0].start - far[0].start : near[0].stop - far[0].start,
        near[1].start - far[1].start : near[1].stop - far[1].start,
    ] = False
    if not ring.any():
        return None
    surround = np.median(around[:, ring], axis=1)
    colours = pixels[:, own].mean(axis=1) - surround
    _, axes = np.linalg.eigh(np.cov(colours.T))
    axis = axes[:, -1]
    if axis.sum() < 0:
        axis = -axis
    # Its brightest pixels, wherever in reach they are: after stabilising, a pixel or two of shake remains.
    brightest = np.sort((pixels @ axis).reshape(len(pixels), -1), axis=1)[:, -max(2, int(0.6 * own.sum())) :]
    track = (brightest.mean(axis=1) - surround @ axis).astype(np.float32)
    rate = (len(times) - 1) / float(times[-1] - times[0])
    track = track - _rolling(track, rate, _BASELINE_S, 20)  # the exposure drifts, reflections move
    ordered = np.sort(track)
    tail = max(2, len(track) // 40)
    top, bottom = float(np.median(ordered[-tail:])), float(np.median(ordered[: len(track) // 2]))
    strength = top - bottom
    if strength < _NOTICED:
        return None
    level = (track - bottom) / strength
    lit, dark = level > _THRESHOLDS[1], level < _THRESHOLDS[1]
    if lit.sum() < 2 or dark.sum() < 2:  # noqa: PLR2004 - nothing to compare
        return None
    clarity = 1 / (_deviation(level[lit]) + _deviation(level[dark]) + 0.02)
    glow = pixels[level > _THRESHOLDS[2]].mean(axis=0) - pixels[level < _THRESHOLDS[0]].mean(axis=0)
    return _Signal(level, _colour(glow), strength, float(clarity), place)


def _rolling(track: Floats, rate: float, seconds: float, percent: float) -> Floats:
    """A percentile of the values within `seconds` around each moment."""
    reach = max(2, round(seconds * rate / 2))
    padded = np.pad(track, reach, mode="reflect" if len(track) > reach else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    step = max(1, round(rate / 8))
    rough = np.percentile(windows[::step], percent, axis=1)
    return np.interp(np.arange(len(track)), np.arange(len(rough)) * step, rough).astype(np.float32)


def _deviation(values: Floats) -> float:
    return 1.48 * float(np.median(np.abs(values - np.median(values))))


def _is_same(one: _Signal, other: _Signal) -> bool:
    """Merge lamps: light falls on its surroundings, so what blinks together in one colour is one lamp."""
    return one.colour == other.colour and float(np.corrcoef(one.level, other.level)[0, 1]) > 0.6  # noqa: PLR2004


def _colour(glow: Floats) -> str:
    """The colour of the light, also from its halo, since the middle of a lamp is often just white."""
    weight = glow.max(axis=2)
    light = glow[weight > 0.25 * weight.max()].sum(axis=0).clip(0)
    hue, saturation, _ = colorsys.rgb_to_hsv(
        *(float(value) for value in light / max(1.0, float(light.max())))
    )
    if saturation < 0.25:  # noqa: PLR2004
        return "white"
    degrees = 360 * hue
    for most, name in ((20, "red"), (75, "yellow"), (170, "green"), (270, "blue"), (330, ""), (361, "red")):
        if degrees < most:
            return name
    return ""


def _place(down: float, right: float) -> str:
    rows, columns = ("top", "", "bottom"), ("left", "", "right")
    words = f"{rows[min(2, int(3 * down))]} {columns[min(2, int(3 * right))]}".strip()
    return words or "middle"


def _blurred(values: Floats) -> Floats:
    padded = np.pad(values, 1)
    height, width = values.shape
    total: Floats = sum(  # type: ignore[assignment]  # `sum` begins with an int
        padded[down : down + height, right : right + width] for down in range(3) for right in range(3)
    )
    return total / np.float32(9)


def _box(row: int, column: int, reach: int, height: int, width: int) -> tuple[slice, slice]:
    return (
        slice(max(0, row - reach), min(height, row + reach + 1)),
        slice(max(0, column - reach), min(width, column + reach + 1)),
    )


# Patterns ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Runs:
    on: list[float]
    off: list[float]
    """Between two lit spells."""
    before: float
    after: float


def _pattern(level: Floats, times: Floats) -> _Pattern:
    """How often it blinks before each pause; `blinks=0` and not regular if that is not certain."""
    low, middle, high = (_runs(level > threshold, times) for threshold in _THRESHOLDS)
    if not len(low.on) == len(middle.on) == len(high.on) or len(middle.on) < 2:  # noqa: PLR2004
        return _Pattern(0)
    frame_s = float(np.median(np.diff(times)))
    if np.mean(low.on) - np.mean(high.on) > 2 * frame_s:
        return _Pattern(0)  # it swells and fades, as a reflection does that passes by: lamps switch
    if min(*middle.on, *middle.off) < 1.5 * frame_s or _ratio(middle.on, frame_s) > _SPREAD:
        return _Pattern(0)
    on_s, gaps = float(np.median(middle.on)), sorted(middle.off)
    if _ratio(gaps, frame_s) <= _SPREAD:
        return _regular(middle, on_s, gaps)
    split = max(range(1, len(gaps)), key=lambda at: gaps[at] / gaps[at - 1])
    short, long = gaps[:split], gaps[split:]
    if (
        min(long) < _SPREAD * max(short)
        or _ratio(short, frame_s) > _SPREAD
        or _ratio(long, frame_s) > _SPREAD
    ):
        return _Pattern(0)
    border = (max(short) + min(long)) / 2
    blinks = _count(middle, border)
    return _Pattern(blinks, on_s=on_s, gap_s=float(np.median(short)), pause_s=float(np.median(long)))


def _regular(runs: _Runs, on_s: float, gaps: list[float]) -> _Pattern:
    """All gaps are alike: single flashes with a pause after each, or blinking without pauses."""
    gap_s = float(np.median(gaps))
    if len(runs.on) < 3:  # noqa: PLR2004
        return _Pattern(0)
    if gaps[0] >= _LONE_PAUSE_S and gap_s > 2 * on_s:
        return _Pattern(1, on_s=on_s, pause_s=gap_s)
    if len(runs.on) < 10 or max(runs.before, runs.after) > _SPREAD * gap_s:  # noqa: PLR2004 - may yet pause
        return _Pattern(0)
    return _Pattern(0, regular=True, on_s=on_s, gap_s=gap_s)


def _count(runs: _Runs, border: float) -> int:
    """Blinks in every group that was seen from pause to pause; 0 if they differ."""
    groups, current = [], 1
    for gap in runs.off:
        if gap > border:
            groups.append(current)
            current = 0
        current += 1
    groups.append(current)
    first, last = runs.before > border, runs.after > border
    whole = groups[0 if first else 1 : None if last else -1]
    if not whole or len(set(whole)) > 1 or whole[0] > 9:  # noqa: PLR2004
        return 0
    return whole[0] if max(groups) == whole[0] else 0


def _runs(lit: NDArray[np.bool_], times: Floats) -> _Runs:
    edges = np.flatnonzero(np.diff(lit.astype(np.int8))) + 1
    at = [float(times[edge]) for edge in edges]
    begins = [time for edge, time in zip(edges, at, strict=True) if lit[edge]]
    ends = [time for edge, time in zip(edges, at, strict=True) if not lit[edge]]
    if lit[0] and ends:
        ends = ends[1:]  # it began before the clip: how long it was lit is unknown
    whole = list(zip(begins, ends, strict=False))
    off = [begin - end for (_, end), begin in zip(whole, begins[1:], strict=False)]
    return _Runs(
        on=[end - begin for begin, end in whole],
        off=off,
        before=0.0 if lit[0] or not begins else begins[0] - float(times[0]),
        after=0.0 if lit[-1] or not ends else float(times[-1]) - ends[-1],
    )


def _ratio(values: list[float], grain: float) -> float:
    """Ratio of the longest to the shortest, with a tolerance of one frame."""
    return max(0.0, max(values) - grain) / (min(values) + grain / 2)
