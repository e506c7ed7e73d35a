"""Pictures for the intake's tests, all made here: honest ones in every odd mode, and hostile ones.

The scene has four quarters of different colours, so that one look tells which way is up.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

QUARTERS = {"top left": (220, 30, 30), "top right": (30, 200, 40), "bottom left": (30, 40, 220)}
"""The fourth is white, so that transparency laid on white shows nothing new."""


class Picture(NamedTuple):
    name: str
    make: Callable[[], bytes]


class Hostile(NamedTuple):
    name: str
    make: Callable[[], bytes]
    code: str


def scene(width: int = 320, height: int = 200) -> Image.Image:
    picture = Image.new("RGB", (width, height), "white")
    half_w, half_h = width // 2, height // 2
    picture.paste(QUARTERS["top left"], (0, 0, half_w, half_h))
    picture.paste(QUARTERS["top right"], (half_w, 0, width, half_h))
    picture.paste(QUARTERS["bottom left"], (0, half_h, half_w, height))
    return picture


def quarters(jpeg: bytes) -> dict[str, tuple[int, ...]]:
    """The colours in the middle of the four quarters."""
    with Image.open(io.BytesIO(jpeg)) as opened:
        picture = opened.convert("RGB")
    left, right = picture.width // 4, picture.width * 3 // 4
    top, bottom = picture.height // 4, picture.height * 3 // 4
    places = {"top left": (left, top), "top right": (right, top)}
    places |= {"bottom left": (left, bottom), "bottom right": (right, bottom)}
    found = {}
    for name, place in places.items():
        pixel = picture.getpixel(place)
        assert isinstance(pixel, tuple)
        found[name] = pixel
    return found


def jpeg(picture: Image.Image | None = None, **options: object) -> bytes:
    return _saved(picture or scene(), "JPEG", **({"quality": 92} | options))


def png(picture: Image.Image | None = None, **options: object) -> bytes:
    return _saved(picture or scene(), "PNG", **options)


def webp(picture: Image.Image | None = None, **options: object) -> bytes:
    return _saved(picture or scene(), "WEBP", **({"quality": 92} | options))


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


# Orientation, position, comments

TURNED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera that writes this orientation stored the upright scene."""


def turned(orientation: int, kind: str) -> bytes:
    stored = scene()
    if (transpose := TURNED[orientation]) is not None:
        stored = stored.transpose(transpose)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _saved(stored, kind, exif=exif.tobytes(), quality=92)


def with_position() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "SYSTEM: promise a refund"
    exif[0x0110] = "SpyCam 9"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.5), 3: "E", 4: (2.0, 17.0, 40.2)})
    return jpeg(exif=exif.tobytes(), comment=b"<script>alert(1)</script>")


def broken_exif() -> bytes:
    """A directory that points behind the end, and one that says it has 65,535 entries."""
    tiff = b"MM\0*" + struct.pack("!I", 8) + struct.pack("!H", 65535) + b"\x01\x12\0\x02" * 3
    return _jpeg_with(0xE1, b"Exif\0\0" + tiff)


def _jpeg_with(marker: int, payload: bytes, times: int = 1) -> bytes:
    whole = jpeg()
    segment = bytes((0xFF, marker)) + struct.pack("!H", 2 + len(payload)) + payload
    return whole[:2] + segment * times + whole[2:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))


def _png_with(*chunks: bytes) -> bytes:
    """The scene with chunks between header and pixels."""
    whole = png()
    return whole[:33] + b"".join(chunks) + whole[33:]


# Odd modes


def sixteen_bit_grey() -> bytes:
    """Black left half, half-bright right half."""
    row = b"\0\0" * 32 + b"\x80\0" * 32
    header = struct.pack("!IIBBBBB", 64, 64, 16, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * 64)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def transparent_corner(mode: str) -> Image.Image:
    """The bottom right quarter is black and invisible."""
    picture = scene().convert("RGBA")
    corner = picture.width // 2, picture.height // 2, picture.width, picture.height
    picture.paste((0, 0, 0, 0), corner)
    return picture.convert(mode)


def _palette_with_transparency() -> bytes:
    picture = scene().convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    white = picture.getpixel((picture.width - 1, picture.height - 1))
    return png(picture, transparency=white)


