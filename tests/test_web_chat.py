"""The chat page's addresses over real HTTP: messages in, the conversation and its news out."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from PIL import Image

from bot.errors import FileUnavailable
from bot.web import uploads
from context.db import StoreDown
from context.turns import Attachment, Chat, Kind, Part
from tests.ac_panel import as_jpeg
from tests.until import PATIENCE_S, until
from tests.web_world import Answer, World, browse, open_world

JPEG = as_jpeg(Image.new("RGB", (400, 300), "red"))
OTHER_JPEG = as_jpeg(Image.new("RGB", (300, 400), "blue"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def visitor(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with visit(world) as client:
        yield client


@asynccontextmanager
async def visit(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with browse(world.url, accept_language="zh-CN") as client:
        assert (await client.get("/")).status_code == 200
        yield client


async def say(
    client: httpx.AsyncClient, text: str = "", *photos: bytes, message_id: str = "", **headers: str
) -> httpx.Response:
    # Plain fields as file parts without a name, so that the body is multipart also without photos.
    fields = {"id": message_id or os.urandom(8).hex(), "text": text}
    parts = [(name, (None, value.encode())) for name, value in fields.items()]
    files = [("photo", ("photo.jpg", photo, "image/jpeg")) for photo in photos]
    return await client.post(
        "/chat/messages", files=[*parts, *files], headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


async def lines(client: httpx.AsyncClient, after: int = 0) -> list[dict[str, object]]:
    answer = await client.get("/chat/entries", params={"after": after})
    assert answer.status_code == 200
    found = answer.json()["entries"]
    assert isinstance(found, list)
    return found


class Stream:
    """Reads server-sent events."""

    def __init__(self, response: httpx.Response) -> None:
        self._text = response.aiter_text()
        self._rest = ""

    async def next(self) -> tuple[str, dict[str, object], str]:
        """The next event: its name, its data and its id (comments are skipped)."""
        while True:
            block = await self.next_block()
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if fields:
                return fields["event"], json.loads(fields["data"]), fields.get("id", "")

    async def next_block(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while "\n\n" not in self._rest:
                self._rest += await anext(self._text)
        block, _, self._rest = self._rest.partition("\n\n")
        return block


@asynccontextmanager
async def listening(client: httpx.AsyncClient, **headers: str) -> AsyncIterator[Stream]:
    async with client.stream(
        "GET", "/chat/events", headers={k.replace("_", "-"): v for k, v in headers.items()}
    ) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["cache-control"] == "no-store"
        yield Stream(response)


# What comes in


async def test_words_become_a_text_arrival(world: World, visitor: httpx.AsyncClient) -> None:
    before = time.time()
    answer = await say(visitor, "  空调\r\nshows\x00 E4 ", message_id="0123456789abcdef")
    assert (answer.status_code, answer.json()) == (202, {"source": "web:0123456789abcdef"})
    (arrival,) = world.desk.arrivals
    assert (arrival.kind, arrival.text, arrival.hint) == (Kind.TEXT, "空调\nshows E4", "zh")
    assert (arrival.source, arrival.message_id) == ("web:0123456789abcdef", "0123456789abcdef")
    assert before <= arrival.sent_at <= time.time()


@pytest.mark.parametrize(
    ("text", "command", "argument"),
    [
        ("/human", "human", ""),
        ("/Language zh", "language", "zh"),
        ("/human I have\nwaited long", "human", "I have\nwaited long"),
    ],
)
async def test_commands_work_as_in_telegram(
    world: World, visitor: httpx.AsyncClient, text: str, command: str, argument: str
) -> None:
    await say(visitor, text)
    (arrival,) = world.desk.arrivals
    assert (arrival.kind, arrival.command, arrival.text) == (Kind.COMMAND, command, argument)


@pytest.mark.parametrize("text", ["/etc/hosts is empty", "a /human", "/", "/ human", "/4", "//x"])
async def test_a_slash_alone_makes_no_command(world: World, visitor: httpx.AsyncClient, text: str) -> None:
    await say(visitor, text)
    assert [(arrival.kind, arrival.text) for arrival in world.desk.arrivals] == [(Kind.TEXT, text)]


async def test_one_photo_carries_the_words(world: World, visitor: httpx.AsyncClient) -> None:
    await say(visitor, "what is E4?", JPEG)
    (arrival,) = world.desk.arrivals
    assert (arrival.kind, arrival.text, arrival.album) == (Kind.PHOTO, "what is E4?", "")
    assert arrival.attachment is not None
    assert arrival.attachment.size == len(JPEG)
    assert await world.channel.fetch(arrival.attachment) == JPEG


async def test_several_photos_are_an_album_with_the_words_at_the_first(
    world: World, visitor: httpx.AsyncClient
) -> None:
    await say(visitor, "both", JPEG, OTHER_JPEG, message_id="album-0001")
    first, second = world.desk.arrivals
    assert first.album == second.album == "album-0001"
    assert (first.text, second.text) == ("both", "")
    assert (first.source, second.source) == ("web:album-0001", "web:album-0001:2")
    assert first.attachment is not None
    assert second.attachment is not None
    assert await world.channel.fetch(first.attachment) == JPEG
    assert await world.channel.fetch(second.attachment) == OTHER_JPEG


async def test_a_message_sent_again_is_one_message(world: World, visitor: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await say(visitor, "once", JPEG, message_id="same-message")).status_code == 202
    assert len(world.desk.arrivals) == 1
    assert len(list(world.spool.iterdir())) == 1


async def test_reset_is_the_command(world: World, visitor: httpx.AsyncClient) -> None:
    assert (await visitor.post("/chat/reset")).status_code == 202
    (arrival,) = world.desk.arrivals
    assert (arrival.kind, arrival.command) == (Kind.COMMAND, "reset")


# What is turned down


def body_of(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + end


FORM = "multipart/form-data; boundary=x"
ID = b'name="id"\r\n\r\n0123456789'


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", b"{}", 415, "bad_form"),
        ("", b"", 415, "bad_form"),
        ("multipart/form-data", b"", 415, "bad_form"),
        (f"multipart/form-data; boundary={'x' * 300}", b"", 400, "bad_form"),
        (FORM, b"", 400, "bad_form"),
        (FORM, b"nonsense", 400, "bad_form"),
        (FORM, body_of(ID, end=b""), 400, "bad_form"),
        (FORM, body_of(b'name="text"\r\n\r\nhello'), 400, "bad_form"),
        (FORM, body_of(b'name="id"\r\n\r\n../../x'), 400, "bad_form"),
        (FORM, body_of(ID), 400, "empty"),
        (FORM, body_of(ID, b'name="text"\r\n\r\n \t\n'), 400, "empty"),
        (FORM, body_of(ID, 'name="text"\r\n\r\n\u200b\u3164'.encode()), 400, "empty"),
        (FORM, body_of(ID, b'name="text"\r\n\r\n\xff\xfe'), 400, "bad_form"),
        (FORM, body_of(ID, ID), 400, "bad_form"),
        (FORM, body_of(*(b'name="%d"\r\n\r\n1' % n for n in range(9))), 400, "bad_form"),
        (FORM, body_of(ID, b'name="text"\r\n\r\n' + b"a" * 4001), 413, "text_too_long"),
        (FORM, body_of(ID, b'name="text"\r\n\r\n' + b"a" * 70000), 413, "text_too_long"),
    ],
)  # fmt: skip
async def test_a_bad_form_is_turned_down_by_name(
    world: World, visitor: httpx.AsyncClient, content_type: str, body: bytes, status: int, code: str
) -> None:
    answer = await visitor.post("/chat/messages", content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert world.desk.arrivals == []


async def test_too_many_photos_are_turned_down_and_not_kept(world: World, visitor: httpx.AsyncClient) -> None:
    assert (await say(visitor, "", *[b"x"] * 10)).status_code == 202
    kept = len(list(world.spool.iterdir()))
    answer = await say(visitor, "", *[b"x"] * 11)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_many_photos")
    assert len(list(world.spool.iterdir())) == kept == 10


async def test_a_photo_too_large_is_named_and_nothing_is_kept(
    world: World, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_PHOTO_BYTES", 500_000)
    answer = await say(visitor, "see", JPEG, b"x" * 900_000)
    assert (answer.status_code, answer.json()) == (413, {"error": "photo_too_large", "photo": 2})
    assert list(world.spool.iterdir()) == []
    assert (await say(visitor, "see", JPEG, b"x" * 500_000)).status_code == 202


async def test_pictures_leave_room_on_the_disk_and_words_need_none(
    world: World, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "SPARE_BYTES", 2**62)
    assert (await say(visitor, "see", JPEG)).status_code == 503
    assert list(world.spool.iterdir()) == []
    assert (await say(visitor, "see")).status_code == 202


async def test_more_than_all_photos_together_is_turned_down_before_it_is_read(
    world: World, visitor: httpx.AsyncClient
) -> None:
    host, _, port = world.url.removeprefix("http://").partition(":")
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        cookie = visitor.cookies["visitor"]
        writer.write(
            f"POST /chat/messages HTTP/1.1\r\nHost: {host}\r\nCookie: visitor={cookie}\r\n"
            f"Content-Type: {FORM}\r\nContent-Length: {300 * 1024 * 1024}\r\n\r\n--x\r\n".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        await writer.wait_closed()


async def test_an_upload_that_breaks_off_leaves_nothing(world: World, visitor: httpx.AsyncClient) -> None:
    began = asyncio.Event()

    async def breaks() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n' + b"y" * 600_000
        began.set()
        await asyncio.Event().wait()

    headers = {"content-type": "multipart/form-data; boundary=x"}
    upload = asyncio.create_task(visitor.post("/chat/messages", content=breaks(), headers=headers))
    await began.wait()
    await until(lambda: any(path.stat().st_size for path in world.spool.iterdir()))
    upload.cancel()
    await until(lambda: not list(world.spool.iterdir()))
    assert world.desk.arrivals == []


async def test_an_upload_that_never_ends_is_given_up(
    world: World, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.chat_page._UPLOAD_TIMEOUT_S", 0.05)

    async def hangs() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\nabc'
        await asyncio.sleep(1)
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await visitor.post("/chat/messages", content=hangs(), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (408, "too_slow")
    assert list(world.spool.iterdir()) == []


async def test_with_the_store_down_the_customer_may_try_again(
    world: World, visitor: httpx.AsyncClient
) -> None:
    world.desk.refuse_with = StoreDown("disk full")
    answer = await say(visitor, "hello", JPEG, message_id="try-again-1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert list(world.spool.iterdir()) == []
    world.desk.refuse_with = None
    assert (await say(visitor, "hello", JPEG, message_id="try-again-1")).status_code == 202
    assert len(world.desk.arrivals) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"sec_fetch_site": "same-origin"}, 202),
        ({"sec_fetch_site": "none"}, 202),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://elsewhere.example", "sec_fetch_site": "same-origin"}, 202),
    ],
)
async def test_other_sites_cannot_write_in_a_visitors_name(
    world: World, visitor: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await say(visitor, "hi", **headers)).status_code == status
    reset = await visitor.post(
        "/chat/reset", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    assert reset.status_code == status
    assert len(world.desk.arrivals) == (2 if status == 202 else 0)


async def test_the_pages_own_origin_may_write(world: World, visitor: httpx.AsyncClient) -> None:
    assert (await say(visitor, "hi", origin=world.url)).status_code == 202


# Who it is


async def test_the_cookie_is_the_visitors_alone(world: World) -> None:
    async with browse(world.url) as client:
        first = await client.get("/")
        cookie = first.headers["set-cookie"]
        assert re.match(r"visitor=[\w-]{22};", cookie)
        for attribute in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age="):
            assert attribute in cookie
        assert "set-cookie" not in (await client.get("/")).headers
        secret = client.cookies["visitor"]
        await say(client, "hello")
    address = world.desk.arrivals[0].chat.address
    assert address == hashlib.sha256(secret.encode()).hexdigest()[:32]
    assert secret not in address


async def test_over_https_the_cookie_stays_there(world: World) -> None:
    async with browse(world.url, x_forwarded_proto="https") as client:
        assert "Secure" in (await client.get("/")).headers["set-cookie"]


@pytest.mark.parametrize(
    "cookie", ["", "visitor=", "visitor=short", "visitor=../../etc/passwd12345", "other=1"]
)
async def test_who_never_opened_the_page_is_nobody(world: World, cookie: str) -> None:
    headers = {"cookie": cookie} if cookie else {}
    async with browse(world.url, **headers) as client:
        for path in ("/chat/entries", "/chat/events", f"/chat/photos/{'0' * 64}.jpg"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (401, "no_visitor")
        assert (await say(client, "hello")).status_code == 401
        assert (await client.post("/chat/reset")).status_code == 401
    assert world.desk.arrivals == []


async def test_visitors_see_their_own_chat_only(world: World, visitor: httpx.AsyncClient) -> None:
    await say(visitor, "mine", JPEG)
    await until(lambda: bool(world.desk.photos))
    ((_, sha256),) = world.desk.photos
    async with visit(world) as other:
        assert await lines(other) == []
        assert (await other.get(f"/chat/photos/{sha256}.jpg")).status_code == 404
    photo = await visitor.get(f"/chat/photos/{sha256}.jpg")
    assert photo.status_code == 200
    assert photo.headers["content-type"] == "image/jpeg"
    assert photo.headers["cache-control"].startswith("private")
    assert hashlib.sha256(photo.content).hexdigest() == sha256
    assert (await visitor.get("/chat/photos/..%2f..%2fetc.jpg")).status_code == 404


# What goes out


async def test_the_conversation_is_told_after_a_line(world: World, visitor: httpx.AsyncClient) -> None:
    await say(visitor, "hello", message_id="0123456789")
    await until(lambda: len(next(iter(world.desk.lines.values()))) == 2)
    question, answer = await lines(visitor)
    assert (question["who"], question["text"], question["source"]) == ("customer", "hello", "web:0123456789")
    assert (answer["who"], answer["text"]) == ("bot", "I read 'hello' and 0 photos.")
    assert await lines(visitor, after=1) == [answer]
    assert "origin" not in answer
    for after in ("-1", "x", "9" * 30, ""):
        assert (await visitor.get("/chat/entries", params={"after": after})).status_code == 400


async def test_rules_answers_are_marked_preliminary(tmp_path: Path) -> None:
    answer = Answer("perhaps E4", origin="fallback")
    async with open_world(tmp_path, answer=lambda _: answer) as world, visit(world) as visitor:
        await say(visitor, "hello")
        await until(lambda: len(next(iter(world.desk.lines.values()))) == 2)
        assert [line["preliminary"] for line in await lines(visitor)] == [False, True]


async def test_the_stream_tells_question_typing_and_answer(world: World, visitor: httpx.AsyncClient) -> None:
    async with listening(visitor) as stream:
        assert await stream.next() == ("entries", {"entries": []}, "0")
        world.desk.go.clear()
        await say(visitor, "hello")
        events = [await stream.next(), await stream.next()]
        assert sorted(name for name, _, _ in events) == ["entries", "typing"]
        assert ("typing", {"typing": True}, "") in events
        world.desk.go.set()
        name, told, event_id = await stream.next()
        assert name == "entries"
        assert isinstance(told["entries"], list)
        assert [line["who"] for line in told["entries"]] == ["customer", "bot"]
        assert event_id == "2"
        assert await stream.next() == ("typing", {"typing": False}, "")


async def test_a_stream_is_taken_up_after_the_last_answered_line(
    world: World, visitor: httpx.AsyncClient
) -> None:
    async with listening(visitor) as stream:
        await stream.next()
        await say(visitor, "one")
        while (event := await stream.next())[2] != "2":
            pass
    await say(visitor, "two")
    await until(lambda: len(next(iter(world.desk.lines.values()))) == 4)
    async with listening(visitor, last_event_id=event[2]) as stream:
        _, told, event_id = await stream.next()
    assert isinstance(told["entries"], list)
    assert [line["id"] for line in told["entries"]] == [3, 4]
    assert event_id == "4"


async def test_photos_are_told_again_once_they_are_taken_in(world: World, visitor: httpx.AsyncClient) -> None:
    async with listening(visitor) as stream:
        await stream.next()
        await say(visitor, "", JPEG, b"no picture at all")
        while True:
            name, told, _ = await stream.next()
            if name == "entries" and "bot" in str(told):
                break
    assert isinstance(told["entries"], list)
    first, second, _answer = told["entries"]
    assert [photo["number"] for photo in first["photos"]] == [1]
    assert [rejection["code"] for rejection in second["rejections"]] == ["not_a_picture"]


async def test_a_page_opened_meanwhile_shows_the_typing_sign(
    world: World, visitor: httpx.AsyncClient
) -> None:
    world.desk.go.clear()
    await say(visitor, "hello")
    async with listening(visitor) as stream:
        events = [await stream.next(), await stream.next()]
    assert ("typing", {"typing": True}, "") in events


async def test_every_open_page_of_a_visitor_is_told_and_no_other(
    world: World, visitor: httpx.AsyncClient
) -> None:
    async with visit(world) as stranger, listening(visitor) as one, listening(visitor) as two:
        await one.next()
        await two.next()
        await say(visitor, "hello")
        for stream in (one, two):
            while "I read" not in str(await stream.next()):
                pass
        async with listening(stranger) as strange:
            await say(stranger, "mine")
            while "I read" not in (event := str(await strange.next())):
                assert "hello" not in event
        assert "I read 'mine'" in event


async def test_a_quiet_stream_is_kept_alive(
    world: World, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.chat_page._PING_S", 0.01)
    async with listening(visitor) as stream:
        await stream.next_block()
        assert await stream.next_block() == ": ping"
        assert await stream.next_block() == ": ping"


async def test_an_answer_whose_receipt_is_recorded_late_is_shown_all_the_same(
    world: World, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.chat_page._PING_S", 0.05)
    monkeypatch.setattr("bot.web.chat_page._RECORDED_WITHIN_S", ())
    await say(visitor, "hello")
    chat = world.desk.arrivals[0].chat
    await until(lambda: len(world.desk.lines[chat]) == 2)
    async with listening(visitor) as stream:
        await stream.next()
        await world.channel.send(chat, Part("Switch it off.", id=99))
        pings = 0  # it has looked for the line, and found none
        while pings < 3:
            pings += await stream.next_block() == ": ping"
        entry = world.desk.lines[chat][2]
        world.desk.lines[chat][99] = replace(entry, id=99, text="Switch it off.")
        name, told, event_id = await stream.next()
    assert (name, event_id) == ("entries", "99")
    assert "Switch it off." in str(told)


async def test_pages_per_visitor_are_bounded_and_forgotten_when_closed(
    world: World, visitor: httpx.AsyncClient
) -> None:
    await say(visitor, "hello")
    chat = world.desk.arrivals[0].chat
    async with AsyncExitStack() as pages:
        streams = [await pages.enter_async_context(listening(visitor)) for _ in range(10)]
        for stream in streams:
            await stream.next()
        answer = await visitor.get("/chat/events")
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many_pages")
    await until(lambda: world.channel.listeners(chat) == 0)
    assert world.channel._rooms == {}


async def test_a_reply_to_a_closed_page_is_a_receipt_all_the_same(world: World) -> None:
    chat = Chat("web", "0" * 32)
    await world.desk.say(chat, Answer("later"))
    assert [entry.text for entry in await world.desk.entries(chat, 0)] == ["later"]


# Uploads that wait


@pytest.mark.parametrize("file_id", ["A" * 22, "../../../etc/passwd", "", "x/y", "\x00"])
async def test_an_upload_that_is_gone_says_so(world: World, file_id: str) -> None:
    with pytest.raises(FileUnavailable) as raised:
        await world.channel.fetch(Attachment(file_id))
    assert raised.value.code == "download_failed"


async def test_an_upload_is_kept_for_a_turn_that_runs_again_and_then_removed(
    world: World, visitor: httpx.AsyncClient
) -> None:
    world.desk.go.clear()
    await say(visitor, "", JPEG)
    attachment = world.desk.arrivals[0].attachment
    assert attachment is not None
    await world.channel.fetch(attachment)
    await world.channel.spool.sweep()
    assert await world.channel.fetch(attachment) == JPEG

    path = world.spool / attachment.file_id
    later = path.stat().st_mtime - 601
    os.utime(path, (later, later))
    await world.channel.spool.sweep()
    with pytest.raises(FileUnavailable):
        await world.channel.fetch(attachment)


async def test_an_upload_nobody_took_is_removed_after_a_day(world: World) -> None:
    for name, hours in (("A" * 22, 25), ("B" * 22, 23)):
        (world.spool / name).write_bytes(b"x")
        then = time.time() - hours * 3600
        os.utime(world.spool / name, (then, then))
    await world.channel.spool.sweep()
    assert [path.name for path in world.spool.iterdir()] == ["B" * 22]


async def test_uploads_are_readable_by_the_bot_alone(world: World) -> None:
    assert world.spool.stat().st_mode & 0o077 == 0
