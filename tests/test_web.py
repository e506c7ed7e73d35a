"""The site over real HTTP: what it serves, what it takes in, what it turns down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from bot.errors import BadConfiguration
from bot.web.server import KEEP_ALIVE_S, serve
from context.health import Health
from tests.web_world import World, browse, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with browse(world.url) as opened:
        yield opened


async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/", "/health", "/metrics", "/static/chat.css", "/nowhere", "/chat/entries"):
        headers = (await client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "cache-control" in headers
        assert "server" not in headers


async def test_the_page_names_nothing_outside_its_origin(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text
    assert "onclick" not in page.text
    assert " style=" not in page.text


@pytest.mark.parametrize(
    ("header", "cookie", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "", "zh"),
        ("en-US,en;q=0.9", "", "en"),
        ("de-DE,de;q=0.9,zh;q=0.5", "", "zh"),
        ("fr", "", "en"),
        ("", "", "en"),
        ("en-US", "zh", "zh"),
    ],
)
async def test_the_page_speaks_the_visitors_language(
    client: httpx.AsyncClient, header: str, cookie: str, language: str
) -> None:
    headers = {"accept-language": header} | ({"cookie": f"language={cookie}"} if cookie else {})
    page = await client.get("/", headers=headers)
    assert f'<html lang="{language}">' in page.text


async def test_both_languages_have_the_same_words(client: httpx.AsyncClient) -> None:
    words = (await client.get("/static/words.json")).json()
    assert words["en"].keys() == words["zh"].keys()
    assert words["en"]["refused"].keys() == words["zh"]["refused"].keys()
    assert words["en"] != words["zh"]


@pytest.mark.parametrize(
    ("parts", "status", "state"),
    [
        ({"inbox": Health("ok")}, 200, "ok"),
        ({"inbox": Health("ok"), "redis": Health("degraded", "answers go on from SQL")}, 200, "degraded"),
        ({"inbox": Health("down", "disk full"), "redis": Health("degraded")}, 503, "down"),
    ],
)
async def test_health_is_told_by_part(
    world: World, client: httpx.AsyncClient, parts: dict[str, Health], status: int, state: str
) -> None:
    world.health.clear()
    world.health.update(parts)
    answer = await client.get("/health")
    assert answer.status_code == status
    assert answer.json()["state"] == state
    assert answer.json()["parts"] == {
        name: {"state": part.state, "detail": part.detail} for name, part in parts.items()
    }


async def test_a_health_check_that_hangs_counts_as_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web._HEALTH_TIMEOUT_S", 0.02)

    async def hang() -> None:
        await asyncio.sleep(60)

    async with open_world(tmp_path, slow_health=hang) as world, browse() as client:
        answer = await client.get(f"{world.url}/health")
    assert answer.status_code == 503
    assert answer.json()["parts"]["health"]["state"] == "down"


async def test_metrics_are_served_for_prometheus(world: World, client: httpx.AsyncClient) -> None:
    world.metrics.send("web", "ok")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'bot_sends_total{channel="web",outcome="ok"} 1.0' in answer.text


async def test_who_waits_for_a_person_has_no_old_figure_while_the_database_is_away(
    world: World, client: httpx.AsyncClient
) -> None:
    world.waiting[:] = [3]
    assert "\nbot_handoffs_waiting 3.0\n" in (await client.get("/metrics")).text
    world.waiting.clear()
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert "\nbot_handoffs_waiting " not in answer.text


async def test_a_wrong_address_shows_people_the_way_home(client: httpx.AsyncClient) -> None:
    for_people = await client.get("/nowhere", headers={"accept": "text/html,*/*"})
    assert for_people.status_code == 404
    assert 'href="/"' in for_people.text
    for_programs = await client.get("/nowhere")
    assert (for_programs.status_code, for_programs.json()) == (404, {"error": "not_here"})
    wrong_method = await client.delete("/health")
    assert wrong_method.status_code == 405
    assert "GET" in wrong_method.headers["allow"]


async def test_our_own_failure_tells_no_detail(world: World, client: httpx.AsyncClient) -> None:
    await client.get("/")
    world.desk.refuse_with = RuntimeError("secret detail")
    answer = await client.post("/chat/reset")
    assert (answer.status_code, answer.json()) == (500, {"error": "failed"})
    assert "nosniff" in answer.headers["x-content-type-options"]


async def test_there_is_no_webhook_where_none_is_set(client: httpx.AsyncClient) -> None:
    assert (await client.post("/telegram/webhook", content=b"{}")).status_code == 404


async def test_the_webhook_hands_over_body_and_secret(tmp_path: Path) -> None:
    seen: list[tuple[bytes, str | None]] = []

    async def receive(body: bytes, secret: str | None) -> int:
        seen.append((body, secret))
        return 200 if secret == "right" else 403

    async with (
        open_world(tmp_path, receive=receive) as world,
        browse(world.url) as client,
    ):
        right = await client.post(
            "/telegram/webhook", content=b"{1}", headers={"X-Telegram-Bot-Api-Secret-Token": "right"}
        )
        without = await client.post("/telegram/webhook", content=b"{2}")
        too_much = await client.post("/telegram/webhook", content=b"x" * (1024 * 1024 + 1))
        endless = await client.post("/telegram/webhook", content=_chunks(40, 32 * 1024))
        read = await client.get("/telegram/webhook")
    assert (right.status_code, without.status_code) == (200, 403)
    assert (too_much.status_code, endless.status_code, read.status_code) == (413, 413, 405)
    assert seen == [(b"{1}", "right"), (b"{2}", None)]


async def test_a_body_where_none_belongs_is_bounded(client: httpx.AsyncClient) -> None:
    await client.get("/")
    answer = await client.post("/chat/messages", content=b"x" * 100, headers={"content-type": "text/plain"})
    assert answer.status_code == 415


async def test_a_port_in_use_is_named(world: World) -> None:
    port = int(world.url.rpartition(":")[2])
    with pytest.raises(BadConfiguration, match=rf"HTTP_PORT: {port} on 127.0.0.1 is in use"):
        async with serve(_nothing, "127.0.0.1", port):
            pass


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
async def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(BadConfiguration, match="HTTP_HOST"):
        async with serve(_nothing, host, 0):
            pass


async def test_serving_everywhere_yields_an_address_that_opens() -> None:
    async with serve(_hello, "0.0.0.0", 0) as serving, browse() as client:
        assert serving.url.startswith("http://127.0.0.1:")
        assert (await client.get(serving.url)).text == "hello"


async def test_an_idle_connection_is_closed_later_than_nginx_lets_go_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert KEEP_ALIVE_S > 60, "nginx's keepalive_timeout, also of an upstream"
    monkeypatch.setattr("bot.web.server.KEEP_ALIVE_S", 0.05)
    async with serve(_hello, "127.0.0.1", 0) as serving:
        host, _, port = serving.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: us\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"hello")
        writer.close()


async def test_the_port_is_free_again_after_the_block() -> None:
    async with serve(_hello, "127.0.0.1", 0) as first:
        port = int(first.url.rpartition(":")[2])
    async with serve(_hello, "127.0.0.1", port) as again:
        assert again.url == first.url


async def test_open_streams_do_not_hold_the_house_open(tmp_path: Path) -> None:
    async with asyncio.timeout(3):
        async with open_world(tmp_path) as world, browse(world.url) as client:
            await client.get("/")
            async with client.stream("GET", "/chat/events") as stream:
                assert stream.status_code == 200
                await world.channel.close()
                assert "entries" in "".join([text async for text in stream.aiter_text()])


async def test_a_block_that_fails_still_stops_the_server() -> None:
    with pytest.raises(ValueError, match="inside"):
        async with serve(_hello, "127.0.0.1", 0) as serving:
            raise ValueError("inside")
    async with browse() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(serving.url)


async def _chunks(number: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"x" * size


async def _nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError("never reached")


async def _hello(scope: object, receive: object, send: object) -> None:
    assert callable(send)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
