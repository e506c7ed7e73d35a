"""Real Redis servers for tests: started in a folder, killed and started again at will."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import redis.asyncio as aioredis

from context.redis_child import programs

PROGRAMS = programs()


class RealRedis:
    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = f"--port 0 --unixsocket {self.socket} --dir {self.folder} --appendonly yes --databases 1"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self.program, *words.split()], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.005)

    def kill(self) -> None:
        """As `kill -9`: nothing is written any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> aioredis.Redis:
        return aioredis.Redis(unix_socket_path=str(self.socket), socket_timeout=5)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as asked:
                asked.settimeout(1)
                asked.connect(str(self.socket))
                asked.sendall(b"PING\r\n")
                return asked.recv(16).startswith(b"+PONG")
        except OSError:
            return False
