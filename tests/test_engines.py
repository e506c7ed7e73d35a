"""The contract that every engine keeps, whatever answers behind it.

A new engine joins by one entry in `ENGINES`: a context manager that yields a started `Bench`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from bot.engines import Draft, Engine
from bot.engines.cached import CachedEngine
from bot.engines.fallback import FallbackEngine
from bot.engines.first_available import FirstAvailable
from bot.engines.local import LocalEngine
from bot.engines.ocr import Enough
from bot.engines.remote import RemoteEngine
from bot.errors import EngineTimeout
from context.turns import Line
from tests.asked import asked
from tests.displays import draw_display, shown
from tests.model_server import Fault, ModelServer
from tests.until import PATIENCE_S, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = shown(draw_display("E4"))


@dataclass(frozen=True, slots=True)
class Bench:
    """An engine, and the two ends of making it slow: `block` before a draft, `blocked` once it is stuck."""

    engine: Engine
    block: Callable[[], None]
    blocked: Callable[[], AbstractAsyncContextManager[None]]
    patience: tuple[object, str]
    """Where its time limit is kept."""
    repeats: bool = True
    """Each answer has the question's words in it; otherwise the same question has the same answer."""
    counts: bool = True
    """It tells how many tokens an answer took."""


@asynccontextmanager
async def remote() -> AsyncIterator[Bench]:
    async with ModelServer(dialect="vllm", answer=lambda request: f"About {request.last_text}") as server:
        engine = RemoteEngine(url=server.url, model="stub-model", timeout_s=3600)
        await engine.start()

        @asynccontextmanager
        async def blocked() -> AsyncIterator[None]:
            await server.until(lambda s: s.in_flight == 1)
            yield
            await server.until(lambda s: s.in_flight == 0)

        yield Bench(engine, lambda: server.fail(Fault.STALL), blocked, (engine, "_timeout_s"))
        await engine.close()


class Slow:
    """A reader that stops in the middle of a photo when told to."""

    def __init__(self) -> None:
        self.stops = False
        self.stopped = asyncio.Event()

    async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
        if self.stops:
            self.stops = False
            self.stopped.set()
            await asyncio.Event().wait()
        return (Line("E4", 0.99, ((0, 0), (9, 0), (9, 9), (0, 9))),)

    async def close(self) -> None:
        pass


@asynccontextmanager
async def fallback() -> AsyncIterator[Bench]:
    reader = Slow()
    engine = FallbackEngine(reader=reader)
    await engine.start()

    @asynccontextmanager
    async def blocked() -> AsyncIterator[None]:
        await reader.stopped.wait()
        yield

    patience = (engine, "_ocr_timeout_s")
    yield Bench(engine, lambda: setattr(reader, "stops", True), blocked, patience, counts=False)
    await engine.close()


@asynccontextmanager
async def first_available() -> AsyncIterator[Bench]:
    async with remote() as one:
        engine = FirstAvailable([one.engine, FallbackEngine()])
        await engine.start()
        yield replace(one, engine=engine)
        await engine.close()


class Shelf:
    """A cache that lasts as long as the test."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self._kept.get(key)

    async def put(self, key: str, value: bytes, *, alias: str = "") -> None:
        self._kept[key] = value


@asynccontextmanager
async def cached() -> AsyncIterator[Bench]:
    async with remote() as one:
        engine = CachedEngine(one.engine, cache=Shelf(), about={}, policy=lambda: "2026.11")
        await engine.start()
        yield replace(one, engine=engine)
        await engine.close()


STARTED: list[LocalEngine] = []
"""The local engine, whose worker takes seconds to start: one for all tests, until one of them closes it."""


@asynccontextmanager
async def local() -> AsyncIterator[Bench]:
    if not STARTED or STARTED[-1].keeper.pid is None:
        STARTED.append(LocalEngine(model="demo", threads=1))
        await STARTED[-1].start()
    engine = STARTED[-1]
    worker = engine.keeper.pid
    assert worker is not None

    @asynccontextmanager
    async def blocked() -> AsyncIterator[None]:
        await until(lambda: len(engine._answers) == 1)
        yield
        assert not engine._answers
        os.kill(worker, signal.SIGCONT)

    patience = (engine, "_timeout_s")
    yield Bench(engine, lambda: os.kill(worker, signal.SIGSTOP), blocked, patience, repeats=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def _ended() -> AsyncIterator[None]:
    yield
    for engine in STARTED:
        await engine.close()


ENGINES = {
    "local": local,
    "remote": remote,
    "fallback": fallback,
    "first_available": first_available,
    "cached": cached,
}


@pytest_asyncio.fixture(params=ENGINES, loop_scope="module")
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with ENGINES[request.param]() as made:
        yield made


async def test_answers_in_words_and_says_who_wrote_them(bench: Bench) -> None:
    draft = await bench.engine.draft(asked("it shows E3", PHOTO))

    assert draft.text == draft.text.strip() != ""
    assert draft.engine in ENGINES
    assert draft.model
    assert draft.finish == "stop"
    assert (draft.usage.prompt_tokens > 0) is bench.counts
    assert (draft.usage.completion_tokens > 0) is bench.counts


async def test_pieces_together_are_the_answer(bench: Bench) -> None:
    pieces: list[str] = []

    draft = await bench.engine.draft(asked("it shows E3"), on_text=pieces.append)

    assert "".join(pieces).strip() == draft.text


async def test_cancelling_ends_the_generation_at_once_and_harms_no_other(bench: Bench) -> None:
    bench.block()
    running = asyncio.create_task(bench.engine.draft(asked("stuck", PHOTO)))
    async with asyncio.timeout(PATIENCE_S), bench.blocked():
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert (await bench.engine.draft(asked("it shows E3"))).text


async def test_what_is_stuck_ends_by_its_deadline(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*bench.patience, 0.5)
    bench.block()
    running = asyncio.create_task(bench.engine.draft(asked("stuck", PHOTO)))
    async with asyncio.timeout(PATIENCE_S), bench.blocked():
        with suppress(EngineTimeout):
            assert (await running).preliminary, "rules may answer in its place"

    monkeypatch.undo()
    assert (await bench.engine.draft(asked("it shows E3"))).text


async def test_answers_of_concurrent_calls_do_not_mix(bench: Bench) -> None:
    questions = [f"it shows E{number}" for number in range(10, 42)]

    drafts = await asyncio.gather(*(bench.engine.draft(asked(question)) for question in questions))

    if not bench.repeats:
        alone = [(await bench.engine.draft(asked(question))).text for question in questions[::4]]
        assert [draft.text for draft in drafts[::4]] == alone
        assert len(set(alone)) > 1
        return
    assert [mentioned(draft, questions) for draft in drafts] == [[question] for question in questions]


def mentioned(draft: Draft, questions: Sequence[str]) -> list[str]:
    return [question for question in questions if question.rpartition(" ")[2] in draft.text]


async def test_says_that_it_is_well(bench: Bench) -> None:
    async def is_well() -> bool:  # what was cancelled before may still be leaving
        return (await bench.engine.health()).state == "ok"

    await until(is_well)


async def test_starting_and_closing_twice_is_harmless(bench: Bench) -> None:
    await bench.engine.start()
    assert (await bench.engine.draft(asked("it shows E3"))).text
    await bench.engine.close()
    await bench.engine.close()
    assert (await bench.engine.health()).detail
