"""A small desk behind the chat page: an inbox, a transcript and somebody who answers, all in memory."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
from PIL import Image, UnidentifiedImageError

from bot.metrics import Metrics
from bot.web import Receive, build_site
from bot.web.chat import WebChannel
from bot.web.chat_page import ChatPage
from bot.web.server import serve
from context.db import StoreDown
from context.feedback import NotTheirs, Question, Vote
from context.health import Health
from context.transcripts import Entry
from context.turns import Arrival, Chat, Entity, Part, Photo, Rejection
from tests.until import PATIENCE_S


@dataclass(frozen=True, slots=True)
class Answer:
    """What the desk says to one message."""

    text: str
    entities: tuple[Entity, ...] = ()
    origin: str = "remote"


def echo(arrivals: Sequence[Arrival]) -> Answer:
    """Says how much it understood."""
    if arrivals[0].command:
        return Answer(f"command {arrivals[0].command}", origin=f"notice:{arrivals[0].command}")
    photos = sum(arrival.attachment is not None for arrival in arrivals)
    return Answer(f"I read {arrivals[0].text!r} and {photos} photos.")


class Desk:
    """Stores what comes once, takes the photos in, and answers in order, one chat after the other."""

    def __init__(self, channel: WebChannel, answer: Callable[[Sequence[Arrival]], Answer] = echo) -> None:
        self.channel = channel
        self.answer = answer
        self.arrivals: list[Arrival] = []
        self.lines: dict[Chat, dict[int, Entry]] = {}
        self.photos: dict[tuple[Chat, str], bytes] = {}
        self.go = asyncio.Event()
        """Cleared, it holds the next answer back while the typing sign is shown."""
        self.go.set()
        self.preview: tuple[Part, ...] = ()
        """What is seen of the next answer while it is held back."""
        self.refuse_with: Exception | None = None
        self._sources: set[str] = set()
        self._ids = count(1)
        self._waiting: asyncio.Queue[list[tuple[int, Arrival]]] = asyncio.Queue()

    async def put(self, arrivals: Sequence[Arrival]) -> int:
        if self.refuse_with is not None:
            raise self.refuse_with
        new = [arrival for arrival in arrivals if arrival.source not in self._sources]
        self._sources.update(arrival.source for arrival in new)
        self.arrivals += new
        stored = []
        for arrival in new:
            line = next(self._ids)
            text = f"/{arrival.command} {arrival.text}".strip() if arrival.command else arrival.text
            self.lines.setdefault(arrival.chat, {})[line] = Entry(
                line, "customer", text, (), (), (), arrival.sent_at, "", arrival.source
            )
            stored.append((line, arrival))
        if stored:
            self._waiting.put_nowait(stored)
        return len(stored)

    async def cast(
        self, chat: Chat, turn_id: int, question: Question, vote: Vote, *, reason: str = ""
    ) -> None:
        raise NotTheirs(f"nothing is asked here about {turn_id}")

    async def entries(self, chat: Chat, after: int) -> list[Entry]:
        return [entry for line, entry in sorted(self.lines.get(chat, {}).items()) if line > after]

    async def photo(self, chat: Chat, sha256: str) -> bytes | None:
        return self.photos.get((chat, sha256))

    async def say(self, chat: Chat, answer: Answer, *, who: str = "bot") -> None:
        """Send a part, and record it a moment after it was announced, as the outbox does."""
        line = next(self._ids)
        receipt = await self.channel.send(chat, Part(answer.text, answer.entities, id=line))
        await asyncio.sleep(0)
        assert receipt.message_id == f"part-{line}"
        self.lines.setdefault(chat, {})[line] = Entry(
            line,
            "staff" if who == "staff" else "bot",
            answer.text,
            answer.entities,
            (),
            (),
            receipt.at,
            answer.origin,
            "",
        )

    async def work(self) -> None:
        while True:
            stored = await self._waiting.get()
            chat = stored[0][1].chat
            async with self.channel.typing(chat) as show:
                show(self.preview)
                for line, arrival in stored:
                    if arrival.attachment is not None:
                        await self._take_in(chat, line, arrival)
                await self.go.wait()
                await self.say(chat, self.answer([arrival for _, arrival in stored]))

    async def _take_in(self, chat: Chat, line: int, arrival: Arrival) -> None:
        assert arrival.attachment is not None
        data = await self.channel.fetch(arrival.attachment)
        entry = self.lines[chat][line]
        photos: tuple[Photo, ...] = ()
        rejections: tuple[Rejection, ...] = ()
        try:
            picture = Image.open(io.BytesIO(data)).convert("RGB")
        except (UnidentifiedImageError, OSError):
            rejections = (Rejection("not_a_picture"),)
        else:
            picture.thumbnail((1024, 1024))
            out = io.BytesIO()
            picture.save(out, "JPEG")
            sha256 = hashlib.sha256(out.getvalue()).hexdigest()
            self.photos[chat, sha256] = out.getvalue()
            number = 1 + sum(len(known.photos) for known in self.lines[chat].values())
            photos = (Photo(sha256, picture.width, picture.height, number),)
        self.lines[chat][line] = Entry(
            line, "customer", entry.text, (), photos, rejections, entry.at, "", entry.source
        )


@dataclass(slots=True)
class World:
    """A site that is being served, and what stands behind it."""

    url: str
    desk: Desk
    channel: WebChannel
    metrics: Metrics
    spool: Path
    health: dict[str, Health] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    """How many wait for a person; empty while the database is away."""


@asynccontextmanager
async def open_world(
    folder: Path,
    *,
    receive: Receive | None = None,
    answer: Callable[[Sequence[Arrival]], Answer] = echo,
    slow_health: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[World]:
    """The site on a free port, with a desk at work."""
    channel = WebChannel(spool=folder / "spool")
    desk = Desk(channel, answer)
    metrics = Metrics(version="test")
    health, waiting = {"inbox": Health("ok", "1 waiting")}, [0]

    async def check() -> dict[str, Health]:
        if slow_health is not None:
            await slow_health()
        return health

    async def count_waiting() -> int:
        if not waiting:
            raise StoreDown("away")
        return waiting[0]

    page = ChatPage(channel, put=desk.put, entries=desk.entries, photo=desk.photo, cast=desk.cast)
    site = build_site(page, health=check, waiting=count_waiting, metrics=metrics, receive=receive)
    await channel.open()
    working = asyncio.create_task(desk.work())
    try:
        async with serve(site, "127.0.0.1", 0) as serving:
            yield World(serving.url, desk, channel, metrics, folder / "spool", health, waiting)
            await channel.close()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await channel.close()


def browse(url: str = "", **headers: str) -> httpx.AsyncClient:
    """A client with cookies of its own (loading certificates takes longer than most of our tests)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.AsyncClient(base_url=url, headers=named, verify=False, timeout=PATIENCE_S)
