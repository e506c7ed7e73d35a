"""The bot as a process: start the app, answer until told to stop, shut down cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
from importlib.util import find_spec

from bot.app import open_app
from bot.app.engines import has_gpu
from bot.settings import Settings

log = logging.getLogger(__name__)

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # malloc.h
_COLLECT_AFTER = 10_000
"""New objects between two garbage collections; with Python's 700 there are several in every turn."""


async def run(settings: Settings) -> int:
    """Answer customers until SIGTERM or SIGINT; a second signal stops at once.  Returns the exit code."""
    stop = asyncio.Event()
    _listen_for_signals(stop)
    _save_memory()
    async with open_app(settings) as app:
        for line in announcement(settings, app.url):
            log.info(line)
        gc.collect()
        gc.freeze()  # objects of the imports stay for good; skipping them saves 5 % of a turn's CPU time
        gc.set_threshold(_COLLECT_AFTER)
        gc.enable()
        await app.work_until(stop)
        log.info("stopping: what is not answered waits for the next start")
    return 0


def announcement(settings: Settings, url: str) -> list[str]:
    """What an operator wants to know at the start: the address, and what is not set up yet."""
    lines = [
        f"chat page: {url}/",
        f"staff console: {url}/staff (make an account: python3 run staff add NAME --role admin)",
    ]
    if settings.api_key_list:
        lines.append(f"API for apps: {url}/v1")
    if not settings.telegram_bot_token.get_secret_value():
        lines.append("Telegram is off: set TELEGRAM_BOT_TOKEN (from @BotFather) in .env")
    elif settings.telegram_staff_chat_id is None:
        lines.append(
            "customers who ask for a person are shown in the console only; "
            "to tell a Telegram group as well, set TELEGRAM_STAFF_CHAT_ID in .env"
        )
    if not settings.model_url and not settings.model and not (has_gpu() and find_spec("torch")):
        lines.append(
            "no model: answers come from OCR and rules, and say so. Set MODEL_URL to an OpenAI-compatible "
            "server, or start with `python3 run --with gpu` on a GPU server"
        )
    return lines


def _save_memory() -> None:
    """Keep glibc from giving each thread a heap of its own, and from keeping the memory of old photos.

    6 MB less with photos, and 9 MB less after them.  Left alone, glibc raises the second limit with every
    large block that is freed.  man 3 mallopt.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_M_ARENA_MAX, 2)
        glibc.mallopt(_M_MMAP_THRESHOLD, 128 << 10)


def _listen_for_signals(stop: asyncio.Event) -> None:
    def handle() -> None:
        if stop.is_set():
            os._exit(1)  # the second signal: stop at once
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle)
