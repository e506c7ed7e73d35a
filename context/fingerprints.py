"""Fingerprints: which pictures look alike, shape and colours both.

For grouping only.  A lamp that is on and one that is off look alike to any fingerprint and mean
opposite things, so nothing may be answered, skipped or reused because of one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise

_SIDE = 8
_GRID = 4
_MAX_SHAPE = 10
"""Bits of 64.  Measured on drawn devices: re-encoded 0 to 1, a second shot of the same thing 4 to 18,
strangers around 32."""
_MAX_COLOURS = 24.0
"""Mean difference of a cell and channel, of 255: another light passes, another product does not."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a picture looks like from far away."""

    shape: int
    """64 bits: where it gets brighter from left to right."""
    colours: bytes
    """Mean colour (Y, Cb, Cr) of each cell of a 4 x 4 grid."""

    def is_near(self, other: Fingerprint) -> bool:
        """Whether both could be pictures of one series."""
        if (self.shape ^ other.shape).bit_count() > _MAX_SHAPE:
            return False
        apart = sum(abs(one - two) for one, two in zip(self.colours, other.colours, strict=True))
        return apart <= _MAX_COLOURS * len(self.colours)

    def may_be_near(self, text: str) -> bool:
        """The first half of `is_near`, for one that is still as `str` writes it."""
        return (self.shape ^ int(text[:16], 16)).bit_count() <= _MAX_SHAPE

    def apart(self, other: Fingerprint) -> int:
        """How unlike two are that are near: by the cell whose colour differs most, then by their shape."""
        cells = max(abs(one - two) for one, two in zip(self.colours, other.colours, strict=True))
        return 64 * cells + (self.shape ^ other.shape).bit_count()

    def __str__(self) -> str:
        return f"{self.shape:016x}{self.colours.hex()}"

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """The inverse of `str`.  Raises ValueError for anything else."""
        colours = bytes.fromhex(text[16:])
        if len(colours) != _GRID * _GRID * 3:
            raise ValueError("not a fingerprint")
        return cls(int(text[:16], 16), colours)


def fingerprint(jpeg: bytes) -> Fingerprint:
    """Of one of our own normalised JPEGs; some milliseconds, so away from the event loop."""
    from PIL import Image  # noqa: PLC0415 - heavy

    with Image.open(io.BytesIO(jpeg)) as image:
        image.draft("YCbCr", (128, 128))  # the decoder leaves out the fine detail: a tenth of the time
        small = image.convert("YCbCr").resize((128, 128), Image.Resampling.BOX)
    grey = small.getchannel(0).resize((_SIDE + 1, _SIDE), Image.Resampling.BOX).tobytes()
    shape = 0
    for row in range(_SIDE):
        line = grey[row * (_SIDE + 1) : (row + 1) * (_SIDE + 1)]
        for left, right in pairwise(line):
            shape = shape << 1 | (right > left)
    return Fingerprint(shape, small.resize((_GRID, _GRID), Image.Resampling.BOX).tobytes())
