"""A private PostgreSQL server for tests, on a unix socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def find_binaries() -> Path | None:
    """The newest installed server's `bin` folder; Debian keeps it off PATH."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        candidates.append(Path(on_path).resolve().parent)
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


class Postgres:
    """A running server; `database(name)` makes an empty database and returns its URL."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._count = 0

    def database(self) -> str:
        self._count += 1
        name = f"test{self._count}"
        self._run("createdb", "-h", str(self._folder), "-U", "postgres", name)
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c max_connections=200"
        log = self._folder / "log"
        flags = ["-s", "-w", "-t", "120", "-D", str(self._data), "-l", str(log)]
        self._run("pg_ctl", *flags, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-s", "-D", str(self._data), "-w", "-m", mode, "stop")

    def initialise(self) -> None:
        self._run(
            "initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"
        )

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
        done = subprocess.run(
            [*user, str(self._binaries / program), *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=program != "pg_ctl",  # the server inherits our pipes and would keep them open
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, (program, done.stderr)


@contextmanager
def serve_postgres(binaries: Path) -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        server = Postgres(binaries, folder)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
