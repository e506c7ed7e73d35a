"""Where a scenario plays: a bot between a Telegram, a model and a crowd of ours."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from tests.bot_api import BotApiServer
from tests.model_server import ModelServer
from tests.real_redis import PROGRAMS, RealRedis
from torture.card import Counts, judge
from torture.crowd import FIRST_CHAT, LONG_EVERY, MARK, Crowd, Model
from torture.subject import Process, Subject

START_S = 60.0
LOOK_S = 0.1
WEBHOOK_RETRY_S = 0.25
"""How soon Telegram tries again at first: sooner than the real one, for the sake of the clock on the wall."""
LINGER_S = 2.0
"""After the last answer: for a second copy of it, should there be one."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a scenario."""

    chats: int
    messages: int
    times: int
    """Kills, stops, restarts: whatever it repeats."""


class CannotRun(Exception):
    """The scenario needs something that this machine or this bot does not have."""


class Silent(Exception):
    """The bot did not answer a first message: there is nothing to break."""


class Arena:
    """One bot with its world, in a folder of its own.  `async with` closes all of it."""

    def __init__(
        self, subject: Subject, folder: Path, *, chats: int, seed: int = 0, model_s: float = 0.05
    ) -> None:
        self.subject = subject
        self.folder = folder
        self.random = random.Random(seed)
        self.telegram = BotApiServer(webhook_retry_s=WEBHOOK_RETRY_S)
        self.model = Model()
        self.model_server = ModelServer(answer=self.model.answer, latency_s=model_s, keep=0)
        # Telegram takes 4096 characters; who does not split an answer loses it even on a good day.
        long_every = LONG_EVERY if subject.is_ours else 0
        self.crowd = Crowd(self.telegram, chats=chats, seed=seed, long_every=long_every)
        self.environment: dict[str, str] = {}
        """Settings of this scenario, on top of the subject's; asked for at every start."""
        self.at_each_start: Callable[[], dict[str, str]] = dict
        """Settings of the next start alone."""
        self.notes: list[str] = []
        self.processes: list[Process] = []
        self.database_url = f"sqlite:///{folder}/data/bot.db"
        self._faults_over: list[float] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        try:
            await self._stack.enter_async_context(self.telegram)
            await self._stack.enter_async_context(self.model_server)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def at_the_end(self, callback: Callable[[], Awaitable[object]]) -> None:
        """Call this when all is over, in reverse order."""
        self._stack.push_async_callback(callback)

    async def start(self, *, command: tuple[str, ...] = (), processes: int = 1, hello: bool = True) -> None:
        """Start the bot and wait until it has answered a first message."""
        if self.subject.wants_redis and "REDIS_URL" not in self.environment:
            await self.own_redis()
        for number in range(processes):
            folder = self.folder / f"process{number}" if number else self.folder
            folder.mkdir(exist_ok=True)
            process = Process(command or self.subject.command, self._settings, folder)
            self.processes.append(process)
            self.at_the_end(process.close)
            await process.start()
        if hello and not await self.crowd.until_answered([self.crowd.say(0)], timeout_s=START_S):
            raise Silent(f"no answer to a first message in {START_S:.0f} s: {self.process.last_words}")

    @property
    def process(self) -> Process:
        """The first of them, as a rule the only one."""
        return self.processes[0]

    async def own_redis(self) -> RealRedis:
        """A Redis server for the bot, which the scenario may do with as it likes."""
        if not PROGRAMS:
            raise CannotRun("no Redis server is installed")
        folder = self.folder / "redis"
        folder.mkdir()
        server = RealRedis(PROGRAMS[0], folder)
        await asyncio.to_thread(server.start)
        self.at_the_end(lambda: asyncio.to_thread(server.kill))
        self.environment["REDIS_URL"] = f"unix://{server.socket}"
        return server

    def fault_is_over(self, at: float | None = None) -> None:
        """From now on (or `at`, Unix seconds) the bot could answer again."""
        self._faults_over.append(time.time() if at is None else at)

    async def answers_again(self, *, since: float, timeout_s: float) -> bool:
        """Wait for the next answer to anybody after `since`."""
        try:
            await self.telegram.until(
                lambda: bool(self.telegram.sent) and self.telegram.sent[-1].at > since, timeout=timeout_s
            )
        except TimeoutError:
            return False
        return True

    async def settle(self, *, patience_s: float) -> None:
        """Wait until everything is answered, or nothing has been for so long; then a little longer."""
        left, since = self.crowd.unanswered(), time.monotonic()
        while left and time.monotonic() - since < patience_s:
            await asyncio.sleep(LOOK_S)
            now = self.crowd.unanswered()
            if now < left:
                since = time.monotonic()
            left = now
        await asyncio.sleep(LINGER_S)

    async def counts(self) -> Counts:
        """What customers saw, and what the bot's books say about answers that came twice."""
        heard = [(sent.chat - FIRST_CHAT, sent.text) for sent in self.telegram.sent]
        unsure = await asyncio.to_thread(self._unsure) if self.subject.is_ours else None
        return judge(self.crowd.said, heard, unsure=unsure, mixed=self.model.mixed)

    def recovery_s(self) -> tuple[float, ...]:
        """From the end of each fault to the next answer."""
        times = [sent.at for sent in self.telegram.sent]
        found = (next((at - over for at in times if at > over), None) for over in self._faults_over)
        return tuple(round(seconds, 2) for seconds in found if seconds is not None)

    def settled_s(self) -> float:
        """From the last fault or message to the last answer."""
        last = max([*self._faults_over, *(said.at for said in self.crowd.said)], default=0.0)
        return round(max(0.0, max((sent.at for sent in self.telegram.sent), default=last) - last), 2)

    def _settings(self) -> dict[str, str]:
        """The environment for the next start, every place in it filled."""
        given = self.subject.settings(
            token=self.telegram.token,
            telegram_url=self.telegram.url,
            model_url=self.model_server.url,
            model="stub-model",
            folder=str(self.folder),
            redis_url=self.environment.get("REDIS_URL", ""),
        )
        return given | self.environment | self.at_each_start()

    def _unsure(self) -> dict[str, int]:
        """The marks in answers that the ledger has as perhaps delivered, and how often."""
        url = sa.make_url(self.database_url)
        if not url.get_backend_name().startswith("sqlite"):
            url = url.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url)
        query = sa.text("SELECT text, unsure FROM messages WHERE direction = 'out' AND unsure > 0")
        try:
            with engine.connect() as connection:
                rows = connection.execute(query).all()
        except sa.exc.DBAPIError:  # it never came so far as to make its tables
            return {}
        finally:
            engine.dispose()
        return {mark: row.unsure for row in rows for mark in MARK.findall(row.text)}


def kills_of(arena: Arena) -> tuple[int, int]:
    """Deaths that were ours, and those that were not."""
    deaths = [death for process in arena.processes for death in process.deaths]
    return sum(death.was_asked for death in deaths), sum(not death.was_asked for death in deaths)
