"""Real Redis servers for tests: started in a folder, killed and started again at will."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import redis
import redis.asyncio as aioredis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from context.redis_child import programs
from tests.until import PATIENCE_S

PROGRAMS = programs()


@contextlib.contextmanager
def serve_cluster(program: str, folder: Path, *, nodes: int = 3, port: int = 0) -> Iterator[list[RealNode]]:
    """Redis Cluster without replicas: the 16,384 slots shared out over so many nodes, the first at `port`."""
    started = [RealNode(program, folder / str(number), 0 if number else port) for number in range(nodes)]
    try:
        share = 16384 // nodes
        for number, node in enumerate(started):
            first, last = number * share, 16383 if number == nodes - 1 else (number + 1) * share - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.ask("CLUSTER", "MEET", "127.0.0.1", started[0].port, started[0].bus)
        deadline = time.monotonic() + PATIENCE_S
        while not all("cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in started) or any(
            f"cluster_known_nodes:{nodes}" not in node.ask("CLUSTER", "INFO") for node in started
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield started
    finally:
        for node in started:
            node.kill()


class RealNode:
    """One node of a cluster."""

    def __init__(self, program: str, folder: Path, port: int = 0) -> None:
        folder.mkdir()
        self.port, self.bus = port or free_port(), free_port()
        words = f"--port {self.port} --cluster-enabled yes --cluster-port {self.bus} --dir {folder} --save "
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen([program, *words.split(), ""], stdout=log, stderr=log)
        patiently = Retry(ConstantBackoff(0.02), int(PATIENCE_S / 0.02))
        self._client = redis.Redis(port=self.port, socket_timeout=PATIENCE_S, retry=patiently)
        self._client.ping()

    def ask(self, *words: object) -> str:
        return str(self._client.execute_command(*words))  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        """As `kill -9`."""
        self._client.close()
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class RealRedis:
    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        words = f"--port 0 --unixsocket {self.socket} --dir {self.folder} --appendonly yes --databases 1"
        with (self.folder / "log").open("ab") as log:
            command = [self.program, *words.split(), *more]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
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
        return aioredis.Redis(unix_socket_path=str(self.socket), socket_timeout=PATIENCE_S)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as asked:
                asked.settimeout(1)
                asked.connect(str(self.socket))
                asked.sendall(b"PING\r\n")
                return asked.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