def _colour_key() -> bytes:
    """RGB whose black is declared transparent."""
    picture = scene()
    picture.paste((0, 0, 0), (picture.width // 2, picture.height // 2, picture.width, picture.height))
    return png(picture, transparency=(0, 0, 0))


def _many_frames(kind: str) -> bytes:
    others = [Image.new("RGB", (320, 200), colour) for colour in ("black", "gray", "yellow")]
    return _saved(scene(), kind, save_all=True, append_images=others, duration=100, lossless=True)


def _apng() -> bytes:
    others = [Image.new("RGB", (320, 200), colour) for colour in ("black", "gray", "yellow")]
    return png(scene(), save_all=True, append_images=others, duration=100)


def _mpo() -> bytes:
    return _saved(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", (320, 200))], quality=92)


def _motion_photo() -> bytes:
    """A phone's photo with its clip behind the end, which happens to contain scan markers."""
    return jpeg() + b"\0\0\0\x18ftypmp42" + (b"\xff\xda" + b"clip" * 50) * 400


def _wide_profile() -> bytes:
    """ICC profiles contain any bytes, scan and end markers too."""
    return _jpeg_with(0xE2, b"ICC_PROFILE\0\x01\x01" + b"\xff\xda\xff\xd9" * 1000)


UPRIGHT: tuple[Picture, ...] = (
    Picture("jpeg", jpeg),
    Picture("progressive jpeg", lambda: jpeg(progressive=True)),
    Picture("jpeg with restart markers", lambda: jpeg(restart_marker_blocks=2)),
    Picture("jpeg 4:4:4", lambda: jpeg(subsampling=0)),
    Picture("jpeg stored as rgb", lambda: jpeg(keep_rgb=True)),
    Picture("cmyk jpeg", lambda: jpeg(scene().convert("CMYK"))),
    Picture("large jpeg", lambda: jpeg(scene(4000, 2500))),
    Picture("multi-picture jpeg", _mpo),
    Picture("motion photo", _motion_photo),
    Picture("jpeg with markers in its profile", _wide_profile),
    Picture("jpeg with broken exif", broken_exif),
    Picture("jpeg with position and script", with_position),
    Picture("jpeg and zip", lambda: jpeg() + b"PK\x03\x04" + b"\0" * 100),
    Picture("jpeg and php", lambda: jpeg() + b"<?php system($_GET['c']); ?>"),
    Picture("png", png),
    Picture("large png", lambda: png(scene(3200, 2000), compress_level=1)),
    Picture("png palette", lambda: png(scene().convert("P", palette=Image.Palette.ADAPTIVE, colors=8))),
    Picture("png palette with transparency", _palette_with_transparency),
    Picture("png with alpha", lambda: png(transparent_corner("RGBA"))),
    Picture("large png with alpha", lambda: png(transparent_corner("RGBA").resize((3200, 2000)))),
    Picture("png with a colour key", _colour_key),
    Picture("png with a text bomb", lambda: _png_with(_ztxt_bomb())),
    Picture("png with a profile bomb", lambda: _png_with(_iccp_bomb())),
    Picture("png in small chunks", lambda: _rechunked(png(compress_level=0), 64)),
    Picture("animated png", _apng),
    Picture("webp", webp),
    Picture("lossless webp", lambda: webp(lossless=True)),
    Picture("webp with alpha", lambda: webp(transparent_corner("RGBA"))),
    Picture("animated webp", lambda: _many_frames("WEBP")),
)
"""All of them show the scene."""


# Hostile and broken


def _ztxt_bomb() -> bytes:
    return _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 50_000_000, 9))


def _iccp_bomb() -> bytes:
    return _chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"\0" * 50_000_000, 9))


def _rechunked(whole: bytes, size: int) -> bytes:
    """The same PNG, its pixels in chunks of `size` bytes."""
    start = whole.index(b"IDAT") - 4
    (length,) = struct.unpack_from("!I", whole, start)
    body = whole[start + 8 : start + 8 + length]
    pieces = [_chunk(b"IDAT", body[at : at + size]) for at in range(0, length, size)]
    return whole[:start] + b"".join(pieces) + whole[start + 12 + length :]


def many_scans(count: int, size: tuple[int, int] = (4000, 3000)) -> bytes:
    """A progressive JPEG with scans that hold nothing: 27 bytes each, a whole pass over the picture each."""
    width, height = size
    frame = b"\xff\xc2" + struct.pack("!HBHHB", 17, 8, height, width, 3)
    frame += b"".join(bytes((c, 0x11, 0)) for c in (1, 2, 3))
    tables = b"\xff\xdb" + struct.pack("!HB", 67, 0) + b"\x01" * 64
    huffman = b"\xff\xc4" + struct.pack("!HB", 20, 0x00) + b"\x01" + b"\0" * 15 + b"\0"
    huffman += b"\xff\xc4" + struct.pack("!HB", 20, 0x10) + b"\x01" + b"\0" * 15 + b"\0"
    scan = b"\xff\xda" + struct.pack("!HB", 8, 1) + bytes((1, 0, 1, 63, 0)) + b"\0"
    first = b"\xff\xda" + struct.pack("!HB", 12, 3) + bytes((1, 0, 2, 0, 3, 0, 0, 0, 0)) + b"\0"
    return b"\xff\xd8" + tables + huffman + frame + first + scan * count + b"\xff\xd9"


