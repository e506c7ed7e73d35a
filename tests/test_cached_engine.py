"""The cache of drafts: exact, inside its chat, behind the guard, on a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from bot.__main__ import main
from bot.engines import Draft, OnText, Usage
from bot.engines.cached import CachedEngine
from bot.errors import EngineUnavailable
from bot.settings import NAMES
from context import keys
from context.cache import DraftCache
from context.health import Health
from context.journal import read
from context.turns import Chat, Message, Photo, Turn
from prompts.house_styles import HouseStyles
from prompts.prompt import Manner, Prompt, PromptImage
from prompts.prompts import Prompts
from tests.clock import Clock
from tests.in_thread import Served
from tests.model_server import ModelServer
from tests.real_redis import PROGRAMS, RealRedis
from tests.test_fingerprints import scene
from tests.world import picture, world

pytestmark = pytest.mark.skipif(not PROGRAMS, reason="no Redis server is installed")


class Scribe:
    """An engine that counts its answers, and lets them wait."""

    name = "scribe"
    model = "pen"

    def __init__(self) -> None:
        self.drafts = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.answer = "Draft {}."
        self.finish: Any = "stop"
        self.preliminary = False
        self.trouble: Exception | None = None

    async def start(self) -> None: ...

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        self.drafts += 1
        self.begun.set()
        text = self.answer.format(self.drafts)
        if on_text is not None:
            on_text(text[:3])
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.trouble is not None:
            raise self.trouble
        if on_text is not None:
            on_text(text[3:])
        return Draft(text, self.name, self.model, self.preliminary, self.finish, Usage(7, 3))

    async def health(self) -> Health:
        return Health("ok")

    async def close(self) -> None: ...


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    redis = RealRedis(PROGRAMS[0], tmp_path_factory.mktemp("r"))
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
async def client(server: RealRedis) -> AsyncIterator[aioredis.Redis]:
    client = server.client()
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def scribe() -> Scribe:
    return Scribe()


class Counts(dict[str, int]):
    saved = 0.0

    def __call__(self, outcome: str, seconds: float) -> None:
        self[outcome] = self.get(outcome, 0) + 1
        self.saved += seconds


Build = Callable[..., CachedEngine]


@pytest.fixture
def build(client: aioredis.Redis, scribe: Scribe) -> Build:
    def build(**changed: Any) -> CachedEngine:
        cache = DraftCache(client, namespace="bot", ttl_s=60)
        given = {"cache": cache, "about": {"temperature": 0.7}, "policy": lambda: "2026.11"}
        return CachedEngine(changed.pop("engine", scribe), **{**given, **changed})

    return build


def image(content: bytes = b"jpeg", number: int = 1) -> PromptImage:
    return PromptImage(Photo(content.hex().ljust(64, "0")[:64], 640, 480, number), content)


def described(content: bytes = b"jpeg", *, style: str = "food", canary: str = "") -> Prompt:
    return HouseStyles().assemble(style, "en", image(content), canary=canary)


def chat(
    text: str = "", *, address: str = "42", content: bytes = b"jpeg", turns: tuple[Turn, ...] = ()
) -> Prompt:
    photo = image(content)
    message = Message(Chat("telegram", address), text, "en", (photo.photo,))
    return Prompts().assemble(message, turns, {photo.photo.sha256: photo.jpeg})


# --- Exact


async def test_the_same_prompt_is_answered_from_before(build: Build, scribe: Scribe) -> None:
    counts = Counts()
    engine = build(count=counts)
    first, second = await engine.draft(described()), await engine.draft(described())
    assert (first.text, second.text) == ("Draft 1.", "Draft 1.")
    assert second == replace(first, cache_key=engine.key(described()))
    assert scribe.drafts == 1
    assert counts == {"miss": 1, "hit": 1}


async def test_a_restart_under_another_canary_keeps_what_was_kept(build: Build, scribe: Scribe) -> None:
    await build().draft(described(canary="aaaa"))
    assert (await build().draft(described(canary="bbbb"))).text == "Draft 1."
    assert scribe.drafts == 1


BASE = described()
OTHERS = {
    "picture": described(b"another"),
    "style": described(style="clothing"),
    "language": replace(BASE, language="zh"),
    "template": replace(BASE, version="food@0000000000"),
    "words": replace(BASE, messages=(replace(BASE.messages[0], text="Other."), BASE.messages[1])),
    "number of pictures": replace(
        BASE, messages=(BASE.messages[0], replace(BASE.messages[1], images=(image(), image())))
    ),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_another_prompt_is_another_question(what: str, build: Build) -> None:
    engine = build()
    assert (await engine.draft(BASE)).text != (await engine.draft(OTHERS[what])).text


@pytest.mark.parametrize("changed", [{"about": {"temperature": 0.2}}, {"policy": lambda: "2026.12"}])
async def test_other_sampling_or_policy_is_another_question(changed: dict[str, Any], build: Build) -> None:
    await build().draft(BASE)
    assert (await build(**changed).draft(BASE)).text == "Draft 2."


async def test_another_model_is_another_question(build: Build, scribe: Scribe) -> None:
    await build().draft(BASE)
    scribe.model = "brush"
    assert (await build().draft(BASE)).text == "Draft 2."


async def test_the_order_of_pictures_matters(build: Build) -> None:
    engine = build()
    one, two = image(b"one"), image(b"two", 2)
    asked = [
        replace(BASE, messages=(BASE.messages[0], replace(BASE.messages[1], images=images)))
        for images in ((one, two), (two, one))
    ]
    assert engine.key(asked[0]) != engine.key(asked[1])


# --- Nothing personal leaves its chat


async def test_words_of_a_customer_stay_in_their_chat(build: Build) -> None:
    engine = build()
    mine = await engine.draft(chat("my name is Ann", address="1"))
    assert (await engine.draft(chat("my name is Ann", address="2"))).text != mine.text
    assert (await engine.draft(chat("my name is Ann", address="1"))).text == mine.text


async def test_earlier_turns_stay_in_their_chat(build: Build) -> None:
    engine = build()
    turns = (Turn(1, "hello", "Hi."),)
    keys = {engine.key(chat(address=address, turns=turns)) for address in ("1", "2")}
    assert len(keys) == 2


async def test_a_bare_picture_and_a_job_share(build: Build, scribe: Scribe) -> None:
    engine = build()
    await engine.draft(chat(address="1"))
    await engine.draft(chat(address="2"))
    assert scribe.drafts == 1


# --- What is kept


@pytest.mark.parametrize(("field", "value"), [("finish", "length"), ("preliminary", True)])
async def test_a_cut_or_makeshift_answer_is_not_kept(
    field: str, value: object, build: Build, scribe: Scribe
) -> None:
    setattr(scribe, field, value)
    for _ in range(2):
        await build().draft(BASE)
    assert scribe.drafts == 2


async def test_a_draft_that_leaks_the_mark_is_not_kept(build: Build, scribe: Scribe) -> None:
    scribe.answer = "My mark is MARK-7 {}."
    for _ in range(2):
        await build().draft(described(canary="MARK-7"))
    assert scribe.drafts == 2


async def test_facts_are_kept_by_whoever_asks_for_them(build: Build, client: aioredis.Redis) -> None:
    await build().draft(replace(BASE, manner=Manner(schema="{}")))
    assert await client.keys("*") == []


async def test_a_failure_is_not_kept(build: Build, scribe: Scribe) -> None:
    engine = build()
    scribe.trouble = EngineUnavailable("down")
    with pytest.raises(EngineUnavailable):
        await engine.draft(BASE)
    scribe.trouble = None
    assert (await engine.draft(BASE)).text == "Draft 2."


async def test_what_is_kept_has_an_age(build: Build, client: aioredis.Redis) -> None:
    await build().draft(BASE)
    (key,) = await client.keys("*")
    assert key == f"draft:{{bot:{build().key(BASE)}}}".encode()
    assert 0 < await client.pttl(key) <= 60_000


async def test_what_is_kept_longer_is_found_to_be_forgotten_for_as_long(client: aioredis.Redis) -> None:
    chat = Chat("telegram", "1")
    days, second = (DraftCache(client, namespace="bot", ttl_s=ttl_s) for ttl_s in (72 * 3600.0, 1.0))
    await days.put("a", b"words", alias=chat.alias)
    await second.put("b", b"words", alias=chat.alias)
    assert await client.pttl(keys.drafts("bot", chat.alias)) > 3_600_000
    assert await second.forget(chat, 0)
    assert await days.get("a") is None


@pytest.mark.parametrize("stored", [b"", b"[]", b"{}", b"\xff", b'{"v": 1, "text": "", "tokens": [1, 2]}'])
async def test_what_we_would_not_write_is_asked_anew(
    stored: bytes, build: Build, client: aioredis.Redis
) -> None:
    engine = build()
    await client.set(f"draft:{{bot:{engine.key(BASE)}}}", stored)
    assert (await engine.draft(BASE)).text == "Draft 1."
    assert (await engine.draft(BASE)).cache_key


async def test_without_redis_the_model_answers(scribe: Scribe, tmp_path: Path) -> None:
    lost = aioredis.Redis(unix_socket_path=str(tmp_path / "none"), socket_connect_timeout=1)
    cache = DraftCache(lost, namespace="bot", ttl_s=60, clock=Clock())
    engine = CachedEngine(scribe, cache=cache, about={}, policy=lambda: "")
    for number in (1, 2):
        assert (await engine.draft(BASE)).text == f"Draft {number}."
    await lost.aclose()


# --- One at a time


async def test_equal_questions_at_a_time_are_asked_once(build: Build, scribe: Scribe) -> None:
    counts, said = Counts(), [""] * 5
    engine = build(count=counts)
    scribe.go.clear()

    def listen(number: int) -> OnText:
        def on_text(piece: str) -> None:
            said[number] += piece

        return on_text

    asked = [asyncio.create_task(engine.draft(BASE, on_text=listen(number))) for number in range(5)]
    await scribe.begun.wait()
    scribe.go.set()
    assert {draft.text for draft in await asyncio.gather(*asked)} == {"Draft 1."}
    assert scribe.drafts == 1
    assert said == ["Draft 1."] * 5
    assert counts == {"miss": 1, "joined": 4}


async def test_who_leaves_does_not_take_the_answer_from_the_others(build: Build, scribe: Scribe) -> None:
    engine = build()
    scribe.go.clear()
    first, second = (asyncio.create_task(engine.draft(BASE)) for _ in range(2))
    await scribe.begun.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    scribe.go.set()
    assert (await second).text == "Draft 1."
    assert scribe.cancelled == 0


async def test_when_all_have_left_the_generation_stops(build: Build, scribe: Scribe) -> None:
    engine = build()
    scribe.go.clear()
    asked = [asyncio.create_task(engine.draft(BASE)) for _ in range(2)]
    await scribe.begun.wait()
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert scribe.cancelled == 1
    scribe.go.set()
    with contextlib.suppress(EngineUnavailable):
        assert (await engine.draft(BASE)).text == "Draft 2."


# --- From outside


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: RealRedis) -> Path:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", f"unix://{server.socket}")
    monkeypatch.setenv("CACHE_TTL_S", "60")
    Path("shop").mkdir()
    return Path("shop")


def describe(out: str) -> int:
    return main(["describe", "shop", "--template", "accessibility", "--lang", "en", "--out", out])


def test_lamp_on_and_lamp_off_get_two_answers(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for lamp in ("red", "black"):
        scene(5, lamp=lamp).save(shop / f"{lamp}.png")
    with Served(ModelServer(answer=lambda request: f"Asked {hash(request.images[0])}.")) as model:
        monkeypatch.setenv("MODEL_URL", model.url)
        assert describe("one.jsonl") == 0
        on, off = read(Path("one.jsonl"))
        assert on["series"] == off["series"]  # alike to a fingerprint
        assert on["text"] != off["text"]
        assert describe("two.jsonl") == 0
        assert len(model.requests) == 2
    assert {row["text"] for row in read(Path("two.jsonl"))} == {on["text"], off["text"]}


def test_a_kept_draft_passes_the_guard_again(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "a.jpg").write_bytes(picture((9, 9, 200)))
    with Served(ModelServer(answer=lambda _: "We refund the full price, guaranteed.")) as model:
        monkeypatch.setenv("MODEL_URL", model.url)
        for out in ("one.jsonl", "two.jsonl"):
            assert describe(out) == 1
            assert read(Path(out))[0]["error"]["code"] == "held"
        assert len(model.requests) == 1


def test_without_the_setting_nothing_is_kept(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "a.jpg").write_bytes(picture((9, 200, 9)))
    monkeypatch.setenv("CACHE_TTL_S", "0")
    with Served(ModelServer(answer=lambda _: "A green card.")) as model:
        monkeypatch.setenv("MODEL_URL", model.url)
        for out in ("one.jsonl", "two.jsonl"):
            assert describe(out) == 0
        assert len(model.requests) == 2


async def test_customers_share_bare_pictures_and_nothing_else(tmp_path: Path, server: RealRedis) -> None:
    photo = picture((200, 20, 20))
    url = f"unix://{server.socket}?db=0"
    model = ModelServer(answer=lambda _: "A red light. Please switch it off and on again.")
    async with world(tmp_path, model=model, cache_ttl_s=60, redis_url=url) as w:
        for number, caption in enumerate(["", "", "look, I am Ann", "look, I am Ann"], 1):
            w.telegram.customer(number).sends_photo(photo, caption=caption)
            (reply,) = await w.telegram.replies(number)
            assert "A red light." in reply.text
        assert len(w.model.requests) == 3
        assert w.app.metrics.value("bot_cache_total", outcome="hit") == 1
        assert w.app.metrics.value("bot_cache_total", outcome="miss") == 3
