"""One owner per data folder: two bots on one SQLite file would answer everybody twice."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Busy(Exception):
    """Another process holds the folder."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the folder until the block ends or the process dies, however it dies.  Raises `Busy`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise Busy(f"process {file.read().strip() or '?'} works in {folder} already") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
