"""Who may work in a data folder: one process at a time, and no bot while a restore is unfinished.

Two bots on one SQLite file would answer everybody twice.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RESTORING = "restoring"
"""An empty file that lies in the folder from the first change of a restore to its last."""


class Busy(Exception):
    """Another process holds the folder."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the folder until the block ends or the process does, in whatever way.  Raises `Busy`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            who = file.read().strip() or "?"
            problem = f"process {who} already uses {folder}; stop it, or choose another folder"
            raise Busy(problem) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_restore_unfinished(folder: Path) -> bool:
    """Whether a restore into this folder has begun and not ended."""
    return (folder / _RESTORING).exists()


def begin_restore(folder: Path) -> None:
    """Mark the folder; the caller flushes the folder to disk.  Calling twice is harmless."""
    (folder / _RESTORING).touch()


def end_restore(folder: Path) -> None:
    """Take the mark away; the caller flushes the folder to disk.  Calling twice is harmless."""
    (folder / _RESTORING).unlink(missing_ok=True)