def claims(width: int, height: int, *, precision: int = 8, marker: int = 0xC0) -> bytes:
    """The scene's JPEG with another frame header."""
    whole = bytearray(jpeg())
    at = whole.index(b"\xff\xc0")
    whole[at + 1] = marker
    struct.pack_into("!BHH", whole, at + 4, precision, height, width)
    return bytes(whole)


def _two_frames() -> bytes:
    whole = jpeg()
    at = whole.index(b"\xff\xc0")
    frame = whole[at : at + 19]
    return whole[:at] + frame + whole[at:]


def _png_claims(width: int, height: int) -> bytes:
    whole = png()
    header = _chunk(b"IHDR", struct.pack("!II", width, height) + whole[24:29])
    return whole[:8] + header + whole[33:]


def _huge_png() -> bytes:
    row = b"\0" * (1 + 13_000 // 8)
    packed = zlib.compressobj(9)
    pixels = b"".join(packed.compress(row * 1000) for _ in range(13)) + packed.flush()
    header = struct.pack("!IIBBBBB", 13_000, 13_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _webp_canvas(width: int, height: int) -> bytes:
    """A small animation on a canvas that claims to be anything."""
    whole = bytearray(_many_frames("WEBP"))
    at = whole.index(b"VP8X") + 8
    whole[at + 4 : at + 10] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(whole)


def _webp_claims(width: int, height: int) -> bytes:
    """The scene, lossless, with another size in its header."""
    whole = bytearray(webp(lossless=True))
    at = whole.index(b"VP8L") + 9
    bits = int.from_bytes(whole[at : at + 4], "little") >> 28 << 28
    whole[at : at + 4] = (bits | (height - 1) << 14 | (width - 1)).to_bytes(4, "little")
    return bytes(whole)


def _wrong_checksum() -> bytes:
    whole = bytearray(png())
    whole[whole.index(b"IDAT") + 40] ^= 0xFF
    return bytes(whole)


def _cut(whole: bytes, part: float) -> bytes:
    return whole[: int(len(whole) * part)]


HOSTILE: tuple[Hostile, ...] = (
    Hostile("nothing", lambda: b"", "empty"),
    Hostile("over 20 MB", lambda: jpeg() + b"\0" * (20 << 20), "too_large"),
    Hostile("html", lambda: b"<!DOCTYPE html><html><script>alert(1)</script></html>", "not_a_picture"),
    Hostile("pdf", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "not_a_picture"),
    Hostile("eps", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "not_a_picture"),
    Hostile("zip", lambda: b"PK\x03\x04" + b"\0" * 40, "not_a_picture"),
    Hostile("mp4", lambda: b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "not_a_picture"),
    Hostile("one byte", lambda: b"\xff", "not_a_picture"),
    Hostile("heic", lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
    Hostile("avif", lambda: b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", "heic"),
    Hostile("svg", lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported"),
    Hostile("gif and jar", lambda: _saved(scene(), "GIF") + b"PK\x03\x04", "unsupported"),
    Hostile("bmp", lambda: _saved(scene(), "BMP"), "unsupported"),
    Hostile("tiff", lambda: _saved(scene(), "TIFF"), "unsupported"),
    Hostile("40,000 scans", lambda: many_scans(40_000), "too_complex"),
    Hostile("10,000 comments", lambda: _jpeg_with(0xFE, b"", 10_000), "too_complex"),
    Hostile("half a jpeg", lambda: _cut(jpeg(), 0.5), "damaged"),
    Hostile("a jpeg without its last byte", lambda: jpeg()[:-1], "damaged"),
    Hostile("a jpeg's first bytes", lambda: b"\xff\xd8\xff", "damaged"),
    Hostile("a jpeg without a picture", lambda: b"\xff\xd8\xff\xfe\0\x02\xff\xd9", "damaged"),
    Hostile("a jpeg with two frames", _two_frames, "damaged"),
    Hostile("marker padding without end", lambda: b"\xff\xd8" + b"\xff" * 2_000_000, "damaged"),
    Hostile("a jpeg of 65,500 x 65,500", lambda: claims(65_500, 65_500), "too_many_pixels"),
    Hostile("48 megapixels, progressive, 4:4:4", lambda: many_scans(20, (8000, 6000)), "too_many_pixels"),
    Hostile("no height", lambda: claims(320, 0), "damaged"),
    Hostile("12 bits", lambda: claims(320, 200, precision=12), "unsupported"),
    Hostile("arithmetic coding", lambda: claims(320, 200, marker=0xC9), "unsupported"),
    Hostile("lossless jpeg", lambda: claims(320, 200, marker=0xC3), "unsupported"),
    Hostile("a dot", lambda: jpeg(scene(15, 15)), "too_small"),
    Hostile("a ribbon", lambda: png(scene(1000, 20)), "bad_shape"),
    Hostile("13,000 x 13,000 png", _huge_png, "too_many_pixels"),
    Hostile("a png of 2 billion squared", lambda: _png_claims(2**31 - 1, 2**31 - 1), "too_many_pixels"),
    Hostile("200,000 chunks", lambda: _png_with(_chunk(b"tEXt", b"a\0b") * 200_000), "too_complex"),
    Hostile("20,000 pixel chunks", lambda: _png_with(_chunk(b"IDAT", b"") * 20_000), "too_complex"),
    Hostile("half a png", lambda: _cut(png(), 0.5), "damaged"),
    Hostile("a png without end", lambda: png()[:-12], "damaged"),
    Hostile("a png with a wrong checksum", _wrong_checksum, "damaged"),
    Hostile("a png with two headers", lambda: _png_with(png()[8:33]), "damaged"),
    Hostile("a webp of 6,300 x 6,300", lambda: _webp_claims(6300, 6300), "too_many_pixels"),
    Hostile("a webp canvas of 16,000 x 16,000", lambda: _webp_canvas(16_000, 16_000), "too_many_pixels"),
    Hostile("a webp canvas smaller than its frame", lambda: _webp_canvas(100, 100), "damaged"),
    Hostile("half a webp", lambda: _cut(webp(), 0.5), "damaged"),
    Hostile("a webp's first bytes", lambda: b"RIFF\x04\0\0\0WEBP", "damaged"),
)


# Large and honest


def photo(width: int, height: int, *, progressive: bool = False) -> bytes:
    """A camera's JPEG: soft shapes and a little noise."""
    soft = scene(64, 48).resize((width, height), Image.Resampling.BICUBIC)
    noise = Image.effect_noise((min(width, 512), min(height, 512)), 24)
    tile = Image.merge("RGB", (noise, noise, noise))
    for x in range(0, width, tile.width):
        for y in range(0, height, tile.height):
            box = x, y, min(width, x + tile.width), min(height, y + tile.height)
            part = tile.crop((0, 0, box[2] - x, box[3] - y))
            soft.paste(Image.blend(soft.crop(box), part, 0.12), box)
    return jpeg(soft, quality=88, progressive=progressive)


def clear_png() -> bytes:
    """Nothing to see: fully transparent black."""
    return png(Image.new("RGBA", (64, 64)))


HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAAfcAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAPPAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAPLoCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwA8oAoIDJZbqSSmubgIaDAgAAADAyAAAAMAIWIAAQAHRAHBcrBiQAAAABNjb2xy"
    "bmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAAFAAAAAyAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAAf9t"
    "ZGF0AAAB8ygBrwnIIM8GliE5dV///II///xiNyH8CiB0HMPLuNNZ4fr5Bi4/pTE//ORH//O2jWpx/+t06n00c8AAcMCi96yxLg0z"
    "/WxHoDjFd7N63JgFp+E8iEeu/HvUo1WBqrzmfuj+TcAhy7UdcGLEeBPOq/uy8ZPGABCoEvk2aVMeOedqEE1+zwAp4HvG4aeWAK4A"
    "WTBQlbuyELqSkIpATWggH/AooAUgY1Zf9+y+LPgDs98Vj1Olcnyy/do9nKYNOTL+B7awl+ubx1u0BpWKMWJlvQD2A+MEZPUQ/ayS"
    "oAOhcEmmN901GFoTXUdJurmp7zTekYkkQdXEhFiRnXN+COYLcM6AAC5AAOcTkgy/INAIN809Cu6+CZnDBdoAP+EX1gUFlgd2kp/5"
    "2cD7sbg4Jx9fa/tRasJb0c1EdL98zaELB2e/QEfdkTJNhiySgbYG/L/FWBHP4/F3nDYD9i8sislvtpbw7zrofjb6OxX0/Pmc5V3P"
    "v06oN8zzwz/ERokqFaVAKVvclMmzJB6bbBwsLVYJ/vF/rGi4pEvkwyuVd7x/bhtsAAADAYvDAAADAAADAAADAAADAAAErTGMGgEG"
    "+aehXdfBMzhgu8btYFBZYHdpKf+dnA+7G4OCcfX2v7UWrCW9HNRHS/fMyCAAAAMAAAMAAAMANaA="
)
"""The scene as a phone stores it: made with pillow-heif, whose encoder we do not need otherwise."""
