"""Frames between the bot and its model worker: a length, then one pickled value.

Pickle is safe here because both ends are this program, joined by a private pipe: nothing that a
customer or the network sends is ever unpickled.
"""

from __future__ import annotations

import pickle
import struct
from asyncio import IncompleteReadError, StreamReader
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">Q")


def packed(value: object) -> bytes:
    """One frame."""
    body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


def read(pipe: BinaryIO) -> Any:
    """The next value; None when the other end is gone.  Blocks."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    return pickle.loads(body) if len(body) == length else None  # noqa: S301  # see the module's docstring


async def receive(reader: StreamReader) -> Any:
    """The next value; None when the other end is gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301  # see the module's docstring
    except (IncompleteReadError, ConnectionError):
        return None
