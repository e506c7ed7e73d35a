"""The protocol between the bot and its helper process.

For every picture the bot sends one byte and one end of a fresh socket pair, which becomes the
child's only channel: `SIZE` and the file in, `HEAD` and a payload out.  If the child did not end
properly, one byte (`SLOW`, `LATE` or `CRASHED`) replaces its answer.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

READY = b"r"
PHOTO, CLIP, HEIC = b"p", b"c", b"h"
"""The kinds of orders."""
SIZE = struct.Struct("!I")
HEAD = struct.Struct("!BHHIH")
"""Kind of answer, width, height, bytes that follow: the JPEG, or `code detail`; then bytes of facts."""
TAKEN, REFUSED = 0, 1
SLOW, LATE, CRASHED = b"S", b"L", b"C"
"""It used up its CPU time; its time was over, which is the machine's fault if little CPU was used."""
WALL_S = {PHOTO: 30.0, CLIP: 90.0, HEIC: 30.0}
"""Time limit of a child, several times its CPU limit (`zygote.CPU_S`): the machine may be busy."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """A baseline RGB JPEG without metadata, upright, its longest side at most 1024."""

    jpeg: bytes
    width: int
    height: int
    facts: str = ""
    """What was measured, as `context.facts` writes it."""
