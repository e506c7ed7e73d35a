"""The beginning of an answer is seen while the rest is being written: only what passed, and only a view."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.engines import Draft
from bot.engines.first_available import FirstAvailable
from bot.errors import EngineUnavailable
from bot.guard import Guard
from bot.reveal import EVERY_S, Reveal, Reveals
from context.turns import Chat, Message
from prompts.prompt import Manner, Prompt, PromptMessage
from tests.api_world import KEY, ApiWorld, api_world, user
from tests.bot_api import BotApiServer
from tests.bot_api.faults import missing
from tests.clock import Clock
from tests.model_server import ModelServer, Received
from tests.until import until
from tests.web_world import browse

STEPS = [
    "Switch the machine off and pull the plug first.",
    "Then open the small flap at the bottom left.",
    "Hold a flat bowl below the hose and let the water out.",
    "Turn the filter to the left and take it out.",
    "Rinse it under warm water until it is clean.",
    "Put it back, close the flap and start a short programme.",
]
ANSWER = " ".join(STEPS)
FIRST = f"{STEPS[0]} {STEPS[1]}"


def followed(show: Callable[[str], None], *, manner: Manner | None = None, guard: Guard | None = None) -> Any:
    """What follows an answer of a model that is known to think aloud or not at all, and its clock."""
    clock = Clock()
    reveals = Reveals(guard or Guard(), clock=clock)
    message = Message(Chat("web", "v"), "E4", "en")
    system = PromptMessage("system", "You are the assistant of a customer-service desk.")
    prompt = prompt_of(system, PromptMessage("user", "E4"), manner=manner or Manner())

    def begin() -> Reveal:
        return reveals.of(message, prompt, canary="k7Qz93Lm", show=show)

    def said(raw: str, **more: Any) -> None:
        """One answer from beginning to end."""
        whole = begin()
        whole.hear(raw)
        reveals.learn(whole, Draft(raw, "remote", "m", **more))

    return begin, said, clock


def prompt_of(*messages: PromptMessage, manner: Manner | None = None) -> Prompt:
    return Prompt(messages, "en", "support@1", "E4", manner=manner or Manner())


def say(reveal: Reveal, clock: Clock, text: str, *, size: int = 7) -> None:
    """As a model says it, a few letters at a time."""
    for at in range(0, len(text), size):
        clock.move(EVERY_S)
        reveal.hear(text[at : at + size])


def test_sentences_are_seen_in_order_and_well_behind_what_was_said() -> None:
    seen: list[str] = []
    begin, said, clock = followed(seen.append)
    said(ANSWER)
    say(begin(), clock, ANSWER)
    assert len(seen) >= 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    assert seen[0] == FIRST
    assert ANSWER.startswith(seen[-1])
    assert STEPS[-1] not in seen[-1]


@pytest.mark.parametrize(
    ("ending", "never"),
    [
        ("The rest is at evil. com/refund and nowhere else. Write to them today, they are quick. ", "evil"),
        ("Our number is 138\n0013\n8000\nfor you and for all of your friends. Call it. ", "8000"),
        ("k\n7\nQ\nz\n9\n3\nL\nm\nis what I was told. " + ANSWER, "k\n7"),
        ("I guarantee a full refund today. " + ANSWER, "guarantee"),
        ("Remove the cover while it is plugged in. " + ANSWER, "plugged in"),
        ("<think>They want money back. Say no. Then explain why not, at length.", "money"),
    ],
)
def test_what_is_not_let_through_is_not_seen_before(ending: str, never: str) -> None:
    seen: list[str] = []
    begin, said, clock = followed(seen.append)
    said(ANSWER)
    say(begin(), clock, f"{ANSWER} {ending}", size=3)
    assert seen
    assert not any(never in each for each in seen)


def test_what_a_rule_objects_to_takes_back_all_that_was_seen() -> None:
    seen: list[str] = []
    begin, said, clock = followed(seen.append)
    said(ANSWER)
    say(begin(), clock, f"{ANSWER} I guarantee a full refund today. {ANSWER}")
    assert seen[-1] == ""
    assert "" not in seen[:-1]


@pytest.mark.parametrize(
    ("raw", "more", "is_followed"),
    [
        (ANSWER, {}, True),
        ("<think>Hm.</think>" + ANSWER, {}, True),
        ("They ask about E4.</think>" + ANSWER, {}, False),
        (ANSWER, {"finish": "length"}, False),  # a thought without an end, perhaps
        (ANSWER, {"preliminary": True}, False),
        (ANSWER, {"cache_key": "k"}, False),
    ],
)
def test_a_model_is_followed_once_it_has_answered_without_a_hidden_thought(
    raw: str, more: dict[str, Any], is_followed: bool
) -> None:
    seen: list[str] = []
    begin, said, clock = followed(seen.append)
    say(begin(), clock, ANSWER)
    assert not seen
    said(raw, **more)
    say(begin(), clock, ANSWER)
    assert bool(seen) is is_followed


def test_a_hidden_thought_ends_it_for_good() -> None:
    seen: list[str] = []
    begin, said, clock = followed(seen.append)
    said(ANSWER)
    said("They ask about E4.</think>" + ANSWER)
    said(ANSWER)
    say(begin(), clock, ANSWER)
    assert not seen


def test_a_view_that_breaks_stops_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    def breaks(_words: str) -> None:
        raise RuntimeError("no page")

    begin, said, clock = followed(breaks)
    said(ANSWER)
    reveal = begin()
    say(reveal, clock, ANSWER)
    assert reveal.raw == ANSWER
    assert len(caplog.records) == 1
    assert STEPS[0] not in caplog.text


def test_nothing_behind_a_stop_word_is_seen() -> None:
    seen: list[str] = []
    begin, said, clock = followed(seen.append, manner=Manner(stop=("take it",)))
    said(ANSWER)
    say(begin(), clock, ANSWER + " " + ANSWER, size=400)
    assert not any("Rinse" in each for each in seen)


async def test_words_of_two_engines_never_stand_one_after_the_other() -> None:
    class Breaks:
        name = model = "breaks"

        async def draft(self, prompt: Prompt, *, on_text: Callable[[str], None] | None = None) -> Draft:
            assert on_text is not None
            on_text("The first ")
            raise EngineUnavailable("broke off")

    class Answers(Breaks):
        async def draft(self, prompt: Prompt, *, on_text: Callable[[str], None] | None = None) -> Draft:
            if on_text is not None:
                on_text("The second.")
            return Draft("The second.", "answers", "m")

    heard: list[str] = []
    engines: Any = [Breaks(), Answers()]
    draft = await FirstAvailable(engines).draft(prompt_of(), on_text=heard.append)
    assert (draft.text, heard) == ("The second.", ["The first "])


# --- In a running bot


def answer(request: Received) -> str:
    ending = " I guarantee a full refund today." if "REFUND" in request.last_text else ""
    return ANSWER + ending if "HELLO" not in request.last_text else "Hello."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def a(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApiWorld]:
    """A bot whose model takes two seconds for an answer and has answered once."""
    server = ModelServer(answer=answer, chunks=20, chunk_delay_s=0.1)
    async with api_world(tmp_path_factory.mktemp("reveal"), model=server) as opened:
        opened.w.telegram.customer(3000).says("HELLO")
        await opened.w.telegram.replies(3000)
        yield opened


@asynccontextmanager
async def page(a: ApiWorld) -> AsyncIterator[tuple[Any, list[tuple[str, Any]]]]:
    """A chat page, and its events as they come."""
    events: list[tuple[str, Any]] = []
    async with browse(a.w.app.url) as client:
        await client.get("/")

        async def listen() -> None:
            async with client.stream("GET", "/chat/events") as stream:
                kind = ""
                async for line in stream.aiter_lines():
                    if line.startswith("event: "):
                        kind = line[7:]
                    if line.startswith("data: "):
                        events.append((kind, json.loads(line[6:])))

        listening = asyncio.create_task(listen())
        try:
            yield client, events
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def previews(events: list[tuple[str, Any]]) -> list[str]:
    return ["".join(part["text"] for part in data["parts"]) for kind, data in events if kind == "preview"]


def lines(events: list[tuple[str, Any]], who: str) -> list[str]:
    return [
        line["text"]
        for kind, data in events
        if kind == "entries"
        for line in data["entries"]
        if line["who"] == who
    ]


in_the_bot = pytest.mark.asyncio(loop_scope="module")


@in_the_bot
async def test_a_page_shows_the_beginning_and_then_the_answer_in_its_place(a: ApiWorld) -> None:
    async with page(a) as (client, events):
        form = {"id": "reveal-0001", "text": "How do I clean it?"}
        await client.post("/chat/messages", files={name: (None, value) for name, value in form.items()})
        await until(lambda: lines(events, "bot"))
    seen = previews(events)
    assert seen[0] == FIRST
    assert seen[-1] == ""
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen[:-1]))
    assert [kind for kind, _ in events].index("preview") < len(events) - 1
    assert lines(events, "bot") == [ANSWER]


@in_the_bot
async def test_a_page_sees_nothing_of_what_is_held_in_the_end(a: ApiWorld) -> None:
    async with page(a) as (client, events):
        form = {"id": "reveal-0002", "text": "REFUND"}
        await client.post("/chat/messages", files={name: (None, value) for name, value in form.items()})
        await until(lambda: lines(events, "bot"))
    assert previews(events)[-1] == ""
    assert not any("guarantee" in each for each in [*previews(events), *lines(events, "bot")])
    assert STEPS[0] not in lines(events, "bot")[0]


@in_the_bot
async def test_a_private_chat_shows_drafts_before_the_message(a: ApiWorld) -> None:
    a.w.telegram.customer(3001).says("How do I clean it?")
    (reply,) = await a.w.telegram.replies(3001)
    assert reply.text == ANSWER
    drafts = a.w.telegram.calls_of("sendMessageDraft", 3001)
    assert drafts
    assert all(call.at < reply.at for call in drafts)
    assert all(ANSWER.startswith(call.parameters["text"]) for call in drafts)
    assert len({call.parameters["draft_id"] for call in drafts}) == 1
    assert a.w.app.metrics.value("bot_first_words_seconds_count", channel="telegram") >= 1


@in_the_bot
async def test_a_person_who_takes_the_chat_ends_the_drafts(a: ApiWorld) -> None:
    chat = Chat("telegram", "3002")
    a.w.telegram.customer(3002).says("How do I clean it?")
    await until(lambda: a.w.telegram.calls_of("sendMessageDraft", 3002))
    before = a.w.model.hung_up
    await a.w.app.desk.take(chat, "ann")
    await a.w.model.until(lambda server: server.hung_up == before + 1 and server.in_flight == 0)
    taken = len(a.w.telegram.calls_of("sendMessageDraft", 3002))
    await asyncio.sleep(1.2)
    assert len(a.w.telegram.calls_of("sendMessageDraft", 3002)) == taken
    assert not any(ANSWER in sent.text for sent in a.w.telegram.sent_to(3002))


@in_the_bot
async def test_newer_words_take_back_what_was_seen_and_one_answer_covers_both(a: ApiWorld) -> None:
    async with page(a) as (client, events):
        for number, text in ((3, "How do I clean it?"), (4, "It is the one below.")):
            form = {"id": f"reveal-000{number}", "text": text}
            await client.post("/chat/messages", files={name: (None, value) for name, value in form.items()})
            await until(lambda: previews(events))
        await until(lambda: lines(events, "bot"))
    assert "" in previews(events)[:-1]
    assert lines(events, "bot") == [ANSWER]


@in_the_bot
async def test_an_app_reads_sentences_while_the_rest_is_written(a: ApiWorld) -> None:
    pieces, began_early = await stream(a, "How do I clean it?")
    assert began_early
    assert "".join(pieces) == ANSWER


@in_the_bot
async def test_an_app_that_leaves_in_the_middle_ends_the_generation(a: ApiWorld) -> None:
    """With OpenAI's own client, as README has it."""
    from openai import AsyncOpenAI

    before = a.w.model.hung_up
    asked: Any = [user("How do I clean it?")]
    async with AsyncOpenAI(base_url=f"{a.w.app.url}/v1", api_key=KEY) as client:
        answers = await client.chat.completions.create(model="support", messages=asked, stream=True)
        words = ""
        async for chunk in answers:
            words = chunk.choices[0].delta.content or ""
            if words:
                break
        await answers.close()
    assert ANSWER.startswith(words)
    assert words.rstrip() in {STEPS[0], FIRST}
    await a.w.model.until(lambda server: server.hung_up == before + 1)


