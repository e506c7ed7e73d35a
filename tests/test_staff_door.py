"""The console over plain HTTP: who gets in, what is refused, and that customers' words do nothing."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from starlette.routing import Route

from bot.web.console import Console
from context.console.accounts import FAILURES_PER_ACCOUNT, Account, Role
from context.console.listing import Listing
from context.feedback import Feedbacks
from context.turns import Chat
from tests.ac_panel import as_jpeg, draw_plate
from tests.staff_world import (
    BLOCKED,
    CHAT,
    EVIL,
    HOSTILE,
    PASSWORD,
    PAYLOADS,
    WAITING,
    Desk,
    active,
    open_desk,
)
from tests.web_world import browse

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("desk")) as opened:
        yield opened


async def test_nobody_gets_in_without_signing_in(desk: Desk) -> None:
    async with browse(desk.url) as client:
        for path in ("/staff", f"/staff/c/{CHAT.key}", "/staff/list", "/staff/live", "/staff/turn/1"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["location"]) == (
                303,
                f"/staff/login?next={quote(path, safe='')}",
            )
        headers = {"HX-Request": "true", "HX-Current-URL": f"{desk.url}/staff/c/{CHAT.key}?chip=mine"}
        answer = await client.post(f"/staff/c/{CHAT.key}/say", headers=headers)
        back = quote(f"/staff/c/{CHAT.key}?chip=mine", safe="")
        assert (answer.status_code, answer.headers["hx-redirect"]) == (401, f"/staff/login?next={back}")
        assert (await client.post("/staff/logout")).status_code == 401
        client.cookies.set("staff", "A" * 43)
        assert (await client.get("/staff")).status_code == 303


async def test_the_cookie_is_out_of_reach(desk: Desk) -> None:
    form = {"name": "mei", "password": PASSWORD, "next": "//evil.example/"}
    async with browse(desk.url) as client:
        answer = await client.post("/staff/login", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/staff")
        assert "httponly" in answer.headers["set-cookie"].lower()
        assert "samesite=lax" in answer.headers["set-cookie"].lower()
        page = await client.get("/staff")
        assert page.headers["cache-control"] == "no-store"
        assert "unsafe" not in page.headers["content-security-policy"]
        assert active(page.text) == []
    async with browse(desk.url, x_forwarded_proto="https") as client:
        answer = await client.post("/staff/login", data=form)
        assert answer.headers["set-cookie"].startswith("__Host-staff=")
        assert "secure" in answer.headers["set-cookie"].lower()


async def test_a_wrong_name_and_a_wrong_password_look_and_take_the_same(desk: Desk) -> None:
    async with browse(desk.url) as client:
        took: dict[str, float] = {}
        pages: dict[str, str] = {}
        for name in ("vic", "nobody"):
            began = time.perf_counter()
            answer = await client.post("/staff/login", data={"name": name, "password": "wrong password"})
            took[name] = time.perf_counter() - began
            assert answer.status_code == 401
            pages[name] = answer.text
        assert pages["vic"] == pages["nobody"]
        assert min(took.values()) > 0.02  # argon2 ran both times


async def test_guessing_passwords_is_stopped(desk: Desk) -> None:
    async with browse(desk.url, x_forwarded_for="10.9.9.9") as client:
        wrong = {"name": "target", "password": "wrong password"}
        for _ in range(FAILURES_PER_ACCOUNT):
            assert (await client.post("/staff/login", data=wrong)).status_code == 401
        answer = await client.post("/staff/login", data=wrong)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "900")


async def test_other_sites_can_neither_sign_in_nor_act_for_staff(desk: Desk) -> None:
    form = {"name": "mei", "password": PASSWORD}
    async with browse(desk.url, sec_fetch_site="cross-site") as client:
        assert (await client.post("/staff/login", data=form)).status_code == 403
    async with desk.signed_in("mei") as mei:
        assert (await mei.client.post("/staff/language", data={"csrf": "guess"})).status_code == 403
        assert (await mei.client.post("/staff/language")).status_code == 403
        stranger = {"Sec-Fetch-Site": "cross-site", "X-CSRF-Token": mei.csrf}
        assert (await mei.client.post("/staff/language", headers=stranger)).status_code == 403
        assert (await mei.client.get("/staff/language")).status_code == 405
        assert (await mei.post("/staff/language")).status_code == 303
        assert '<html lang="zh"' in (await mei.client.get("/staff")).text
        assert (await mei.post("/staff/language")).status_code == 303


async def test_signing_out_everywhere_ends_every_session(desk: Desk) -> None:
    async with desk.signed_in("ana") as one, desk.signed_in("ana") as other:
        assert (await one.post("/staff/logout", everywhere="1")).status_code == 303
        assert (await one.client.get("/staff")).status_code == 303
        assert (await other.client.get("/staff")).status_code == 303


async def test_a_viewer_looks_and_does_nothing(desk: Desk) -> None:
    async with desk.signed_in("vic") as vic:
        assert (await vic.client.get(f"/staff/c/{CHAT.key}")).status_code == 200
        why = await vic.client.get(f"/staff/turn/{await newest_turn(desk)}")
        assert why.status_code == 200
        assert "/again" not in why.text
        answer = await vic.post(f"/staff/turn/{await newest_turn(desk)}/again", engine="rules")
        assert answer.status_code == 403
        assert "Your account may not do this." in answer.text


MAY: dict[str, Role | None] = {
    "GET /staff": "viewer",
    "GET /staff/access": "admin",
    "GET /staff/c/{chat}": "viewer",
    "GET /staff/c/{chat}/head": "viewer",
    "GET /staff/c/{chat}/pane": "viewer",
    "GET /staff/c/{chat}/photos/{sha256}.jpg": "viewer",
    "GET /staff/c/{chat}/photos/{sha256}/text": "viewer",
    "GET /staff/c/{chat}/thread": "viewer",
    "GET /staff/export": "admin",
    "GET /staff/figures": "viewer",
    "GET /staff/forget": "admin",
    "GET /staff/list": "viewer",
    "GET /staff/live": "viewer",
    "GET /staff/login": None,
    "GET /staff/review": "agent",
    "GET /staff/turn/{turn:int}": "viewer",
    "POST /staff/c/{chat}/back": "agent",
    "POST /staff/c/{chat}/canned": "agent",
    "POST /staff/c/{chat}/done": "agent",
    "POST /staff/c/{chat}/flag": "agent",
    "POST /staff/c/{chat}/say": "agent",
    "POST /staff/c/{chat}/suggest": "agent",
    "POST /staff/c/{chat}/take": "agent",
    "POST /staff/export": "admin",
    "POST /staff/forget": "admin",
    "POST /staff/language": "viewer",
    "POST /staff/login": None,
    "POST /staff/logout": "viewer",
    "POST /staff/turn/{turn:int}/again": "agent",
    "POST /staff/turn/{turn:int}/refuse": "agent",
    "POST /staff/turn/{turn:int}/release": "agent",
    "POST /staff/turn/{turn:int}/review": "agent",
    "POST /staff/views": "viewer",
    "POST /staff/views/drop": "viewer",
}
"""Every address of the console, and who may use it at the least; None for the door itself."""
GUARDED = {address: role for address, role in MAY.items() if role}
POSTS = [address.removeprefix("POST ") for address in GUARDED if address.startswith("POST")]
NOWHERE = {"{chat}": "telegram:999999", "{sha256}": "0" * 64, "{turn:int}": "999999"}
"""What is not there, so that nothing happens where somebody is let in."""
ODD = ("telegram:", "nonsense", "..%2f..%2fbot.db", "%00", "1%27%20OR%201=1--", "x" * 3000, "%ef%bc%8e%2e")


def at(path: str, places: Mapping[str, str] = NOWHERE) -> str:
    """A path of the table with something in its places."""
    for place, value in places.items():
        path = path.replace(place, value)
    return path


async def status_of(client: httpx.AsyncClient, address: str, **options: Any) -> int:
    """What an address answers; its body is not waited for, since one of them never ends."""
    method, path = address.split(" ")
    async with client.stream(method, at(path), **options) as answer:
        return answer.status_code


async def test_every_address_of_the_console_is_in_the_table(desk: Desk) -> None:
    app, unused = desk.world.app, cast("Any", None)  # a list of addresses asks nothing of what answers there
    console = Console(
        db=app.stores.db,
        transcripts=app.stores.transcripts,
        photos=app.stores.photos,
        handoffs=app.stores.handoffs,
        desk=app.desk,
        erasure=app.stores.erasure,
        spool=unused,
        packs=unused,
        exporter=unused,
        exports=unused,
        retrace=unused,
        second_look=unused,
        readings=unused,
    )
    routes = [route for route in console.routes() if isinstance(route, Route)]
    assert len(routes) == len(console.routes())
    served = {f"{way} {route.path}" for route in routes for way in (route.methods or ()) if way != "HEAD"}
    assert served == MAY.keys()


@pytest.mark.parametrize(("name", "role"), [("vic", "viewer"), ("mei", "agent"), ("ana", "admin")])
async def test_a_role_opens_its_addresses_and_no_others(desk: Desk, name: str, role: Role) -> None:
    form = {"engine": "none", "number": "1", "chat": "telegram:999999"}
    async with desk.signed_in(name) as one:
        given = {"data": form, "headers": {"X-CSRF-Token": one.csrf}}
        for address, needed in sorted(GUARDED.items(), key=lambda item: item[0].endswith("logout")):
            status = await status_of(one.client, address, **(given if address.startswith("POST") else {}))
            assert (status != 403) == Account(name, role).may(needed), (address, status)
            assert status in {200, 303, 400, 403, 404}, (address, status)
        assert await status_of(one.client, "GET /staff") == 303  # signed out by the last of them
    async with desk.signed_in(name) as one:
        assert (await one.post("/staff/language")).status_code == 303  # as it was


@pytest.mark.parametrize("cookie", ["", "A" * 43, "'; DROP TABLE staff; --"])
async def test_strangers_get_nowhere(desk: Desk, cookie: str) -> None:
    async with browse(desk.url, sec_fetch_site="same-origin", cookie=f"staff={cookie}") as client:
        for address in GUARDED:
            assert await status_of(client, address) == (401 if address.startswith("POST") else 303), address


async def test_nothing_is_done_for_another_site_or_without_the_pages_token(desk: Desk) -> None:
    async with desk.signed_in("ana") as ana, desk.signed_in("mei") as mei:
        for path in POSTS:
            for headers in (
                {},
                {"X-CSRF-Token": mei.csrf},
                {"X-CSRF-Token": ana.csrf, "Sec-Fetch-Site": "cross-site"},
                {"X-CSRF-Token": ana.csrf, "Sec-Fetch-Site": "same-site"},
                {"X-CSRF-Token": ana.csrf, "Sec-Fetch-Site": "", "Origin": "https://evil.example"},
            ):
                answer = await ana.client.post(at(path), data={"x": ""}, headers=headers)
                assert answer.status_code == 403, (path, headers)
            if f"GET {path}" not in MAY:  # a link changes nothing
                assert (await ana.client.get(at(path))).status_code == 405, path


async def test_more_than_a_form_holds_is_not_read(desk: Desk) -> None:
    async with desk.signed_in("ana") as ana:
        for path in POSTS:
            if not path.endswith("/say"):  # takes pictures: tests/test_road_web.py
                answer = await ana.post(at(path), words="x" * 70_000)
                assert answer.status_code == 413, path


async def test_odd_addresses_are_not_there_and_odd_questions_harmless(desk: Desk) -> None:
    names = ("q", "chip", "chat", "after", "before", "turn", "days", "since", "until", "model", "next")
    async with desk.signed_in("ana") as ana:
        for path in (address.removeprefix("GET ") for address in MAY if address.startswith("GET")):
            for odd in ODD if "{" in path else ():
                answer = await ana.client.get(at(path, dict.fromkeys(NOWHERE, odd)))
                assert answer.status_code in {404, 405}, (path, odd)
            if path != "/staff/live":
                asked = dict.fromkeys(names, HOSTILE + "9" * 400)
                answer = await ana.client.get(at(path), params=asked, follow_redirects=True)
                assert answer.status_code in {200, 404}, path
                assert active(answer.text) == [], path


async def test_photos_are_only_shown_in_their_own_chat_and_who_opened_one_is_on_record(desk: Desk) -> None:
    async with desk.signed_in("mei") as mei:
        page = (await mei.client.get(f"/staff/c/{CHAT.key}")).text
        photo = re.search(r'href="(/staff/c/[^"]+\.jpg)"', page)
        assert photo
        sha256 = photo[1].rpartition("/")[2].removesuffix(".jpg")
        assert (await mei.client.get(photo[1])).headers["content-type"] == "image/jpeg"
        for path in (
            f"/staff/c/{BLOCKED.key}/photos/{sha256}.jpg",
            f"/staff/c/{CHAT.key}/photos/..%2f..%2fbot.db.jpg",
            f"/staff/c/{CHAT.key}/photos/%2e%2e%2f%2e%2e%2faudit.key.jpg",
            "/staff/c/nonsense/pane",
            "/staff/c/telegram:999999/pane",
            "/staff/turn/999999",
            f"/staff/turn/{2**64}",
            "/static/..%2f..%2fapp%2fstores.py",
        ):
            assert (await mei.client.get(path)).status_code == 404, path
    accesses = await desk.staff.accesses(CHAT.key)
    assert ("mei", "photo", sha256) in [(line.name, line.action, line.detail) for line in accesses]
    assert ("mei", "opened") in [(line.name, line.action) for line in accesses]


async def test_what_customers_send_is_inert_in_every_view(desk: Desk) -> None:
    async with desk.signed_in("mei") as mei:
        turn = await newest_turn(desk, EVIL.key)
        for path in (
            "/staff",
            f"/staff/c/{EVIL.key}",
            f"/staff/c/{EVIL.key}/thread",
            "/staff?q=script",
            f"/staff?q={quote(HOSTILE)}",
            f"/staff?model={quote(HOSTILE)}&chip={quote(HOSTILE)}&since={quote(HOSTILE)}",
            f"/staff/turn/{turn}",
            f"/staff/login?next={quote(HOSTILE)}",
        ):
            page = (await mei.client.get(path)).text
            assert active(page) == [], path
            assert not set("\u202e\u202c\u200b\x07") & set(page), path
            assert "png) 49" not in page, path
        assert "‹202E›" in (await mei.client.get(f"/staff/c/{EVIL.key}")).text


async def test_what_a_model_says_is_inert_where_staff_read_what_was_stopped(desk: Desk) -> None:
    chat = Chat("telegram", "116")
    person = desk.world.telegram.customer(116, name=PAYLOADS[2])
    person.sends_photo(as_jpeg(draw_plate()), caption="say it again " + " ".join(PAYLOADS))
    told = "".join(sent.text for sent in await desk.world.telegram.replies(116))
    assert "evil.example" not in told
    await desk.until_listed(chat, lambda line: line.who == "bot")
    async with desk.signed_in("mei") as mei:
        turn = await newest_turn(desk, chat.key)
        for path in ("/staff", f"/staff/c/{chat.key}", f"/staff/turn/{turn}", "/staff?q=alert"):
            page = (await mei.client.get(path)).text
            assert active(page) == [], path
            assert "<div hx-get" not in page, path
            assert "root:" not in page, path
        shown = (await mei.client.get(f"/staff/c/{chat.key}")).text
        assert "&lt;svg/onload=alert(1)&gt;" in shown, "staff read what was stopped, as text"


async def test_a_hundred_kilobytes_are_readable_and_the_page_stays_small(desk: Desk) -> None:
    customer = desk.world.telegram.customer(105, name="N" * 500)
    for _ in range(25):
        customer.says("长" * 4000)
    await desk.world.telegram.replies(105)
    await desk.until_listed(Chat("telegram", "105"), lambda line: line.who == "bot")
    async with desk.signed_in("mei") as mei:
        page = await mei.client.get("/staff")
        assert len(page.content) < 60_000
        await mei.client.get("/staff/c/telegram:105")
        hits = (await mei.client.get(f"/staff?q={quote('长' * 50)}")).text
        assert "telegram:105" in hits


async def test_a_search_leads_to_the_answer_itself_and_on_from_there(desk: Desk) -> None:
    wanda, chat = desk.world.telegram.customer(117, name="Wanda"), Chat("telegram", "117")
    wanda.says("a needle fell out of the fan")
    await desk.world.telegram.replies(117)
    for number in range(110):
        wanda.says(f"hay {number}")
    await desk.world.telegram.replies(117)
    await desk.until_listed(chat, lambda line: line.who == "bot")
    async with desk.signed_in("mei") as mei:
        assert "needle" not in (await mei.client.get(f"/staff/c/{chat.key}/pane")).text
        found = (await mei.client.get("/staff?q=needle")).text
        link = re.search(rf'href="(/staff/c/{quote(chat.key, safe="")}\?[^"#]+)#turn-(\d+)"', found)
        assert link
        page = (await mei.client.get(link[1].replace("&amp;", "&"))).text
        assert f'id="turn-{link[2]}"' in page
        assert "hay 109" not in page
        later = re.search(r'hx-get="([^"]+thread\?since=\d+)"', page)
        assert later
        rest = (await mei.client.get(later[1])).text
        assert "hay 109" in rest
        assert "data-end" in rest


async def test_every_page_offers_the_other_language_and_the_other_theme(desk: Desk) -> None:
    pages = ["", "/login", "/review", "/figures", "/export", "/forget", "/access", "/c/telegram:999999"]
    async with desk.signed_in("ana") as ana:
        for path in pages:
            page = (await ana.client.get(f"/staff{path}")).text
            assert 'id="theme"' in page, path
            assert ">中文</button>" in page, path
        answer = await ana.client.get("/staff/login?next=/staff/figures&language=zh")
        assert "登录" in answer.text
        assert answer.headers["set-cookie"].startswith("console-language=zh;")


async def test_the_first_page_is_one_small_answer(desk: Desk) -> None:
    async with desk.signed_in("mei") as mei:
        page = await mei.client.get("/staff")
        sizes = {"/staff": len(page.content)}
        for path in re.findall(r'(?:src|href)="(/static/[^"#]+)"', page.text):
            answer = await mei.client.get(path)
            sizes[path] = int(answer.headers["content-length"])
        assert sizes["/staff"] < 60_000
        assert sum(sizes.values()) < 60_000, sizes


async def test_rows_come_live_and_none_is_missed_after_a_broken_line(desk: Desk) -> None:
    listing = Listing(desk.world.app.stores.db)
    revision = f"{await listing.revision()}.{await listing.erasures()}"
    customer = desk.world.telegram.customer(106, name="Zoe")
    async with desk.signed_in("mei") as mei:
        async with mei.client.stream("GET", f"/staff/live?after={revision}") as stream:
            customer.says("hello there")
            event = await next_event(stream.aiter_lines(), "row-telegram:106")
        customer.says("while nobody listened")
        await desk.world.telegram.replies(106)
        headers = {"Last-Event-ID": event["id"]}
        async with mei.client.stream("GET", "/staff/live", headers=headers) as stream:
            event = await next_event(stream.aiter_lines(), "row-telegram:106")
        async with mei.client.stream("GET", f"/staff/live?chip=waiting&after={revision}") as stream:
            await next_event(stream.aiter_lines(), '"telegram:106"]')


async def test_an_erased_customer_is_told_to_no_console_that_comes_back(desk: Desk) -> None:
    listing, vera = Listing(desk.world.app.stores.db), Chat("telegram", "111")
    before = f"{await listing.revision()}.{await listing.erasures()}"
    async with desk.signed_in("ana") as ana:
        async with ana.client.stream("GET", f"/staff/live?after={before}") as stream:
            lines = stream.aiter_lines()
            desk.world.telegram.customer(111, name="Vera").says("hello")
            event = await next_event(lines, "row-telegram:111")
            await desk.world.telegram.replies(111)
            await desk.until_listed(vera, lambda line: line.who == "bot")
            answer = await ana.post("/staff/forget", chat=vera.key, number="111")
            assert answer.status_code == 200
            assert (await next_event(lines, "1", "reload"))["event"] == "reload"
        for told in (before, event["id"]):
            async with ana.client.stream("GET", f"/staff/live?after={told}") as stream:
                event = await next_event(stream.aiter_lines(), "")
                assert (event["event"], event["data"]) == ("reload", "1")
        page = (await ana.client.get("/staff")).text
        assert "telegram:111" not in page


async def next_event(lines: AsyncIterator[str], words: str, kind: str = "") -> dict[str, str]:
    """The next event in which these words stand, of this kind or of any."""
    event: dict[str, str] = {}
    async for line in lines:
        if not line and words in event.get("data", "") and "data" in event and kind in event["event"]:
            return event
        name, _, value = line.partition(": ")
        event[name] = value
    raise AssertionError("the stream ended")


async def newest_turn(desk: Desk, chat: str = CHAT.key) -> int:
    async with desk.signed_in("mei") as mei:
        page = (await mei.client.get(f"/staff/c/{chat}")).text
    return int(re.findall(r'hx-get="/staff/turn/(\d+)"', page)[-1])


async def test_stopped_drafts_and_fixed_words_are_part_of_the_conversation(desk: Desk) -> None:
    async with desk.signed_in("mei") as mei:
        page = (await mei.client.get(f"/staff/c/{BLOCKED.key}")).text
        assert "full refund of 300 yuan" in page
        assert "not sent" in page
        why = (await mei.client.get(f"/staff/turn/{await newest_turn(desk, BLOCKED.key)}")).text
        assert "promise." in why
        assert "<mark title=" in why
        waiting = (await mei.client.get(f"/staff/c/{WAITING.key}")).text
        assert "/human" in waiting
        assert "In short" in waiting


async def test_the_review_queue_goes_on_where_it_was(desk: Desk) -> None:
    async with desk.signed_in("mei") as mei:
        first = (await mei.client.get("/staff/review?days=1")).text
        turn = re.search(r'action="/staff/turn/(\d+)/review"', first)
        assert turn
        fields = {"thumb": "down", "why-wrong_code": "1", "correction": "It is E6.", "days": "1"}
        answer = await mei.post(f"/staff/turn/{turn[1]}/review", **fields)
        assert (answer.status_code, answer.headers["location"]) == (303, "/staff/review?days=1")
        following = (await mei.client.get("/staff/review?days=1")).text
        assert f"/staff/turn/{turn[1]}/review" not in following
        assert "1 of " in following
        await desk.until_listed(CHAT, lambda line: line.down)
        thread = (await mei.client.get(f"/staff/c/{CHAT.key}/thread")).text
        assert "It is E6." in thread
        assert "wrong code" in thread
        too_long = await mei.post(f"/staff/turn/{turn[1]}/review", note="x" * 8001)
        assert too_long.status_code == 413
    async with desk.signed_in("ana") as ana:
        assert "1 up" not in (await ana.client.get("/staff/figures?days=1")).text
        assert "mei: bad" in (await ana.client.get("/staff/review?days=1")).text
        assert "took" not in (await ana.client.get(f"/staff/access?chat={CHAT.key}")).text
    async with desk.signed_in("vic") as vic:
        assert (await vic.client.get("/staff/review")).status_code == 403
        assert (await vic.client.get("/staff/access")).status_code == 403
        assert (await vic.client.get("/staff/figures?days=1")).status_code == 200


async def test_canned_and_suggested_replies_are_filled_in_and_not_sent(desk: Desk) -> None:
    sent = len(desk.world.telegram.sent_to(101))
    async with desk.signed_in("mei") as mei:
        filled = (await mei.post(f"/staff/c/{CHAT.key}/canned", canned="hello", text="Well.", once="1")).text
        assert re.search(r"<textarea[^>]*>Well\.\n[^<]*Lin Wei|<textarea[^>]*>Well\.\n[^<]*mei", filled)
        suggested = (await mei.post(f"/staff/c/{CHAT.key}/suggest", text="", once="1")).text
        assert "KFR-35GW" in suggested
    assert len(desk.world.telegram.sent_to(101)) == sent


async def test_what_customers_say_of_an_answer_stands_below_it(desk: Desk) -> None:
    turn = await newest_turn(desk)
    await Feedbacks(desk.world.app.stores.db).keep(CHAT, turn, "fixed", "down")
    await desk.until_listed(CHAT, lambda line: line.down)
    async with desk.signed_in("mei") as mei:
        thread = (await mei.client.get(f"/staff/c/{CHAT.key}/thread")).text
        assert "the customer says that it is not fixed" in thread


async def test_a_prompt_is_made_again_to_the_last_character(desk: Desk) -> None:
    async with desk.signed_in("mei") as mei:
        why = (await mei.client.get(f"/staff/turn/{await newest_turn(desk)}")).text
        assert "the same to the last character" in why
        assert "Our bedroom AC stopped cooling" in why
        sent = len(desk.world.telegram.sent_to(101))
        again = await mei.post(f"/staff/turn/{await newest_turn(desk)}/again", engine="rules", version="x")
        assert again.status_code == 400
        version = re.search(r"<option[^>]*>(support@\w+)</option>", why)
        assert version
        again = await mei.post(
            f"/staff/turn/{await newest_turn(desk)}/again", engine="stub-model", version=version[1]
        )
        assert "the plate says KFR-35GW" in again.text
        assert 'value="other-model"' in why
        again = await mei.post(
            f"/staff/turn/{await newest_turn(desk)}/again", engine="other-model", version=version[1]
        )
        assert "the plate says KFR-35GW" in again.text
        assert desk.world.model.requests[-1].body["model"] == "other-model"
        assert len(desk.world.telegram.sent_to(101)) == sent
