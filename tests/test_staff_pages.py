"""The console in a real Chromium: what staff see and do all day."""

from __future__ import annotations

import asyncio
import io
import os
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, expect

from context.feedback import Feedbacks
from context.follow_ups import FollowUps
from context.turns import Chat
from tests.ac_panel import as_jpeg, draw_panel
from tests.chromium import needs_chromium, open_browser, open_tab
from tests.staff_day import FANG, LIN, open_day
from tests.staff_world import BLOCKED, CHAT, PASSWORD, WAITING, Desk, open_desk
from tests.until import until

pytestmark = [needs_chromium, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

DESKTOP: Any = {"width": 1440, "height": 900}
KEPT = "import('/static/kept.js').then(({kept}) => kept('')).then((found) => found.length)"
_GAP = "one.scrollHeight - one.scrollTop - one.clientHeight"
AT_END = f"() => {{ const one = document.getElementById('scroll'); return {_GAP} < 2; }}"
PHONE: Any = {"width": 390, "height": 780}
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("desk")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@asynccontextmanager
async def at_work(
    browser: Browser,
    desk: Desk,
    name: str = "mei",
    path: str = "/staff",
    *,
    refused: bool = False,
    **options: Any,
) -> AsyncIterator[Page]:
    """A tab of somebody who has signed in; it may neither complain nor ask another host for anything."""
    options = {"locale": "en-GB", "viewport": DESKTOP, "timezone_id": "Asia/Shanghai"} | options
    async with open_tab(browser, desk.url + path, **options) as (page, watch):
        await sign_in(page, name)
        await expect(page.locator("#line")).to_have_attribute("data-state", "online")
        yield page
        if refused:  # the browser reports every refusal
            watch.complaints = [told for told in watch.complaints if "Failed to load resource" not in told]
        watch.check()


async def sign_in(page: Page, name: str) -> None:
    await page.fill("[name=name]", name)
    await page.fill("[name=password]", PASSWORD)
    await page.press("[name=password]", "Enter")


def row(page: Page, chat: Chat) -> Locator:
    return page.locator(f'#rows [data-chat="{chat.key}"]')


async def are_kept(page: Page, photos: int) -> bool:
    """Whether the browser keeps so many photos for a reply that is not sent yet."""
    return bool(await page.evaluate(KEPT) == photos)


async def settled(page: Page) -> None:
    """Every photo that can be seen is there."""
    await expect(page.locator("#thread img").first).to_have_js_property("complete", True)
    await asyncio.sleep(0.3)


async def test_login(browser: Browser, desk: Desk) -> None:
    async with open_tab(browser, f"{desk.url}/staff/c/{CHAT.key}", locale="en-GB") as (page, watch):
        await expect(page.get_by_role("heading", name="Staff console")).to_be_visible()
        await page.get_by_role("button", name="中文").click()
        await page.get_by_role("button", name="EN").click()  # the other one now: it is Chinese
        await page.get_by_role("button", name="Light or dark").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.fill("[name=name]", "mei")
        await page.fill("[name=password]", "wrong password")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
        assert problems(await Axe().run(page, options=RULES)) == []
        watch.complaints.clear()  # the browser reports the status of that page
        await sign_in(page, "mei")
        await expect(page.locator("#chat-name")).to_have_text("Lin Wei")  # where the link led
        photo = {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": as_jpeg(draw_panel("E6"))}
        await page.set_input_files("#composer [type=file]", photo)  # type: ignore[arg-type]
        await expect(page.locator("#chosen img")).to_have_count(1)
        await page.goto(f"{desk.url}/staff/figures")
        await page.locator(".me summary").click()
        await page.get_by_role("button", name="Sign out", exact=True).click()
        await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        assert await page.evaluate(KEPT) == 0, "nothing is left behind in the browser"
        watch.check()


async def test_handoff(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk) as mei, at_work(browser, desk, "ana") as ana:
        await ana.goto(f"{desk.url}/staff/c/{WAITING.key}")
        before = int(await mei.locator("[data-chip=waiting] .count").inner_text())
        await expect(mei).to_have_title(f"({before}) Staff console")  # seen in another tab
        await mei.locator("[data-chip=waiting]").click()
        desk.world.telegram.customer(118, name="Later").says("/human")
        last = mei.locator("#rows .row").last.locator("b")  # the longest wait comes first
        await expect(last).to_have_text("Later")
        await desk.world.telegram.replies(118)
        await mei.reload()
        await expect(last).to_have_text("Later")
        before += 1
        await row(mei, WAITING).locator("a").click()
        await mei.get_by_role("button", name="Take over").dblclick()
        await expect(mei.locator("#head")).to_contain_text("mei has it")
        await expect(ana.locator("#head")).to_contain_text("mei has it")  # without a reload
        await expect(ana).to_have_title(f"({before - 1}) Staff console" if before > 1 else "Staff console")
        asked = desk.world.model.received
        desk.world.telegram.customer(103, name="方女士", language="zh").says("有人吗？")
        await expect(ana.locator("#thread")).to_contain_text("有人吗？")
        await mei.get_by_role("button", name="Hand back").click()
        await expect(mei.locator(".notice").last).to_have_text("The assistant answers again.")
        assert desk.world.model.received == asked


async def test_release(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk) as mei, at_work(browser, desk, "ana", refused=True) as ana:
        for page in (mei, ana):
            await page.goto(f"{desk.url}/staff/c/{BLOCKED.key}")
            await expect(page.locator(".held-card textarea")).to_have_value(re.compile("full refund"))
        words = "Thank you, Ben. I am looking into it and write to you here."
        await mei.locator(".held-card textarea").fill(words)
        await mei.get_by_role("button", name="Release").click()
        (reply,) = await desk.world.telegram.replies(102)
        assert reply.text == words
        await expect(mei.locator(".held-card")).to_contain_text("Released by mei")
        await ana.evaluate("document.querySelector('.held-card .main')?.click()")  # her page may be behind
        await expect(ana.locator(".held-card")).to_contain_text("Released by mei")
        assert [sent.text for sent in desk.world.telegram.sent_to(102)].count(words) == 1


async def test_a_person_writes_and_the_assistant_is_silent(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk) as page:
        await page.goto(f"{desk.url}/staff/c/{CHAT.key}")
        await page.keyboard.press("r")
        await page.keyboard.type("This is Mei. I will guarantee a refund of 300 yuan.")
        for code in ("E6", "E7"):
            photo = {"name": f"{code}.jpg", "mimeType": "image/jpeg", "buffer": as_jpeg(draw_panel(code))}
            await page.set_input_files("#composer [type=file]", photo)  # type: ignore[arg-type]
        await expect(page.locator("#chosen img")).to_have_count(2)
        await page.wait_for_function(AT_END)  # the photos take room from the conversation
        await page.get_by_role("button", name="Remove the photo E7.jpg").click()
        await until(partial(are_kept, page, 1))
        await page.reload()
        await expect(page.locator("#chosen img")).to_have_count(1)
        assert await are_kept(page, 1)
        await page.locator("#reply").press("Control+Enter")
        await expect(page.locator("#composer")).to_contain_text("The guard's rules would stop this:")
        await page.fill("#reply", "This is Mei. Is the breaker off?")
        await page.get_by_role("button", name="Send all the same").dblclick()
        await expect(page.locator("#thread .staff").last.locator("img")).to_be_visible()
        await expect(page.locator("#head")).to_contain_text("mei has it")
        await expect(page.locator("#reply")).to_have_value("")
        await expect(page.locator("#chosen img")).to_have_count(0)
        assert [sent.text for sent in desk.world.telegram.sent_to(101)].count(
            "This is Mei. Is the breaker off?"
        ) == 1
        asked = desk.world.model.received
        desk.world.telegram.customer(101, name="Lin Wei").says("Yes, it is off.")
        await expect(page.locator("#thread")).to_contain_text("Yes, it is off.")
        await page.keyboard.press("Escape")
        await page.keyboard.press("n")
        await page.keyboard.type("Nice customer.")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator(".remark").last).to_contain_text("Nice customer.")
        await page.get_by_role("button", name="Hand back").click()
        await expect(page.locator("#head")).not_to_contain_text("mei has it")
        assert desk.world.model.received == asked


async def test_words_not_sent_yet_outlive_filters_and_other_conversations(
    browser: Browser, desk: Desk
) -> None:
    async with at_work(browser, desk, path=f"/staff/c/{CHAT.key}") as page:
        await page.fill("#reply", "Dear Lin,")
        await page.locator("[data-chip=photo]").click()
        await expect(page.locator("[data-chip=photo]")).to_have_attribute("aria-current", "true")
        await expect(page.locator("#chat-name")).to_have_text("Lin Wei")
        await expect(page.locator("#reply")).to_have_value("Dear Lin,")
        await row(page, WAITING).locator("a").click()
        await expect(page.locator("#chat-name")).to_have_text("方女士")
        await expect(page.locator("#reply")).to_have_value("")
        await page.go_back()
        await expect(page.locator("#reply")).to_have_value("Dear Lin,")
        await page.select_option("[name=canned]", "hello")
        await expect(page.locator("#reply")).to_have_value(re.compile("^Dear Lin,\n.+"))
        await page.reload()
        await expect(page.locator("#reply")).to_have_value(re.compile("^Dear Lin,\n.+"))
        await page.keyboard.press("Escape")
        await page.keyboard.press("n")
        await page.keyboard.type("Asked twice.")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("#note")).to_have_value("")
        await page.fill("#reply", "")
        await page.reload()
        await expect(page.locator("#reply")).to_have_value("")
        assert await page.evaluate("Object.keys(sessionStorage)") == ["writer"]
        await page.fill("#reply", "For mei's eyes")
        await page.context.clear_cookies()
        await page.reload()
        await sign_in(page, "ana")
        await expect(page.locator("#reply")).to_have_value("")


