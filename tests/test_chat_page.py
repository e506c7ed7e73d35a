"""The chat page in a real Chromium: what a customer sees and does."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Locator, Page, Route, expect

from context.turns import Arrival, Entity, Part
from tests.ac_panel import as_jpeg, draw_panel, draw_plate
from tests.chromium import Watch, needs_chromium, open_browser, open_tab
from tests.until import until
from tests.web_world import Answer, World, echo, open_world

pytestmark = [pytest.mark.browser, needs_chromium, pytest.mark.asyncio(loop_scope="module")]

OURS = re.compile(r"^/chat/photos/[0-9a-f]{64}\.jpg$")

E4 = (
    "The display shows E4: the indoor sensor gives no reading.\n\n"
    "What you can do:\n"
    "1. Switch the unit off and pull the plug for five minutes.\n"
    "2. Plug it in and switch it on again.\n\n"
    "If E4 comes back, the sensor has to be replaced. Please do not open the unit. "
    "Write /human and a colleague will arrange a visit."
)


def answer(arrivals: Sequence[Arrival]) -> Answer:
    """Answers by the customer's words; without a key word it says how much it understood."""
    text = arrivals[0].text
    if "E4" in text:
        spans = [("bold", "E4"), ("bold", "What you can do:"), ("code", "/human")]
        return Answer(E4, tuple(Entity(kind, E4.index(word), len(word)) for kind, word in spans))
    if text == "markup":
        return Answer("<b>not bold</b> <script>document.title='broken'</script> &amp;")
    if text == "formats":
        return Answer(
            "bold both em\ncode link evil\nquote\nafter https://example.com/a?b=1, 😀x",
            (
                Entity("bold", 0, 9),
                Entity("italic", 5, 7),
                Entity("code", 13, 4),
                Entity("text_link", 18, 4, url="https://example.com/manual"),
                Entity("text_link", 23, 4, url="javascript:alert(1)"),
                Entity("blockquote", 28, 5),
                Entity("underline", 69, 1),
            ),
        )
    if text == "rules":
        return Answer("perhaps a sensor", origin="fallback")
    return echo(arrivals)


@cache
def files() -> list[Any]:
    """Two photos, as a browser is given them."""
    return [
        {"name": "panel.jpg", "mimeType": "image/jpeg", "buffer": as_jpeg(draw_panel())},
        {"name": "plate.jpg", "mimeType": "image/jpeg", "buffer": as_jpeg(draw_plate())},
    ]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with open_world(tmp_path_factory.mktemp("chat"), answer=answer) as opened:
        yield opened


@asynccontextmanager
async def visit(browser: Browser, world: World, **options: Any) -> AsyncIterator[Page]:
    """A new visitor at the page, who sees no complaint in the console when they leave."""
    async with watched(browser, world, **options) as (page, watch):
        yield page
        watch.check()


@asynccontextmanager
async def watched(browser: Browser, world: World, **options: Any) -> AsyncIterator[tuple[Page, Watch]]:
    options = {"locale": "en-GB", "viewport": {"width": 960, "height": 800}} | options
    async with open_tab(browser, world.url, **options) as (page, watch):
        await expect(page.locator("#state")).to_have_attribute("data-state", "online")
        world.desk.go.set()
        yield page, watch


def rows(page: Page, who: str) -> Locator:
    return page.locator(f".row.{who}")


