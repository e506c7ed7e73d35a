"""HEIC, the iPhone's own format: turns one picture into an upright JPEG; runs inside the child.

Only if the extra `heic` is installed.  libheif reads the whole file, not a stripped one as the other
decoders do: there is no part that could be removed first.  It turns the picture upright by itself.
"""

from __future__ import annotations

import io

import pi_heif

from context.intake.limits import Refused, measure
from context.intake.normalise import brought_down, finished, target_of
from context.intake.wire import Normalised

pi_heif.options.DECODE_THREADS = 1
pi_heif.options.THUMBNAILS = False
pi_heif.options.AUX_IMAGES = False
pi_heif.options.DEPTH_IMAGES = False


def normalise_heic(data: bytes) -> Normalised:
    """See `normalise`.  Raises `Refused`, and whatever libheif raises for a damaged file."""
    opened = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    if not len(opened):
        raise Refused("damaged", "no picture in it")
    picture = opened[opened.primary_index]
    measure("HEIC", *picture.size)
    return finished(brought_down(picture.to_pillow(), target_of(*picture.size)))