async def test_a_photo_that_an_answer_names_is_the_one_of_its_own_case(browser: Browser, desk: Desk) -> None:
    uma = desk.world.telegram.customer(110, name="Uma")
    for code in ("E4", "E6"):
        uma.sends_photo(as_jpeg(draw_panel(code)), caption="E4 display?")
        await desk.world.telegram.replies(110)
        uma.says("/reset")
        await desk.world.telegram.replies(110)
    async with at_work(browser, desk, path="/staff/c/telegram:110") as page:
        for case in (0, 1):
            await page.locator("[data-cite='1']").nth(case).click()
            await expect(page.locator("[data-photo='1']").nth(case)).to_be_focused()


async def test_a_stale_page_is_told_who_has_the_conversation(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk, refused=True) as page, desk.signed_in("ana") as ana:
        await page.goto(f"{desk.url}/staff/c/{CHAT.key}")
        await page.route("**/staff/c/*/head", lambda route: route.fulfill(status=204))  # unheard
        await ana.post(f"/staff/c/{CHAT.key}/take")
        async with page.expect_response("**/take") as answer:
            await page.evaluate("document.querySelector('[data-press=take]').click()")
        assert (await answer.value).status == 409
        await expect(page.locator(".notice").last).to_have_text("Somebody else has this conversation.")
        await ana.post(f"/staff/c/{CHAT.key}/back")
        await page.evaluate("document.querySelectorAll('.notice').forEach((n) => n.remove())")
        await page.unroute_all()


