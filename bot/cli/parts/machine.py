"""The machine: Python, the settings, the disk, the port, and the GPU."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import platform
import shutil
import socket
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec

from bot.cli.parts.standing import Asked, Standing
from bot.misspelt import misspelt_in_environment
from bot.settings import NAMES, SECRETS

GIB = 1024**3
LITTLE_DISK, TOO_LITTLE_DISK = 2 * GIB, GIB // 4


async def python(_: Asked) -> Standing:
    """Python and the operating system."""
    return Standing("ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


async def settings(asked: Asked) -> Standing:
    """Which settings were given."""
    if doubts := misspelt_in_environment(NAMES, SECRETS):
        return Standing("warn", "; ".join(doubts), "the right name")
    given = [name for name in NAMES if name.lower() in asked.settings.model_fields_set]
    return Standing("ok", f"given: {', '.join(given)}" if given else "all at their defaults")


async def data(asked: Asked) -> Standing:
    """Whether the data folder can be written, and how much room is left."""
    folder = asked.settings.data_dir.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Standing(
            "fail", f"{there} cannot be written: {error.strerror}", "DATA_DIR, or its owner and mode"
        )
    free = shutil.disk_usage(there).free
    detail = f"{free / GIB:.1f} GB free in {asked.settings.data_dir}"
    if free < TOO_LITTLE_DISK:
        return Standing("fail", detail, "free some space, or DATA_DIR on another disk")
    if free < LITTLE_DISK:
        return Standing("warn", detail, "DATA_DIR on a larger disk")
    return Standing("ok", detail)


async def port(asked: Asked) -> Standing:
    """Whether the web server can have its address, or has it already."""
    host, port = asked.settings.http_host, asked.settings.http_port
    with contextlib.closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE and await _is_ours(host, port):
                return Standing("ok", f"a bot is answering on {host}:{port}")
            return Standing("fail", f"{host}:{port} cannot be had: {error.strerror}", "HTTP_PORT, HTTP_HOST")
    return Standing("ok", f"{host}:{port} is free")


async def _is_ours(host: str, port: int) -> bool:
    """Whether what listens there answers `/health` as we do."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                writer.write(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = await reader.read(65536)
    except (OSError, TimeoutError):
        return False
    return b'"parts"' in answer


async def gpu(_: Asked) -> Standing:
    """The GPU, and whether torch sees it."""
    cards = await _output(
        "nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"
    )
    if find_spec("torch") is None:
        if cards:
            return Standing("warn", f"{cards}, but torch is not installed", "python3 run --with gpu")
        return Standing("ok", "none")
    if not cards and sys.platform != "darwin":
        return Standing("ok", f"none; torch {version('torch')} would use the CPU")
    script = "import torch; print(torch.cuda.is_available() or torch.backends.mps.is_available())"
    sees = await _output(sys.executable, "-c", script) == "True"
    torch = f"torch {version('torch')}"
    if not sees:
        return Standing(
            "fail",
            f"{cards or 'a Mac'}, but {torch} does not see it",
            "a torch build for this driver: docs/settings.md",
        )
    return Standing("ok", f"{cards or 'found'}, {torch}")


async def _output(*command: str) -> str:
    """The output of a command, its lines joined; empty if it does not exist or fails."""
    try:
        child = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return ""
    try:
        printed, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return (
        ", ".join(printed.decode(errors="replace").split("\n")).strip(", ") if child.returncode == 0 else ""
    )
