"""OCR: reads text on photos with rapidocr and the models in its wheel, in a child process of its own.

A process, since text recognition in a thread of the bot delays the turns of others: both want Python's lock.
Its memory comes back when it ends, and a crash in native code costs one reading.

There are two engine objects, because an option given per call changes shared state: with four threads, 3 of
60 results differed.  The first one turns upside-down lines round.  If it finds too little, the second one,
which does not, reads a blurred copy, in which the gaps between the segments of a display have closed.  On 80
drawn panels and plates (turned, dark, noisy, blurred, small) the first one reads 86 % of 192 words, both
together 93 %.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bot.engines.ocr_child import ANSWER, ORDER
from bot.errors import Unavailable
from context.turns import Line

IDLE_S = 600.0
"""The child ends when nothing was read for so long."""
SILENT_S = 150.0
"""A child that says nothing for so long is ended; behind everything else a photo may take minutes."""
_CHILD = Path(__file__).with_name("ocr_child.py")
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
"""Nothing from our environment."""

log = logging.getLogger(__name__)


class OcrUnavailable(Unavailable):
    """Text cannot be read: the library is missing or broken, or the picture cannot be opened."""


Enough = Callable[[Sequence[Line]], bool]


class Reader(Protocol):
    """Something that reads photos."""

    async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
        """Lines on a photo.  Raises `OcrUnavailable`."""

    async def close(self) -> None:
        """Release the models."""


class Ocr:
    """Reads photos, one at a time: on two cores four threads read no more than two.

    The child starts with the first photo (about a second, then 140 MB, while it reads up to 250), or by
    `start`, and ends when nothing was read for `idle_s`. If it crashes, that reading fails, and the next
    one starts another.
    """

    def __init__(self, *, niceness: int = 0, idle_s: float = IDLE_S) -> None:
        """`niceness` lowers the child's priority, up to 19: what the bot does itself goes first."""
        self._niceness = niceness
        self._idle_s = idle_s
        self._letting_go: asyncio.TimerHandle | None = None
        # The one worker is also the queue: a cancelled reading that has not begun never begins.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ocr")
        self._child: _Child | None = None
        self._broken = ""
        self._is_closed = False

    async def start(self) -> None:
        """Start the child and load the models now.  Raises `OcrUnavailable`."""
        await self._run(self._started)

    async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
        """Lines on a photo, of both passes if those of the first are not `enough`."""
        try:
            lines: tuple[Line, ...] = await self._run(self._ask, jpeg, False)
            if enough(lines):
                return lines
            more: tuple[Line, ...] = await self._run(self._ask, jpeg, True)
        finally:
            self._let_go_later()
        known = {line.text for line in lines}
        return lines + tuple(line for line in more if line.text not in known)

    async def close(self) -> None:
        """Cancel what waits and end the child, also while it reads."""
        self._is_closed = True
        if self._letting_go is not None:
            self._letting_go.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)
        if (child := self._child) is not None:
            await asyncio.to_thread(child.end)

    def _let_go_later(self) -> None:
        if self._letting_go is not None:
            self._letting_go.cancel()
        if not self._is_closed:
            # By the worker: a photo that is just being read keeps its child.
            self._letting_go = asyncio.get_running_loop().call_later(
                self._idle_s, self._worker.submit, self._let_go
            )

    def _let_go(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    async def _run(self, function: Callable[..., Any], *args: object) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, function, *args)
        except OcrUnavailable:
            raise
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: closed
            raise OcrUnavailable(f"text recognition failed: {type(error).__name__}") from error

    def _started(self) -> _Child:
        """The child, ready to read."""
        if self._broken:
            raise OcrUnavailable(self._broken)
        if self._child is not None and self._child.process.poll() is not None:
            self._let_go()
        if self._child is None:
            if (library := importlib.util.find_spec("rapidocr")) is None or library.origin is None:
                self._broken = "text recognition cannot be loaded: rapidocr is not installed"
                raise OcrUnavailable(self._broken)
            self._child = _Child.start(Path(library.origin).parents[1], self._niceness)
            if self._is_closed:  # meanwhile
                self._child.end()
            is_good, said = self._answer(self._child)
            if not is_good:
                self._let_go()
                self._broken = f"text recognition cannot be loaded: {said}"
                raise OcrUnavailable(self._broken)
        return self._child

    def _ask(self, jpeg: bytes, is_blurred: bool) -> tuple[Line, ...]:  # noqa: FBT001 - for the executor
        is_good, said = self._answer(self._started(), ORDER.pack(is_blurred, len(jpeg)) + jpeg)
        if not is_good:
            raise OcrUnavailable(f"text recognition failed: {said}")
        return tuple(Line(text, confidence, tuple((x, y) for x, y in box)) for text, confidence, box in said)

    def _answer(self, child: _Child, order: bytes = b"") -> tuple[bool, Any]:
        """What the child says, and whether that is good news.  A child that breaks off is ended."""
        try:
            child.channel.sendall(order)
            is_good, length = ANSWER.unpack(child.receive(ANSWER.size))
            return is_good, json.loads(child.receive(length))
        except (OSError, ValueError):
            self._let_go()
            raise


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    channel: socket.socket

    @classmethod
    def start(cls, libraries: Path, niceness: int) -> _Child:
        ours, theirs = socket.socketpair()
        ours.settimeout(SILENT_S)
        with theirs:
            # A bare interpreter: no environment, no site, no .pth files; as for photos in context/intake.
            command = [sys.executable, "-I", "-S", "-W", "ignore", str(_CHILD)]
            process = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
                [*command, str(libraries), str(niceness)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=_ENVIRONMENT,
            )
        return cls(process, ours)

    def receive(self, length: int) -> bytes:
        """So many bytes.  Raises OSError if the child has ended, or says nothing for `SILENT_S`."""
        received = bytearray()
        while len(received) < length:
            piece = self.channel.recv(length - len(received))
            if not piece:
                raise ConnectionResetError("the child ended")
            received += piece
        return bytes(received)

    def end(self) -> None:
        """Kill it: it holds nothing.  Harmless twice, and wakes whoever waits for its answer."""
        self.process.kill()
        self.process.wait()
        self.channel.close()
