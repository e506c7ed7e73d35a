"""The remote engine against real sockets: what arrives at the server, and what becomes of its failures."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from bot.engines.remote import RemoteEngine
from bot.engines.sampling import Sampling
from bot.errors import (
    BadConfiguration,
    EngineOverloaded,
    EngineTimeout,
    EngineUnavailable,
    PromptTooLong,
)
from context.health import Health
from prompts.prompt import Manner
from tests.asked import asked, turn
from tests.clock import Clock
from tests.displays import draw_display, shown
from tests.model_server import Fault, ModelServer
from tests.until import PATIENCE_S, PROCESS_S

FIRST = shown(draw_display("E4"), number=1)
SECOND = shown(draw_display("E7"), number=2)
SECRET = "my address is 7 Elm Street"


@asynccontextmanager
async def pair(
    *, server: ModelServer | None = None, **options: Any
) -> AsyncIterator[tuple[RemoteEngine, ModelServer]]:
    async with server or ModelServer(dialect="vllm") as running:
        given: dict[str, Any] = {"url": running.url, "model": "stub-model", "timeout_s": PATIENCE_S}
        engine = RemoteEngine(**(given | options))
        try:
            await engine.start()
            yield engine, running
        finally:
            await engine.close()


async def test_photos_come_before_the_words_of_their_own_message_as_data_urls() -> None:
    async with pair() as (engine, server):
        await engine.draft(asked('and "now"?\u2028', SECOND, earlier=turn("what is it?", "A fault.", FIRST)))

    arrived = server.requests[-1]
    roles = [message["role"] for message in arrived.messages]
    assert roles == ["system", "user", "assistant", "user"]
    kinds = [[part["type"] for part in arrived.messages[at]["content"]] for at in (1, 3)]
    assert kinds == [["image_url", "text"], ["image_url", "text"]]
    urls = [f"data:image/jpeg;base64,{base64.b64encode(photo.jpeg).decode()}" for photo in (FIRST, SECOND)]
    assert list(arrived.images) == urls
    assert arrived.last_text == 'and "now"?\u2028'


async def test_chat_is_told_to_routers_in_a_header() -> None:
    async with pair() as (engine, server):
        await engine.draft(asked("hi", affinity="c-17"))
        await engine.draft(asked("hi"))

    assert [request.headers.get("x-session-id") for request in server.requests] == ["c-17", None]


async def test_key_is_sent_when_there_is_one_and_no_header_otherwise() -> None:
    async with pair(server=ModelServer(api_key="k-1"), api_key="k-1") as (engine, server):
        assert (await engine.draft(asked("hi"))).text
        assert (await engine.health()).state == "ok"
    async with pair() as (engine, server):
        await engine.draft(asked("hi"))
        assert "authorization" not in server.requests[-1].headers


EXTRAS: dict[str, dict[str, object]] = {
    "vllm": {"repetition_penalty": 1.1, "top_k": 20, "chat_template_kwargs": {"enable_thinking": False}},
    "sglang": {"repetition_penalty": 1.1, "top_k": 20, "chat_template_kwargs": {"enable_thinking": False}},
    "trtllm": {"repetition_penalty": 1.1, "top_k": 20},
    "llamacpp": {"repeat_penalty": 1.1, "top_k": 20, "chat_template_kwargs": {"enable_thinking": False}},
    "ollama": {},
    "transformers": {"frequency_penalty": 0.1, "chat_template_kwargs": {"enable_thinking": False}},
    "generic": {"repetition_penalty": 1.1},
}


@pytest.mark.parametrize("dialect", EXTRAS)
@pytest.mark.parametrize("owner_tells", [True, False])
async def test_each_server_is_recognised_and_spoken_to_in_its_dialect(
    dialect: str, owner_tells: bool
) -> None:
    server = ModelServer(dialect=dialect, owner=None if owner_tells else "acme")
    async with pair(server=server, sampling=Sampling(top_k=20, max_tokens=77)) as (engine, _):
        draft = await engine.draft(asked("hi"))

    body = dict(server.requests[-1].body)
    core = {name: body.pop(name) for name in ("model", "max_tokens", "temperature", "top_p", "stream")}
    assert core == {"model": "stub-model", "max_tokens": 77, "temperature": 0.7, "top_p": 0.9, "stream": True}
    assert body.pop("stream_options") == {"include_usage": True}
    assert draft.usage.completion_tokens > 0
    del body["messages"]
    if dialect in {"vllm", "trtllm"} and not owner_tells:
        # Both answer /version alike: they are told apart by name only, and the generic extras suit both.
        assert (engine.dialect.name, body) == ("generic", EXTRAS["generic"])
    else:
        assert (engine.dialect.name, body) == (dialect, EXTRAS[dialect])
    assert server.received == 1


async def test_server_that_refuses_extras_is_asked_without_them_from_then_on() -> None:
    async with pair(server=ModelServer(dialect="generic", strict=True)) as (engine, server):
        for _ in range(3):
            assert (await engine.draft(asked("hi"))).text

    assert ["repetition_penalty" in request.body for request in server.requests] == [
        True,
        False,
        False,
        False,
    ]


async def test_server_that_refuses_a_schema_is_asked_without_it_and_keeps_the_other_extras() -> None:
    server = ModelServer(answer=lambda request: "{}" if "response_format" in request.body else "[]")
    wished = replace(asked("hi"), manner=Manner(schema='{"type": "object"}'))
    async with pair(server=server) as (engine, _):
        assert (await engine.draft(wished)).text == "{}"
        server.fail(Fault.BAD_IMAGE)  # any 400
        assert (await engine.draft(wished)).text == "[]"
        assert (await engine.draft(wished)).text == "[]"

    bodies = [request.body for request in server.requests]
    assert bodies[0]["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert ["response_format" in body for body in bodies] == [True, True, False, False]
    assert all("repetition_penalty" in body for body in bodies)


async def test_refusal_for_another_reason_does_not_cost_the_extras() -> None:
    async with pair() as (engine, server):
        server.fail(Fault.BAD_IMAGE, Fault.BAD_IMAGE)
        with pytest.raises(EngineUnavailable, match="400 bad_image"):
            await engine.draft(asked("hi"))
        await engine.draft(asked("hi"))

    assert "repetition_penalty" in server.requests[-1].body


async def test_server_that_comes_up_late_is_recognised_then(clock: Clock) -> None:
    server = ModelServer(dialect="llamacpp")
    await server.start()
    port = int(server.url.rpartition(":")[2].removesuffix("/v1"))
    await server.close()
    engine = RemoteEngine(url=server.url, model="", timeout_s=PATIENCE_S, clock=clock)
    await engine.start()
    assert (await engine.health()).state == "down"

    await server.start(port=port)
    clock.move(60)
    assert (await engine.draft(asked("hi"))).model == "stub-model"
    assert engine.dialect.name == "llamacpp"
    assert (await engine.health()).state == "ok"
    await engine.close()
    await server.close()


async def test_server_that_is_still_loading_is_recognised_when_it_is_ready(clock: Clock) -> None:
    server = ModelServer(dialect="llamacpp")
    server.is_loading = True
    async with pair(server=server, clock=clock) as (engine, _):
        assert (await engine.health()).state == "down"
        assert engine.dialect.name == "generic"

        server.is_loading = False
        clock.move(60)
        await engine.draft(asked("hi"))
        assert engine.dialect.name == "llamacpp"


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "trtllm", "llamacpp", "transformers"])
async def test_server_whose_engine_died_is_down_though_it_lists_models(dialect: str) -> None:
    server = ModelServer(dialect=dialect)
    server.is_dead = True
    async with pair(server=server) as (engine, _):
        assert await engine.health() == Health("down", f"model server {server.address} answers 503")


FAILURES = {
    Fault.ERROR_500: (EngineUnavailable, "answered 500"),
    Fault.HTML_502: (EngineUnavailable, "answered 502"),
    Fault.BAD_KEY: (EngineUnavailable, "401.*API key"),
    Fault.NO_MODEL: (EngineUnavailable, "404.*model's name"),
    Fault.HANG: (EngineTimeout, r"within 0\.5 s"),
    Fault.STALL: (EngineTimeout, r"within 0\.5 s"),
    Fault.DRIP: (EngineTimeout, r"within 0\.5 s"),
    Fault.HALF_STREAM: (EngineUnavailable, "broke off"),
    Fault.CUT_STREAM: (EngineUnavailable, "broke off after 17 letters"),
    Fault.EMPTY: (EngineUnavailable, "without a word"),
    Fault.GARBAGE: (EngineUnavailable, "broken JSON"),
    Fault.WRONG_TYPE: (EngineUnavailable, "text/html"),
    Fault.WRONG_SHAPE: (EngineUnavailable, "unknown shape"),
    Fault.STREAM_ERROR: (EngineUnavailable, "in the middle"),
    Fault.ABORT: (EngineUnavailable, "'abort'"),
    Fault.TOO_LONG: (PromptTooLong, "does not fit"),
    Fault.TOO_MANY_PHOTOS: (PromptTooLong, "does not fit"),
}


@pytest.mark.parametrize("fault", FAILURES)
async def test_each_failure_has_its_type_and_a_message_without_the_customers_words(fault: Fault) -> None:
    kind, message = FAILURES[fault]
    async with pair(api_key="k-secret") as (engine, server):
        server.fail(fault)
        usual = engine._timeout_s
        if kind is EngineTimeout:
            engine._timeout_s = 0.5
        with pytest.raises(kind, match=message) as caught:
            await engine.draft(asked(SECRET))
        engine._timeout_s = usual
        assert server.received == 1, "something was or may have been generated: not asked again"
        server.answer = lambda _: "well again"
        assert (await engine.draft(asked("hi"))).text == "well again"

    assert SECRET not in str(caught.value)
    assert "k-secret" not in str(caught.value)


@pytest.mark.parametrize("fault", [Fault.BUSY_429, Fault.BUSY_503, Fault.DROP, Fault.NOT_HTTP])
async def test_is_asked_again_where_nothing_was_generated(fault: Fault) -> None:
    async with pair() as (engine, server):
        server.fail(fault)
        assert (await engine.draft(asked("hi"))).text
        assert server.received == 2


@pytest.mark.parametrize(
    ("fault", "kind"), [(Fault.BUSY_503, EngineOverloaded), (Fault.DROP, EngineUnavailable)]
)
async def test_asks_three_times_at_most(fault: Fault, kind: type[Exception]) -> None:
    async with pair() as (engine, server):
        server.fail_always(fault)
        with pytest.raises(kind):
            await engine.draft(asked("hi"))
        assert server.received == 3


async def test_asking_again_stays_inside_the_time_limit() -> None:
    async with pair(timeout_s=0.2, server=ModelServer(retry_after="9")) as (engine, server):
        server.fail_always(Fault.BUSY_503)
        before = asyncio.get_running_loop().time()
        with pytest.raises(EngineTimeout):
            await engine.draft(asked("hi"))
        assert asyncio.get_running_loop().time() - before < 9


async def test_long_retry_after_is_not_waited_for() -> None:
    async with pair(server=ModelServer(retry_after="3600")) as (engine, server):
        server.fail(Fault.BUSY_429)
        with pytest.raises(EngineOverloaded):
            await engine.draft(asked("hi"))
        assert server.received == 1


async def test_nobody_listening_is_unavailable() -> None:
    engine = RemoteEngine(url="http://127.0.0.1:9/v1", model="m", timeout_s=PATIENCE_S)
    await engine.start()
    assert (await engine.health()).state == "down"
    with pytest.raises(EngineUnavailable, match="cannot be reached: ConnectionRefusedError"):
        await engine.draft(asked("hi"))
    await engine.close()


async def test_endless_answer_is_cut_and_its_connection_closed() -> None:
    async with pair(sampling=Sampling(max_tokens=8)) as (engine, server):
        server.fail(Fault.ENDLESS)
        draft = await engine.draft(asked("hi"))
        assert draft.finish == "length"
        assert len(draft.text) < 10_000
        await server.until(lambda s: s.in_flight == 0)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.STALL])
async def test_time_limit_hangs_up_so_that_the_server_stops(fault: Fault) -> None:
    async with pair(timeout_s=0.3) as (engine, server):
        server.fail(fault)
        with pytest.raises(EngineTimeout):
            await engine.draft(asked("hi"))
        await server.until(lambda s: s.hung_up == 1)


async def test_server_that_does_not_stream_is_understood() -> None:
    async with pair(server=ModelServer(streams=False)) as (engine, _):
        draft = await engine.draft(asked("hi"))
    assert draft.text.endswith("last=hi")
    assert draft.usage.prompt_tokens == 100


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("<think>hm, red?</think>\n\nIt is red.", "It is red."),
        ("hm, red?</think>It is red.", "It is red."),
        ("It is red.", "It is red."),
    ],
)
async def test_what_a_model_thinks_aloud_is_no_part_of_the_answer(said: str, answer: str) -> None:
    async with pair(server=ModelServer(answer=lambda _: said)) as (engine, _):
        assert (await engine.draft(asked("hi"))).text == answer


async def test_thoughts_alone_are_no_answer() -> None:
    async with pair(server=ModelServer(answer=lambda _: "<think>hm, red")) as (engine, _):
        with pytest.raises(EngineUnavailable, match="without a word"):
            await engine.draft(asked("hi"))


async def test_connection_serves_the_next_request_too() -> None:
    async with pair() as (engine, server):
        for _ in range(5):
            await engine.draft(asked("hi"))
        assert len({request.peer for request in server.requests}) == 1


async def test_health_names_a_wrong_key_and_a_missing_model(clock: Clock) -> None:
    async with pair(server=ModelServer(api_key="right"), api_key="wrong") as (engine, _):
        health = await engine.health()
        assert (health.state, "API key" in health.detail) == ("down", True)
    async with pair(server=ModelServer(models=("other",)), clock=clock) as (engine, server):
        health = await engine.health()
        assert (health.state, "it has other" in health.detail) == ("degraded", True)
        asked_before = len(server.probes)
        await engine.health()
        assert len(server.probes) == asked_before
        clock.move(10)
        await engine.health()
        assert len(server.probes) == asked_before + 1


async def test_a_server_too_busy_to_list_its_models_at_once_is_recognised_and_well() -> None:
    async with pair(server=ModelServer(dialect="vllm", probe_s=1.0)) as (engine, _):
        assert engine.dialect.name == "vllm"
        assert (await engine.health()).state == "ok"


async def test_health_doubts_a_server_that_lists_no_models_until_it_has_answered(clock: Clock) -> None:
    async with ModelServer(models=()) as server:
        elsewhere = server.url.replace("/v1", "/elsewhere/v1")
        for url, what in ((elsewhere, "has no list of models (404)"), (server.url, "names no model")):
            for model, state in (("", "down"), ("stub-model", "degraded")):
                engine = RemoteEngine(url=url, model=model, clock=clock)
                await engine.start()
                health = await engine.health()
                await engine.close()
                assert (health.state, what in health.detail) == (state, True)
    async with pair(server=ModelServer(models=()), clock=clock) as (engine, _):
        await engine.draft(asked("hi"))
        assert (await engine.health()).state == "ok"


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://host/v1", "http:///v1", "http://user:pw@host/v1"]
)
def test_unusable_urls_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        RemoteEngine(url=url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"repetition_penalty": 0.5},
        {"top_k": -1},
        {"max_tokens": 0},
    ],
)
def test_sampling_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadConfiguration, match=next(iter(wrong))):
        Sampling(**wrong)


def test_the_http_client_is_not_imported_before_the_start() -> None:
    code = (
        "import sys, bot.engines.remote, bot.engines.fallback, bot.engines.first_available;"
        "heavy = {'aiohttp', 'rapidocr', 'onnxruntime', 'torch', 'numpy', 'PIL', 'yaml'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PROCESS_S).returncode == 0
