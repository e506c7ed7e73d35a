"""A folder of pictures: which files are in it, what is in them, and how their names are printed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from context.intake.limits import MAX_BYTES


def files_in(folder: Path, *, leave_out: Path) -> list[str]:
    """All files in the folder and below, except hidden ones and our own output.

    Folders that cannot be read are listed too, because their contents are not described.  Raises OSError if
    `folder` itself cannot be read.
    """
    troubles: list[OSError] = []
    found: list[str] = []
    own = leave_out.absolute().resolve()
    for place, folders, names in os.walk(folder, onerror=troubles.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(place, name) for name in names if not name.startswith(".")]
        found += [path.relative_to(folder).as_posix() for path in paths if not _leads_to(path, own)]
    for trouble in troubles:
        if Path(trouble.filename) == folder:
            raise trouble
        found.append(Path(trouble.filename).relative_to(folder).as_posix())
    return found


def _leads_to(path: Path, target: Path) -> bool:
    """Whether this is the resolved `target`, through links too; a link that leads nowhere is not."""
    try:
        return path.resolve() == target
    except (OSError, RuntimeError):  # Python before 3.13 raises RuntimeError for a link to itself
        return False


def read_file(path: Path) -> bytes:
    """The file, or enough of it for the intake to refuse its size.

    Raises OSError for anything but a regular file.
    """
    # Without O_NONBLOCK a pipe that nobody writes to would hold us up.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "not a file")
        return file.read(MAX_BYTES + 1)


def printable(file: str) -> str:
    """A file name that is safe to print: nothing in it can move the cursor or break the line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in file)
