"""A real headless Chromium for the tests of the pages."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from tests.until import PATIENCE_S

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

WAIT_MS = PATIENCE_S * 1000
"""Until a page does not do what it should: far from what any of them takes, also beside other work."""
expect.set_options(timeout=WAIT_MS)

# No sandbox: containers have none to give. The rest keeps it from asking the network for anything.
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """One browser, for as many tabs as you like."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Watch:
    """Notes whatever a well-made page never does: complain, or ask another host for something."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self._home = ""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)

    def check(self) -> None:
        """Fails when there was anything."""
        assert self.complaints == [], self.complaints
        assert self.elsewhere == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        self._home = self._home or url.netloc
        if url.scheme != "blob" and url.netloc != self._home:
            self.elsewhere.append(request.url)


@asynccontextmanager
async def open_tab(browser: Browser, url: str, **options: Any) -> AsyncIterator[tuple[Page, Watch]]:
    """A tab of a visitor of their own at `url`; `options` are playwright's (locale, viewport ...)."""
    context = await browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    watch = Watch(page)
    await page.goto(url)
    try:
        yield page, watch
    finally:
        await context.close()
