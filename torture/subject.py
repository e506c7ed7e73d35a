"""The bot under test: a command line, and the names under which it takes its settings."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import string
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot.settings import NAMES

ROOT = Path(__file__).resolve().parent.parent

OURS: Mapping[str, str] = {
    "TELEGRAM_BOT_TOKEN": "{token}",
    "TELEGRAM_API_URL": "{telegram_url}",
    "TELEGRAM_SENDS_PER_S": "0",
    "TELEGRAM_CHAT_SENDS_PER_S": "0",
    "CUSTOMER_MESSAGES_PER_MIN": "0",
    "CUSTOMER_MESSAGES_PER_DAY": "0",
    "CUSTOMER_PHOTOS_PER_HOUR": "0",
    "CUSTOMER_TOKENS_PER_DAY": "0",
    "MODEL_URL": "{model_url}",
    "MODEL": "{model}",
    "DATA_DIR": "{folder}/data",
    "HTTP_PORT": "0",
    "LOG_FORMAT": "json",
}
"""How this bot is told where things are; another bot's names are given with `--env`."""

_RESTART_S = 1.0
"""What a service manager waits before it starts a program again that ended by itself."""


LAST_WORDS = 200
"""Characters."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What to run.  Values of `environment` may hold `{token}`, `{telegram_url}` and so on."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    is_ours: bool = False

    @property
    def wants_redis(self) -> bool:
        """Whether it has to be given a Redis server."""
        return any("{redis_url}" in value for value in self.environment.values())

    def settings(self, **places: str) -> dict[str, str]:
        """Its environment with every place in it filled."""
        return {name: value.format_map(places) for name, value in self.environment.items()}


THIS = Subject("this bot", (sys.executable, "-m", "bot"), OURS, is_ours=True)


def places_in(value: str) -> set[str]:
    """The names in curly brackets."""
    return {name for _, name, _, _ in string.Formatter().parse(value) if name}


@dataclass(slots=True)
class Death:
    """An end of the process."""

    at: float
    code: int
    was_asked: bool


@dataclass(slots=True)
class Process:
    """The subject as a process that is started again whenever it ends, until closed."""

    command: tuple[str, ...]
    environment: Callable[[], dict[str, str]]
    """Asked before each start."""
    folder: Path
    deaths: list[Death] = field(default_factory=list)
    starts: int = 0
    started_at: float = 0.0
    _process: asyncio.subprocess.Process | None = None
    _keeper: asyncio.Task[None] | None = None
    _asked: bool = False
    _up: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Start it, and keep it running."""
        self._keeper = asyncio.create_task(self._keep(), name="keeper")
        await self._up.wait()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The end of the last line that it wrote."""
        lines = (self.folder / "log").read_text(errors="replace").strip().splitlines()
        return lines[-1][-LAST_WORDS:] if lines else "it wrote nothing"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal that will end it."""
        assert self._process is not None
        self._asked = True
        with contextlib.suppress(ProcessLookupError):  # it ended just now
            self._process.send_signal(number)

    async def end(self, number: signal.Signals, *, timeout_s: float = 30.0) -> None:
        """Send it a signal, and wait until it is gone and the next one has been started."""
        before = self.starts
        await self._up.wait()
        self.send(number)
        async with asyncio.timeout(timeout_s):
            while self.starts == before:
                self._ended.clear()
                await self._ended.wait()

    async def died(self, count: int, *, timeout_s: float) -> bool:
        """Wait until it has ended `count` times in all."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self.deaths) < count:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Kill it with everything that it started."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._process is not None:
            self._kill_all()
            await self._process.wait()

    async def _keep(self) -> None:
        while True:
            environment = {name: value for name, value in os.environ.items() if name not in NAMES}
            with (self.folder / "log").open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self.command,
                    env=environment | {"PYTHONPATH": str(ROOT)} | self.environment(),
                    cwd=self.folder,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # a group of its own, so that nothing of it stays behind
                )
            self.starts, self.started_at = self.starts + 1, time.time()
            self._up.set()
            self._ended.set()
            code = await self._process.wait()
            self._up.clear()
            asked, self._asked = self._asked or code == -signal.SIGKILL, False
            self.deaths.append(Death(time.time(), code, asked))
            self._ended.set()
            if not asked:
                await asyncio.sleep(_RESTART_S)

    def _kill_all(self) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
