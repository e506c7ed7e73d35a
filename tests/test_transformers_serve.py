"""A real `transformers serve` with the tiny model answers through the remote engine."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from bot.engines.remote import RemoteEngine
from bot.engines.sampling import Sampling
from prompts.prompt import Prompt, PromptMessage
from tests.local_asks import user
from tests.tiny_model import tiny_model

pytestmark = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("fastapi") is None, reason="torch or fastapi is not installed"
)

UP_S = 120.0
GREEDY = Sampling(temperature=0, repetition_penalty=1, max_tokens=12)


@asynccontextmanager
async def served(model: str, folder: Path) -> AsyncIterator[str]:
    """Its address, once it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.transformers_serve", *options, model),
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        async with asyncio.timeout(UP_S):
            while True:
                assert server.returncode is None, (folder / "log").read_text()[-2000:]
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.2)
                else:
                    writer.close()
                    break
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        await server.wait()


def question(seed: int) -> Prompt:
    messages = (PromptMessage("system", "You help."), user("Which light is on?", seed))
    return Prompt(messages, language="en", version="test@0", question="")


async def test_transformers_serve_is_recognised_and_answers_about_the_photo(tmp_path: Path) -> None:
    model = await asyncio.to_thread(tiny_model)
    async with served(model, tmp_path) as url:
        engine = RemoteEngine(url=url, model=model, sampling=GREEDY, timeout_s=100)
        try:
            await engine.start()
            pieces: list[str] = []
            one = await engine.draft(question(1), on_text=pieces.append)
            other = await engine.draft(question(2))
            again = await engine.draft(question(1))
            health = await engine.health()
        finally:
            await engine.close()
    assert engine.dialect.name == "transformers"
    assert health.state == "ok", "its list of models fails without a cache folder, which says nothing"
    assert len(pieces) > 1
    assert "".join(pieces).strip() == one.text == again.text
    assert other.text != one.text, "another photo, another answer"
    assert one.usage.prompt_tokens > 9
    assert 0 < one.usage.completion_tokens <= 12
