"""Turns one stripped picture into an upright JPEG: the part that decodes pixels, inside the child."""

from __future__ import annotations

import io

from PIL import Image, ImageChops, ImageFile, ImageMode, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from context.facts import written
from context.intake.formats import strip
from context.intake.limits import Bare
from context.intake.wire import Normalised
from context.turns import Flaw

LONGEST_SIDE = 1024
JPEG_QUALITY = 90
STRIP_ROWS = 256
DARK = 45
"""Luminance that 5 % of a picture must reach."""
BLURRED = 3
SMALL_SIDE = 120
TILE = 16
SCREEN_SHAPE = 1.5
"""A screen is at least this many times as long as wide; cameras take 4:3 by default."""
PLAIN_TILE = 8
_DIFFERS = [0, *[255] * 255]
_IS_PLAIN = [255, *[0] * 255]


class _FirstFrame(WebPImagePlugin.WebPImageFile):
    """Only one frame is used: its decoder's two canvases are freed before the picture needs memory."""

    def _get_next(self) -> tuple[bytes, int, int]:
        frame = super()._get_next()
        del self._decoder
        return frame


# The plugins' own classes, since `Image.open` would also try other decoders and wraps MPO.
_DECODERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": _FirstFrame,
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def normalise(data: bytes) -> Normalised:
    """Check a file and prepare it for model, disk and console.

    Raises `Refused`, and whatever Pillow raises for damaged pixels.  ICC profiles are ignored on
    purpose: avoiding slightly pale photos is not worth the attack surface of LittleCMS.
    """
    bare = strip(data)
    del data
    target = target_of(bare.width, bare.height)
    picture = brought_down(_decoded(bare, target), target)
    if bare.orientation in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[bare.orientation])
    return finished(picture)


def finished(picture: Image.Image) -> Normalised:
    """The JPEG of an upright picture that is small enough, with its measurements."""
    picture.info.clear()  # from where the JPEG writer would copy comments
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=JPEG_QUALITY)
    return Normalised(out.getvalue(), *picture.size, facts=written(None, flaw_of(picture)))


def flaw_of(picture: Image.Image) -> Flaw:
    """Why a picture shows little of a device, if that is clear from its pixels.

    Dark: even its bright parts are dark.  Blurred: even its sharpest parts show no detail of two to four
    pixels; drawn panels and plates in focus measure 13 and 30 there, smeared over four pixels 2.
    """
    if min(picture.size) < SMALL_SIDE:
        return "small"
    grey = picture.convert("L")
    half = grey.reduce(2)
    counts = half.histogram()
    brighter = 0.05 * sum(counts)
    if sum(counts[DARK:]) < brighter:
        return "dark"
    detail = ImageChops.difference(half, half.reduce(2).resize(half.size, Image.Resampling.BILINEAR))
    tiles = sorted(detail.reduce(TILE).tobytes())
    if tiles[-max(1, len(tiles) // 50)] < BLURRED:
        return "blurred"
    return "screenshot" if _is_screenshot(grey) else ""


def _is_screenshot(grey: Image.Image) -> bool:
    """Whether it is a screenshot and not a photo; in doubt it counts as a photo.

    With a camera's noise no tile has exactly one shade, except where it is over- or underexposed.  A screen
    draws large areas in a few shades, not all of them black and white, with sharp characters beside them.
    """
    if max(grey.size) < SCREEN_SHAPE * min(grey.size):
        return False
    shades = grey.reduce(PLAIN_TILE)
    spread = shades.resize([PLAIN_TILE * side for side in shades.size], Image.Resampling.NEAREST)
    off = ImageChops.difference(grey, spread.crop((0, 0, *grey.size)))
    plain = shades.histogram(mask=off.point(_DIFFERS).reduce(PLAIN_TILE).point(_IS_PLAIN))
    ranked = sorted(plain, reverse=True)
    tiles = shades.width * shades.height
    sharp = sum(off.reduce(PLAIN_TILE).histogram()[15:])
    return (
        sum(plain) >= 0.35 * tiles
        and sum(ranked[:4]) >= 0.9 * sum(plain)
        and min(ranked[1], max(plain[16:250])) >= 0.02 * tiles
        and sharp >= 0.03 * tiles
    )


def _decoded(bare: Bare, target: tuple[int, int]) -> Image.Image:
    """The pixels; for a JPEG at the next larger size than `target` that is cheap to decode."""
    source = _DECODERS[bare.format](io.BytesIO(bare.body))
    if source.size != (bare.width, bare.height):
        raise OSError("the header and the decoder disagree about the size")
    source.draft(None, target)  # JPEG only: decodes at 1/2, 1/4 or 1/8, 2.7 times cheaper at 12 megapixels
    source.load()
    return source


def target_of(width: int, height: int) -> tuple[int, int]:
    """The size at which a picture is kept."""
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def brought_down(source: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Plain RGB at its final size.  The caller must keep no reference to the source: its memory is reused."""
    picture = _flatten_in_strips(source, max(source.size) // (2 * LONGEST_SIDE))
    del source
    if picture.size != target:
        # Width first and then height, as one call would do; but between the two the source can go. A child
        # pays for every new page of memory, and this needs a fifth fewer for a Telegram photo.
        # Hamming takes half of Lanczos' time, as much as all the decoding; measured against exact area
        # averages of 20-megapixel scenes it is 0.1 to 0.6 dB behind after q90, which itself costs 3 to 10.
        picture = picture.resize((target[0], picture.height), Image.Resampling.HAMMING)
        picture = picture.resize(target, Image.Resampling.HAMMING)
    return picture


def _flatten_in_strips(source: Image.Image, factor: int) -> Image.Image:
    """Make it plain RGB, `factor` times smaller.

    A large picture is processed in strips: three full-size copies of 20 megapixels in RGBA
    would take 240 MB.
    """
    if factor < 2:  # noqa: PLR2004 - nothing to reduce
        return _flatten(source)
    width, height = source.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, STRIP_ROWS // factor)
    for top in range(0, height, rows):
        piece = source.crop((0, top, width, min(height, top + rows)))
        small.paste(_flatten(piece).reduce(factor), (0, top // factor))
    return small


def _flatten(picture: Image.Image) -> Image.Image:
    """RGB, whatever it was; transparent parts become white."""
    if picture.mode.startswith("I"):  # 16-bit grey
        return picture.point(lambda value: value * (1 / 256), "L").convert("RGB")
    if "A" in ImageMode.getmode(picture.mode).bands or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        white = Image.new("RGB", clear.size, "white")
        white.paste(clear, mask=clear)
        return white
    return picture.convert("RGB") if picture.mode != "RGB" else picture
