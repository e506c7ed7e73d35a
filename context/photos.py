"""Photos: checked, normalised and kept by content hash."""

from __future__ import annotations

REJECTIONS: tuple[str, ...] = (
    "empty",  # no bytes at all
    "too_large",  # more bytes than Telegram's bots can fetch (20 MB)
    "not_a_picture",  # video, PDF, web page, archive ...
    "heic",  # iPhone's own format (HEIC, AVIF): a picture, but send it as a photo
    "unsupported",  # a picture of a kind we do not open (GIF, TIFF, BMP, SVG, 12-bit JPEG ...)
    "damaged",  # cut off, or broken inside
    "too_many_pixels",  # would take too much memory to open
    "too_small",  # a side under 16 pixels
    "bad_shape",  # a strip: more than 30 times as long as wide, or a side over 16,000
    "too_complex",  # built to be slow: thousands of scans or chunks
    "too_slow",  # took longer than a photo may take
    "download_failed",  # the channel did not give us the file
    "try_again",  # our fault: it could not be checked or stored just now
)
"""Every code a `Rejection` may carry.  `prompts/notices` has a sentence for each, in each language."""
