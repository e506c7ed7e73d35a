"""One life of the model worker: a child process that owns the GPU, so that the bot never waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any

from bot.engines.local import frames
from bot.engines.local.wire import Order

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]


class Process:
    """A running worker.  Made by `begin`, ended by `end`."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self.pid = child.pid
        self.last_words: deque[str] = deque(maxlen=12)
        """The end of its standard error: why it died, when it did."""
        self._child = child
        self._to, self._from = child.stdin, child.stdout
        self._listening = asyncio.create_task(self._listen(child.stderr))

    @classmethod
    async def begin(cls, order: Order) -> Process:
        """Start a worker with its order.  Returns at once; the worker tells when it is ready."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bot.engines.local",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": path,
                "TOKENIZERS_PARALLELISM": "false",
                # Rows come and go in all sizes; without this the allocator's pieces do not fit again.
                "PYTORCH_ALLOC_CONF": os.environ.get("PYTORCH_ALLOC_CONF", "expandable_segments:True"),
            },
        )
        self = cls(child)
        self.send(order)
        return self

    def send(self, value: object) -> None:
        """Hand over a message; never blocks.  A dead worker takes it silently: `receive` tells."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._to.write(frames.packed(value))

    async def receive(self) -> Any:
        """The worker's next message; None when it is gone."""
        return await frames.receive(self._from)

    def kill(self) -> None:
        """End it now.  Calling twice is harmless."""
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()

    async def end(self, *, patience_s: float = 0) -> int:
        """End it, after so many seconds in which it may end by itself, and return its exit code.

        Without patience for one that is just ending, the code is lost: `kill` reaps it, and asyncio's own
        watcher then reports 255.
        """
        self._to.close()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._child.wait()
        finally:  # also when the bot stops meanwhile
            if self._child.returncode is None:
                self.kill()
            code = await self._child.wait()
            await asyncio.gather(self._listening, return_exceptions=True)
        return code

    async def _listen(self, errors: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await errors.readline()
            except ValueError:  # a line longer than the buffer
                continue
            if not line:
                return
            words = line.decode(errors="replace").rstrip()
            self.last_words.append(words)
            # Our own lines begin with the logger's name; libraries chatter.
            level = logging.WARNING if words.startswith("bot.engines.") else logging.DEBUG
            log.log(level, "worker %s: %s", self.pid, words)