@in_the_bot
async def test_an_app_reads_nothing_of_what_is_held(a: ApiWorld) -> None:
    pieces, _ = await stream(a, "REFUND", finish="content_filter")
    told = "".join(pieces)
    assert told.startswith(STEPS[0])
    assert "guarantee" not in told
    assert "colleague" in told


async def stream(a: ApiWorld, question: str, *, finish: str = "stop") -> tuple[list[str], bool]:
    """The pieces that an app reads, and whether the first came before the model had ended."""
    pieces: list[str] = []
    at: list[float] = []
    body = {"model": "support", "messages": [user(question)], "stream": True}
    async with a.client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            choice = json.loads(line[6:])["choices"][0]
            if choice["delta"].get("content"):
                pieces.append(choice["delta"]["content"])
                at.append(asyncio.get_running_loop().time())
            ended = choice["finish_reason"]
    assert ended == finish
    return pieces, at[-1] - at[0] > 0.3


@in_the_bot
async def test_a_server_without_drafts_stops_no_turn(tmp_path: Path) -> None:
    telegram = BotApiServer()
    telegram.faults.on("sendMessageDraft", missing(), times=None)
    server = ModelServer(answer=answer, chunks=20, chunk_delay_s=0.05)
    async with api_world(tmp_path, model=server, telegram=telegram):
        for number in range(3):
            telegram.customer(3100).says(f"How do I clean it? {number}")
            (reply,) = await telegram.replies(3100)
            assert reply.text == ANSWER
        assert len(telegram.calls_of("sendMessageDraft")) == 1


@in_the_bot
async def test_nothing_is_seen_before_the_second_check_has_spoken() -> None:
    class Second:
        shadow = is_suspended = False

    seen: list[str] = []
    second: Any = Second()
    begin, said, clock = followed(seen.append, guard=Guard(second=second))
    said(ANSWER)
    say(begin(), clock, ANSWER)
    assert not seen
