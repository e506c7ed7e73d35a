"""The orientation in EXIF data, the only thing in it that is used."""

from __future__ import annotations

import struct


def orientation_in(tiff: bytes) -> int:
    """Orientation from EXIF's TIFF structure; 1 if it says nothing valid.

    Parsed here, since Pillow's `exif_transpose` parses the whole block and fails on odd ones.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(min(entries, 512)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if tag == 0x0112 and kind == 3:  # noqa: PLR2004 - Orientation, SHORT
                return int(value) if 1 <= value <= 8 else 1  # noqa: PLR2004 - EXIF's eight
    except struct.error:
        pass
    return 1