async def write(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def test_a_text_is_answered_after_a_typing_sign(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        await expect(page.locator("#hello")).to_be_visible()
        await expect(page.locator("#text")).to_be_focused()
        world.desk.go.clear()
        await write(page, "Hello")
        await expect(page.locator("#typing")).to_be_visible()
        await expect(page.locator("#hello")).to_be_hidden()
        await expect(rows(page, "bot")).to_have_count(0)
        world.desk.go.set()
        await expect(rows(page, "bot").locator(".text")).to_have_text("I read 'Hello' and 0 photos.")
        await expect(page.locator("#typing")).to_be_hidden()
        await expect(rows(page, "customer")).to_have_count(1)
        await expect(page.locator("#text")).to_have_value("")
        assert await page.locator("#log > li").evaluate_all(
            "rows => rows.map(row => row.className.trim())"
        ) == [
            "mark",
            "row customer",
            "row bot",
        ]


async def test_the_beginning_of_an_answer_is_seen_and_makes_room_for_it(
    browser: Browser, world: World
) -> None:
    async with visit(browser, world) as page:
        world.desk.go.clear()
        world.desk.preview = (Part("It says E4.", (Entity("bold", 8, 2),)),)
        await write(page, "Hello")
        seen = page.locator(".row.seen")
        await expect(seen.locator(".text")).to_have_text("It says E4.")
        await expect(seen.locator("strong")).to_have_text("E4")
        await expect(seen).to_have_attribute("aria-hidden", "true")
        await expect(page.locator("#typing")).to_be_visible()
        await page.reload()
        await expect(seen.locator(".text")).to_have_text("It says E4.")
        world.desk.preview = ()
        world.desk.go.set()
        await expect(rows(page, "bot").locator(".text")).to_have_text("I read 'Hello' and 0 photos.")
        await expect(seen).to_have_count(0)
        await expect(rows(page, "bot")).to_have_count(1)


async def test_two_photos_are_chosen_sent_and_looked_at(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        async with page.expect_file_chooser() as choosing:
            await page.click(".attach")
        await (await choosing.value).set_files([*files(), files()[0]])
        previews = page.locator("#previews li")
        await expect(previews).to_have_count(3)
        await previews.nth(2).get_by_role("button", name="Remove photo 3").click()
        await expect(previews).to_have_count(2)
        await page.fill("#text", "these two")
        await page.click("#send")
        await expect(rows(page, "bot").locator(".text")).to_have_text("I read 'these two' and 2 photos.")
        photos = rows(page, "customer").locator("a.photo")
        await expect(photos).to_have_count(2)
        for number in (0, 1):
            await expect(photos.nth(number)).to_have_attribute("href", OURS)
            await until_loaded(photos.nth(number).locator("img"))
        await expect(previews).to_have_count(0)

        await photos.first.click()
        lightbox = page.locator("#lightbox")
        await expect(lightbox).to_be_visible()
        await until_loaded(lightbox.locator("img"))
        await expect(lightbox.locator(".caption")).to_have_text("1 / 2")
        await page.keyboard.press("ArrowRight")
        await expect(lightbox.locator(".caption")).to_have_text("2 / 2")
        await page.keyboard.press("Escape")
        await expect(lightbox).to_be_hidden()
        await expect(photos.first).to_be_focused()


@pytest.mark.parametrize("way", ["drop", "paste"])
async def test_photos_may_be_dropped_or_pasted(browser: Browser, world: World, way: str) -> None:
    async with visit(browser, world) as page:
        await hand_over(page, way, ["image/jpeg", "image/jpeg"])
        await expect(page.locator("#previews li")).to_have_count(2)
        await expect(page.locator("#drop")).to_be_hidden()
        await page.press("#text", "Enter")
        await expect(rows(page, "bot").locator(".text")).to_have_text("I read '' and 2 photos.")


async def test_what_is_no_photo_is_refused_with_a_sentence(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        await hand_over(page, "drop", ["application/pdf", "image/jpeg"])
        await expect(page.locator("#complaint")).to_have_text("“file-0” is neither a picture nor a video.")
        await expect(page.locator("#previews li")).to_have_count(1)
        await hand_over(page, "drop", ["image/jpeg"] * 12)
        await expect(page.locator("#complaint")).to_have_text("At most 10 photos in one message.")
        await expect(page.locator("#previews li")).to_have_count(10)
        await hand_over(page, "drop", ["image/jpeg"], size=21 * 1024 * 1024)
        for _ in range(10):
            await page.locator("#previews button").first.click()
        await hand_over(page, "drop", ["image/jpeg"], size=21 * 1024 * 1024)
        await expect(page.locator("#complaint")).to_have_text("“file-0” is larger than 20 MB.")
        await expect(page.locator("#previews li")).to_have_count(0)


async def test_a_text_that_is_too_long_is_refused_whole_and_not_cut(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        await page.fill("#text", "é" * 4001)
        await page.press("#text", "Enter")
        await expect(page.locator("#complaint")).to_have_text("That is too long: at most 4000 characters.")
        await expect(page.locator("#text")).to_have_value("é" * 4001)
        await page.press("#text", "Backspace")
        await expect(page.locator("#complaint")).to_be_hidden()
        await page.press("#text", "Enter")
        await expect(rows(page, "customer")).to_have_count(1)


async def test_a_broken_picture_is_shown_as_refused(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        broken: Any = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"no picture at all"}
        await page.set_input_files("#photos", [files()[0], broken])
        await page.click("#send")
        await expect(rows(page, "customer").locator(".refused")).to_have_text("Photo 2 could not be used")
        await expect(rows(page, "customer").locator("a.photo")).to_have_count(1)


async def test_a_large_photo_is_made_smaller_before_it_travels(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        made = await page.evaluate("""async () => {
            const canvas = Object.assign(document.createElement("canvas"), {width: 2560, height: 400});
            const pen = canvas.getContext("2d");
            const grain = pen.createImageData(canvas.width, canvas.height);
            for (let i = 0; i < grain.data.length; i += 1) {
                grain.data[i] = i % 4 === 3 ? 255 : 256 * Math.random();
            }
            pen.putImageData(grain, 0, 0);
            const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
            const files = new DataTransfer();
            files.items.add(new File([blob], "large.png", {type: "image/png"}));
            const picker = document.getElementById("photos");
            picker.files = files.files;
            picker.dispatchEvent(new Event("change"));
            return blob.size;
        }""")
        assert made > 2_000_000
        before = len(world.desk.arrivals)
        await page.click("#send")
        await until(lambda: len(world.desk.arrivals) > before)
        attachment = world.desk.arrivals[-1].attachment
        assert attachment is not None
        sent = await world.channel.fetch(attachment)
        assert len(sent) < made
        picture = Image.open(io.BytesIO(sent))
        assert (picture.format, picture.size) == ("JPEG", (2048, 320))
        await expect(rows(page, "bot")).to_have_count(1)


async def test_history_is_there_after_a_reload_and_in_a_second_tab(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        await page.set_input_files("#photos", [files()[0]])
        await write(page, "what is E4?")
        await expect(rows(page, "bot")).to_have_count(1)
        before = await page.locator("#log").inner_text()
        await page.reload()
        await expect(rows(page, "bot")).to_have_count(1)
        assert await page.locator("#log").inner_text() == before
        await until_loaded(rows(page, "customer").locator("img"))

        second = await page.context.new_page()
        await second.goto(world.url)
        await expect(rows(second, "bot")).to_have_count(1)
        await write(second, "from the other tab")
        await expect(rows(page, "customer")).to_have_count(2)
        await expect(rows(page, "bot")).to_have_count(2)
        await second.close()


async def test_reset_asks_first_and_then_tells_the_bot(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        await write(page, "Hello")
        await expect(rows(page, "bot")).to_have_count(1)
        count = len(world.desk.arrivals)
        await page.click("#reset")
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.locator("#ask")).to_be_hidden()
        assert len(world.desk.arrivals) == count
        await page.click("#reset")
        await page.get_by_role("button", name="Start over").click()
        await expect(page.locator("#log .mark")).to_have_text(["Today", "New conversation"])
        await expect(rows(page, "bot")).to_have_count(2)
        assert world.desk.arrivals[-1].command == "reset"


async def test_markup_in_texts_stays_text(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        await write(page, "<img src=x onerror=\"document.title='broken'\"><script>1</script>")
        await expect(rows(page, "customer").locator(".text")).to_have_text(
            "<img src=x onerror=\"document.title='broken'\"><script>1</script>"
        )
        await write(page, "markup")
        await expect(rows(page, "bot").last.locator(".text")).to_have_text(
            "<b>not bold</b> <script>document.title='broken'</script> &amp;"
        )
        assert await page.locator("#log img, #log script, #log .text b").count() == 0
        assert await page.title() == "Customer service"


async def test_formatting_becomes_nodes(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        await write(page, "formats")
        text = rows(page, "bot").locator(".text")
        await expect(text).to_be_visible()
        html = await text.inner_html()
        rel = 'target="_blank" rel="noopener noreferrer nofollow"'
        assert html == (
            "<strong>bold <em>both</em></strong><em> em</em>\n"
            f'<code>code</code> <a href="https://example.com/manual" {rel}>link</a> <span>evil</span>\n'
            "<blockquote>quote</blockquote>"
            f'after <a href="https://example.com/a?b=1" {rel}>https://example.com/a?b=1</a>, 😀<u>x</u>'
        )


async def test_answers_by_rules_and_by_people_are_told_apart(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        await write(page, "rules")
        await expect(rows(page, "bot").locator(".preliminary")).to_have_text("Preliminary answer")
        await world.desk.say(world.desk.arrivals[-1].chat, Answer("This is Ann."), who="staff")
        await expect(rows(page, "staff").locator(".speaker")).to_have_text("Our colleague")
        await expect(rows(page, "staff").locator(".text")).to_have_text("This is Ann.")


async def test_enter_of_an_input_method_does_not_send(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        count = len(world.desk.arrivals)
        await page.fill("#text", "kong")
        for options in ("isComposing: true", "keyCode: 229"):
            await page.evaluate(f"""document.getElementById("text").dispatchEvent(new KeyboardEvent(
                "keydown", {{key: "Enter", bubbles: true, cancelable: true, {options}}}))""")
        await page.press("#text", "Shift+Enter")
        await page.type("#text", "tiao")
        await expect(page.locator("#text")).to_have_value("kong\ntiao")
        assert len(world.desk.arrivals) == count
        await page.press("#text", "Enter")
        await expect(rows(page, "bot").locator(".text")).to_contain_text("tiao")
        assert world.desk.arrivals[-1].text == "kong\ntiao"


async def test_a_message_that_was_not_sent_is_kept_and_tried_again_once(
    browser: Browser, world: World
) -> None:
    async with watched(browser, world) as (page, watch):
        lost: list[str] = []

        async def lose_the_answer(route: Route) -> None:
            if lost:
                await route.continue_()
            else:
                lost.append("answer")
                await route.fetch()
                await route.abort()

        await page.route("**/chat/messages", lose_the_answer)
        world.desk.go.clear()
        await page.route("**/chat/events*", lambda route: route.abort())
        await page.evaluate("dispatchEvent(new Event('online'))")  # the stream breaks as well
        await expect(page.locator("#state")).to_have_attribute("data-state", "offline")
        await write(page, "are you there?")
        await expect(page.locator(".failed .note")).to_have_text("Not sent. There is no connection.")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.locator(".row .note")).to_have_text("Sent")
        world.desk.go.set()
        await page.unroute("**/chat/events*")
        await expect(rows(page, "bot")).to_have_count(1)
        await expect(rows(page, "customer")).to_have_count(1)
        assert [arrival.text for arrival in world.desk.arrivals].count("are you there?") == 1
        assert all("Failed to load resource" in complaint for complaint in watch.complaints)


async def test_what_was_written_offline_is_sent_when_the_line_is_back(browser: Browser, world: World) -> None:
    async with watched(browser, world) as (page, _):
        await page.context.set_offline(True)
        await expect(page.locator("#state")).to_have_text("No connection. Trying again…")
        await write(page, "one")
        await write(page, "two")
        await expect(page.locator(".failed")).to_have_count(2)
        await page.context.set_offline(False)
        await expect(rows(page, "bot")).to_have_count(2)
        await expect(page.locator(".failed")).to_have_count(0)
        assert [arrival.text for arrival in world.desk.arrivals[-2:]] == ["one", "two"]


async def test_words_and_photos_outlive_a_reload_before_and_after_they_are_sent(
    browser: Browser, world: World
) -> None:
    async with watched(browser, world) as (page, _):
        await page.set_input_files("#photos", files())
        await page.fill("#text", "kept words")
        await until_kept(page, "draft", "found[0][1].photos.length === 2 && found[0][1].text !== ''")
        await page.reload()
        await expect(page.locator("#previews img")).to_have_count(2)
        await expect(page.locator("#text")).to_have_value("kept words")
        await page.route("**/chat/messages", lambda route: route.abort())
        await page.press("#text", "Enter")
        await expect(page.locator(".failed img")).to_have_count(2)
        await until_kept(page, "message:", "found[0][1].photos.length === 2")
        await page.unroute("**/chat/messages")
        await page.reload()
        await expect(rows(page, "bot")).to_have_count(1)
        await expect(rows(page, "customer").locator("img")).to_have_count(2)
        assert [arrival.text for arrival in world.desk.arrivals].count("kept words") == 1
        await until_kept(page, "", "!found.length")


async def until_kept(page: Page, prefix: str, condition: str) -> None:
    """Wait until what the browser keeps is so."""
    look = f"import('/static/kept.js').then(({{kept}}) => kept('{prefix}')).then((found) => {condition})"
    await until(lambda: page.evaluate(f"{look}.catch(() => false)"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_never_scrolls_sideways(browser: Browser, world: World, scheme: str) -> None:
    phone = {"width": 360, "height": 740}
    async with visit(
        browser, world, locale="zh-CN", viewport=phone, color_scheme=scheme, is_mobile=True, has_touch=True
    ) as page:
        await expect(page.locator("h1")).to_have_text("在线客服")
        await page.set_input_files("#photos", files())
        await page.fill("#text", "x" * 300 + " E4 https://example.com/" + "y" * 200)
        await page.click("#send")
        await expect(rows(page, "bot")).to_have_count(1)
        await write_on_phone(page, "formats")
        await expect(rows(page, "bot")).to_have_count(2)
        widths = await page.evaluate("""["html", "body", "main"]
            .map((name) => document.querySelector(name))
            .map((element) => element.scrollWidth - element.clientWidth)""")
        assert widths == [0, 0, 0]
        assert await page.evaluate("""[...document.querySelectorAll("header *, form *, #log *")].every(
            (element) => element.getBoundingClientRect().right <= innerWidth)""")
        targets = await page.evaluate("""[...document.querySelectorAll("header button, .send, .attach")]
            .map((element) => Math.min(element.offsetWidth, element.offsetHeight))""")
        assert min(targets) >= 36


async def test_the_page_changes_its_language_and_remembers_it(browser: Browser, world: World) -> None:
    async with visit(browser, world) as page:
        await write(page, "Hello")
        await expect(rows(page, "bot")).to_have_count(1)
        await page.click("#switch")
        await expect(page.locator("h1")).to_have_text("在线客服")
        await expect(page.locator("#log .mark")).to_have_text("今天")
        await expect(page.get_by_role("button", name="发送")).to_be_visible()
        assert await page.locator("html").get_attribute("lang") == "zh"
        await page.reload()
        await expect(page.locator("h1")).to_have_text("在线客服")
        await write(page, "再问")
        await expect(rows(page, "bot")).to_have_count(2)
        assert world.desk.arrivals[-1].hint == "zh"


async def test_who_reads_further_up_is_told_instead_of_moved(browser: Browser, world: World) -> None:
    async with visit(browser, world, viewport={"width": 700, "height": 420}) as page:
        for number in (1, 2, 3):
            await write(page, "E4 again")
            await expect(rows(page, "bot")).to_have_count(number)
        await page.locator("#scroll").evaluate("(scroll) => scroll.scrollTop = 0")
        await world.desk.say(world.desk.arrivals[-1].chat, Answer("one more thing"))
        await expect(page.locator("#below")).to_be_visible()
        assert await page.locator("#scroll").evaluate("(scroll) => scroll.scrollTop") == 0
        await page.click("#below")
        await expect(page.get_by_text("one more thing")).to_be_in_viewport()
        await expect(page.locator("#below")).to_be_hidden()
        # photos that take their place late move the end away: who was there goes with it, who is not stays
        await page.locator("#log > :last-child").evaluate("(row) => row.style.paddingTop = '900px'")
        await expect(page.get_by_text("one more thing")).to_be_in_viewport()
        await page.locator("#scroll").evaluate("(scroll) => scroll.scrollTop = 50")
        await page.locator("#log > :last-child").evaluate("(row) => row.style.paddingTop = '1800px'")
        assert await page.locator("#scroll").evaluate(_TWO_FRAMES_LATER) == 50


_TWO_FRAMES_LATER = """(scroll) => new Promise((done) =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(scroll.scrollTop))))"""


async def test_a_picture_of_a_conversation_for_the_readme(
    browser: Browser, world: World, tmp_path: Path
) -> None:
    """`CHAT_PICTURE=docs/images/chat.png pytest -k picture_of` writes it; CHAT_URL takes a bot that runs."""
    target = Path(os.environ.get("CHAT_PICTURE") or tmp_path / "chat.png")
    url = os.environ.get("CHAT_URL") or world.url
    size: Any = {"width": 820, "height": 860}
    async with open_tab(browser, url, locale="en-GB", viewport=size, device_scale_factor=1.5) as (
        page,
        watch,
    ):
        await page.set_input_files("#photos", files())
        await page.fill("#text", "Our bedroom AC has stopped cooling and shows E4. What can I do?")
        await page.click("#send")
        await expect(rows(page, "bot")).to_have_count(1, timeout=60_000)
        for image in await page.locator("#log img").all():
            await until_loaded(image)
        await asyncio.sleep(0.3)  # the row rises into place
        picture = await page.screenshot(path=target)
        watch.check()
    assert Image.open(io.BytesIO(picture)).size == (1230, 1290)


async def write_on_phone(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")
    await expect(page.locator("#text")).to_have_value(text + "\n")  # a new line: phones have no Shift+Enter
    await page.click("#send")


async def hand_over(page: Page, way: str, kinds: list[str], *, size: int = 0) -> None:
    """Drop or paste files: pictures, padded to `size` bytes."""
    await page.evaluate(
        """([way, kinds, size, picture]) => {
            const bytes = Uint8Array.from(atob(picture), (c) => c.charCodeAt(0));
            const padding = new Uint8Array(Math.max(0, size - bytes.length));
            const files = new DataTransfer();
            kinds.forEach((type, n) => files.items.add(new File([bytes, padding], `file-${n}`, {type})));
            const text = document.getElementById("text");
            const options = {bubbles: true, cancelable: true};
            if (way === "paste") {
                text.dispatchEvent(new ClipboardEvent("paste", {...options, clipboardData: files}));
                return;
            }
            for (const kind of ["dragenter", "dragover", "drop"]) {
                text.dispatchEvent(new DragEvent(kind, {...options, dataTransfer: files}));
            }
        }""",
        [way, kinds, size, base64.b64encode(files()[0]["buffer"]).decode()],
    )


async def until_loaded(image: Locator) -> None:
    await expect(image).to_have_js_property("complete", True)
    assert await image.evaluate("(image) => image.naturalWidth") > 0