async def test_search(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk) as page:
        await page.keyboard.press("/")
        await page.keyboard.type("红灯")
        await page.keyboard.press("Enter")
        await expect(page.locator("#rows .hit")).to_have_count(1)
        await expect(page.locator("#rows mark").first).to_have_text("红灯")
        await page.locator("#rows .hit a").click()
        await expect(page.locator("#chat-name")).to_have_text("方女士")
        assert re.search(r"/staff/c/telegram%3A103\?q=", page.url)
        await page.fill("#q", "KFR-35GW plate")
        await page.press("#q", "Enter")
        await expect(page.locator("#rows .hit")).to_have_count(1)
        await page.fill("#q", "nothing like this")
        await page.press("#q", "Enter")
        await expect(page.locator("#rows .none")).to_have_text("Nothing found.")


async def test_lightbox(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk, path=f"/staff/c/{CHAT.key}") as page:
        await expect(page.locator("#thread .said").first.locator("a.photo")).to_have_count(2)  # one message
        await page.get_by_role("button", name="Side by side").click()
        await expect(page.locator("#lightbox-name")).to_have_text("Photo 1 · Photo 2")
        await page.keyboard.press("Escape")
        await page.locator("a.photo").first.click()
        figure = page.locator("#stage figure").first
        await expect(figure.locator("img")).to_be_visible()
        await page.keyboard.press("+")
        await page.keyboard.press("r")
        await expect(figure).to_have_attribute("style", re.compile(r"rotate\(90deg\) scale\(1\.3\)"))
        await page.locator("[data-do=beside]").click()
        await expect(page.locator("#stage figure")).to_have_count(2)
        await page.locator("#strip").get_by_label("Photo 1").click()
        await expect(page.locator("#lightbox-name")).to_have_text("Photo 1 · Photo 1")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#lightbox-name")).to_have_text("Photo 1 · Photo 2")
        await page.route("**/text", lambda route: route.fulfill(body="<p>a proxy's own page"))
        await page.get_by_role("button", name="Text on the photo").click()
        await expect(page.get_by_role("status").get_by_text("could not be read").first).to_be_visible()
        await page.unroute("**/text")
        await page.keyboard.press("t")
        await page.keyboard.press("t")
        await expect(page.locator("#stage polygon title").first).to_have_text(
            re.compile(r"\(\d+ %\)"), timeout=90_000
        )
        await page.keyboard.press("Escape")
        await expect(page.locator("#lightbox")).to_be_hidden()


