"""Bots as processes of their own, as an operator would start them, and what they say over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from tests.bot_api import BotApiServer
from tests.model_server import ModelServer
from tests.until import PATIENCE_S
from torture.subject import THIS


@contextmanager
def bot(
    telegram: BotApiServer, model: ModelServer, folder: Path, *, within: Sequence[str] = (), **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """One that runs in the block; `within` is a command that becomes the one that follows it."""
    environment = os.environ | THIS.settings(
        token=telegram.token,
        telegram_url=telegram.url,
        model_url=model.url,
        model="stub-model",
        folder=str(folder),
    )
    with (folder / f"log-{more['HTTP_PORT']}").open("wb") as log:
        command = [*within, sys.executable, "-m", "bot"]
        process = subprocess.Popen(command, env=environment | more, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


async def fetch(port: int, path: str) -> str:
    """What the process at this port says; empty while it does not."""
    try:
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}{path}") as answer:
            return await answer.text()
    except (aiohttp.ClientError, OSError):
        return ""


async def parts_of(port: int) -> dict[str, dict[str, str]]:
    parts: dict[str, dict[str, str]] = json.loads(await fetch(port, "/health") or '{"parts": {}}')["parts"]
    return parts


async def is_ready(port: int, *, alone: bool = False) -> bool:
    """Whether it answers customers and, unless it is alone, hears the others."""
    parts = await parts_of(port)
    return bool(parts) and parts["worker"]["state"] == "ok" and (alone or parts["news"]["state"] == "ok")