async def test_the_whole_list_is_reached_by_keyboard(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk) as page:
        await page.keyboard.press("j")
        await expect(page.locator("#chat-name")).to_be_visible()
        first = await page.locator("#chat-name").inner_text()
        await page.keyboard.press("j")
        await expect(page.locator("#chat-name")).not_to_have_text(first)
        second = await page.locator("#chat-name").inner_text()
        await page.keyboard.press("k")
        await expect(page.locator("#chat-name")).to_have_text(first)
        await page.keyboard.press("f")
        await expect(page.locator("#head")).to_contain_text("flagged by mei")
        await page.keyboard.press("e")
        await expect(page.locator("#head")).not_to_contain_text("flagged by mei")
        await page.keyboard.press("w")
        await expect(page.locator(".why-pane")).to_be_visible()
        await page.keyboard.press("?")
        await expect(page.get_by_role("heading", name="Keyboard")).to_be_visible()
        await page.keyboard.press("Escape")
        await page.go_back()
        await expect(page.locator("#chat-name")).to_have_text(second)


async def test_a_new_row_does_not_wait_for_the_look_of_consoles_that_nobody_has_open(
    browser: Browser, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.console.live.LOOK_SELDOM_S", 3600.0)
    async with at_work(browser, desk) as page:
        desk.world.telegram.customer(107, name="Quick").says("hello")
        await expect(page.locator("#rows .row").first.locator("b")).to_have_text("Quick")


async def test_hostile_words_do_nothing_in_the_browser(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk, path="/staff/c/telegram:104") as page:
        await page.locator(".why").last.click()
        await expect(page.locator(".why-pane")).to_be_visible()
        assert re.fullmatch(r"(\(\d+\) )?Staff console", await page.title())
        await expect(page.locator("#thread")).to_contain_text("![x](http://evil.example/pixel.png)")


async def test_a_view_is_saved_and_found_again(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk, path="/staff?chip=photo") as page:
        await page.get_by_text("Save this view").click()
        await page.fill("[name=title]", "With photos")
        await page.get_by_role("button", name="Save", exact=True).click()
        await page.goto(f"{desk.url}/staff")
        await page.get_by_role("link", name="With photos").click()
        chip = page.get_by_role("link", name="Photos", exact=True)
        await expect(chip).to_have_attribute("aria-current", "true")
        await page.get_by_role("button", name="Remove the view With photos").click()
        await expect(page.get_by_role("link", name="With photos")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_read_and_use_it(browser: Browser, desk: Desk, scheme: str) -> None:
    async with at_work(browser, desk, color_scheme=scheme, path=f"/staff/c/{CHAT.key}") as page:
        await page.locator(".why").last.click()
        await expect(page.locator(".why-pane")).to_be_visible()
        assert problems(await Axe().run(page, options=RULES)) == []
        await page.keyboard.press("?")
        assert problems(await Axe().run(page, options=RULES)) == []


async def ask_whether_it_worked(desk: Desk) -> None:
    """Two customers were asked; one says that it did, the other nothing."""
    db = desk.world.app.stores.db
    for chat, is_fixed in ((CHAT, True), (BLOCKED, False)):
        turn = await db.read(
            lambda connection, chat=chat: connection.execute(  # type: ignore[misc]
                sa.text("SELECT MIN(id) FROM turns WHERE chat = :chat"), {"chat": chat.key}
            ).scalar_one()
        )
        asking = FollowUps(db).asking(chat, turn)
        await db.write(lambda connection, asking=asking: asking(connection, db.now(connection)))  # type: ignore[misc]
        if is_fixed:
            await Feedbacks(db).keep(chat, turn, "fixed", "up")


async def test_reviews_are_given_by_keyboard_and_figures_are_drawn(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk, "ana") as page:
        await page.goto(f"{desk.url}/staff/review?days=1")
        await page.keyboard.press("2")
        await page.get_by_text("wrong code").click()
        assert problems(await Axe().run(page, options=RULES)) == []
        await page.get_by_role("button", name="Save and next").click()
        await expect(page.locator(".progress")).to_contain_text("1 of ")
        await ask_whether_it_worked(desk)
        await page.goto(f"{desk.url}/staff/figures")
        await expect(page.get_by_role("row", name="E4 1 1 0 0")).to_be_visible()
        await expect(page.locator(".strip .fixed")).to_have_count(1)
        await expect(page.locator(".strip .silent")).to_have_count(1)
        await expect(page.locator(".chart .model")).to_have_count(1)
        await expect(page.locator(".table").first).to_contain_text("nobody wrote")
        await page.get_by_role("button", name="Light or dark").click()
        await page.reload()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert problems(await Axe().run(page, options=RULES)) == []


async def test_export(browser: Browser, desk: Desk) -> None:
    async with at_work(browser, desk, "ana") as page:
        await page.goto(f"{desk.url}/staff/export?chat={CHAT.key}")
        assert problems(await Axe().run(page, options=RULES)) == []
        await page.get_by_text("Photos", exact=True).click()
        async with page.expect_download() as waiting:
            await page.get_by_role("button", name="Export").click()
        path = await (await waiting.value).path()
        with zipfile.ZipFile(path) as archive:
            assert "Our bedroom AC stopped cooling" in archive.read("messages.jsonl").decode()
            assert "telegram:101" not in archive.read("messages.csv").decode()  # masked
            assert len(zipfile.ZipFile(io.BytesIO(archive.read("photos.zip"))).namelist()) >= 2
        folder = desk.world.app.stores.db.name.removeprefix("sqlite:///")
        await until(lambda: list((Path(folder).parent / "exports").iterdir()) == [])


async def test_forget(browser: Browser, desk: Desk) -> None:
    gus = desk.world.telegram.customer(108, name="Gustav Holst")
    gus.sends_photo(as_jpeg(draw_panel("E9")), caption="erase me")
    await desk.world.telegram.replies(108)
    await desk.until_listed(Chat("telegram", "108"), lambda line: line.who == "bot")
    async with at_work(browser, desk, "ana", refused=True) as page, at_work(browser, desk) as mei:
        await expect(row(mei, Chat("telegram", "108"))).to_be_visible()
        await page.goto(f"{desk.url}/staff/forget")
        await page.get_by_label("Number of the conversation").fill("gustav")
        await page.get_by_role("button", name="Find").click()
        await page.get_by_role("link", name="Gustav Holst").click()
        await expect(page.locator(".counted")).to_contain_text("Messages, either way2")
        await expect(page.locator(".counted")).to_contain_text("no other customer sent1")
        await page.get_by_label("To erase").fill("101")
        await page.get_by_role("button", name="Erase").click()
        await expect(page.get_by_role("alert")).to_contain_text("Nothing was erased.")
        await page.get_by_label("To erase").fill("108")
        await page.get_by_role("button", name="Erase").dblclick()
        await expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
        await expect(page.locator(".counted")).to_contain_text("Messages, either way2")
        assert problems(await Axe().run(page, options=RULES)) == []
        await expect(row(mei, Chat("telegram", "108"))).to_have_count(0)  # in every open console
        await page.goto(f"{desk.url}/staff/forget?chat=108")
        await expect(page.get_by_role("alert")).to_contain_text("There is no such conversation")
        await page.goto(f"{desk.url}/staff/access")
        await expect(page.locator(".table")).to_contain_text("erased")
        await expect(page.locator(".table")).not_to_contain_text("telegram:108")
        assert problems(await Axe().run(page, options=RULES)) == []


async def test_a_phone_shows_one_pane_at_a_time_and_never_scrolls_sideways(
    browser: Browser, desk: Desk
) -> None:
    async with at_work(browser, desk, viewport=PHONE, is_mobile=True, has_touch=True) as page:
        assert problems(await Axe().run(page, options=RULES)) == []
        await row(page, CHAT).locator("a").click()
        await expect(page.locator("#chat-name")).to_be_visible()
        await expect(page.locator("#rows")).to_be_hidden()
        await use_fingers(page)
        await page.locator(".why").last.click()
        await expect(page.locator(".why-pane")).to_be_in_viewport()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.get_by_role("button", name="Close").first.click()
        await page.get_by_role("link", name="Back to the list").click()
        await expect(page.locator("#rows")).to_be_visible()


async def use_fingers(page: Page) -> None:
    """Pinch a photo, move it with two fingers, tap it twice, and swipe to the next one."""
    cdp = await page.context.new_cdp_session(page)

    async def fingers(*path: tuple[tuple[int, int], ...]) -> None:
        for number, places in enumerate(path):
            points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
            kind = "touchMove" if number else "touchStart"
            await cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        await cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    await page.locator("#thread a.photo").first.tap()
    figure = page.locator("#stage figure").first
    await expect(figure.locator("img")).to_have_js_property("complete", True)
    await fingers(((170, 300), (220, 300)), ((145, 300), (245, 300)), ((120, 300), (270, 300)))
    await expect(figure).to_have_attribute("style", re.compile(r"scale\(3\)"))
    before = await figure.get_attribute("style")
    await fingers(((120, 300), (270, 300)), ((150, 320), (300, 320)))
    await expect(figure).to_have_attribute("style", re.compile(r"scale\(3\)"))
    assert await figure.get_attribute("style") != before, "it moved"
    for _ in range(2):
        await fingers(((200, 300),))
    await expect(figure).to_have_attribute("style", re.compile(r"translate\(0px, 0px\).*scale\(1\)"))
    await fingers(((300, 300),), ((200, 305),), ((100, 310),))
    await expect(page.locator("#lightbox-name")).to_have_text("Photo 2")
    assert await page.evaluate("visualViewport.scale") == 1, "the page itself was not zoomed"
    await page.keyboard.press("Escape")


def problems(results: Any) -> list[str]:
    """Each violation with the element it is about."""
    return [
        f"{found['id']}: {node['html'][:160]}"
        for found in results.response["violations"]
        for node in found["nodes"]
    ]


@pytest.mark.skipif(
    "STAFF_PICTURES" not in os.environ, reason="draws README's pictures: STAFF_PICTURES=docs/images"
)
async def test_pictures_for_the_readme(browser: Browser, tmp_path: Path) -> None:
    """`STAFF_PICTURES=docs/images pytest -k pictures_for` writes `console.en.png` and `console.zh.png`."""
    folder = Path(os.environ["STAFF_PICTURES"])
    async with open_day(tmp_path) as desk:
        for language, locale, chat in (("en", "en-GB", LIN), ("zh", "zh-CN", FANG)):
            path = f"/staff/c/{chat.key}"
            async with at_work(browser, desk, locale=locale, path=path, color_scheme="light") as page:
                await page.locator("button.why").first.click()
                await expect(page.locator(".why-pane")).to_be_visible()
                await settled(page)
                await page.locator("#thread .bot").first.evaluate("(answer) => answer.scrollIntoView(false)")
                await page.evaluate("document.activeElement.blur()")
                await page.screenshot(path=folder / f"console.{language}.png")
