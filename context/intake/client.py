"""The bot's side of the intake: keeps the helper process alive and sends it pictures."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from pathlib import Path

from context.background import BackgroundTask
from context.health import Health
from context.intake import wire
from context.intake.formats import is_heic
from context.intake.limits import MAX_BYTES
from context.intake.wire import Normalised
from context.turns import Rejection

log = logging.getLogger(__name__)

START_S = 20.0
"""Time limit for the helper's start, which takes a tenth of a second on an idle machine."""
WAIT_S = 150.0
"""Time limit of a picture, for its turn and its answer together."""
LATER_S = 1.0
"""A child that its own timer should have ended is ended by us this much later."""
MAX_JPEG_BYTES = 4 * 1024 * 1024
"""More than 1024 x 1024 pixels at quality 90 can need."""
MOST_AT_ONCE = 4
"""By default: 200 photos a second; a child takes 25 MB for a usual photo, 200 at worst."""
RESTART_S = (0.05, 5.0)
"""The first pause before a new helper, and the longest."""
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "OPENBLAS_NUM_THREADS": "1"}
"""Nothing from our environment.  Huge pages make a child's fresh memory 3 ms cheaper for each photo."""


@dataclass(frozen=True, slots=True)
class _Helper:
    process: Process
    control: socket.socket


class Intake:
    """Checks and normalises strangers' pictures outside the bot's own process.

    Safe for any number of concurrent `normalise` calls on one event loop; `at_once` of them run
    (by default one for each core), the others wait.  Linux and macOS; Windows has no `fork`.
    """

    def __init__(
        self,
        *,
        at_once: int | None = None,
        give_up_s: float | None = None,
        wait_s: float = WAIT_S,
        opens_heic: bool | None = None,
    ) -> None:
        """`opens_heic`: by default, whether the extra `heic` is installed."""
        has_heic = importlib.util.find_spec("pi_heif") is not None
        self._opens_heic = has_heic if opens_heic is None else opens_heic
        self._at_once = at_once or min(_cores(), MOST_AT_ONCE)
        self._slots = asyncio.Semaphore(self._at_once)
        self._projector = asyncio.Semaphore(1)  # a clip takes seconds: photos are processed meanwhile
        self._give_up_s = give_up_s
        self._wait_s = wait_s
        self._up = asyncio.Event()
        self._keeper = BackgroundTask("photo intake", self._keep_helper)
        self._helper: _Helper | None = None  # set exactly while `_up` is
        self._starts = 0
        self._trouble = ""

    def begin(self) -> None:
        """Start the helper; pictures wait until it is ready.  Calling twice is harmless.

        If the helper cannot be started, this is retried in the background and shown in `health`.
        """
        self._keeper.start()

    async def start(self) -> None:
        """Start the helper and wait until it is ready."""
        self.begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self._up.wait()

    async def close(self) -> None:
        """End the helper and all its children.  Calling twice is harmless."""
        await self._keeper.stop()

    async def health(self) -> Health:
        """Whether pictures can be checked at the moment."""
        if self._helper:
            replaced = f", replaced {self._starts - 1} times" if self._starts > 1 else ""
            return Health(
                "ok", f"{self._at_once} pictures at once, helper {self._helper.process.pid}{replaced}"
            )
        if self._keeper.is_running and not self._trouble:
            return Health("degraded", "the photo helper is starting")
        return Health("down", self._trouble or "not started")

    async def normalise(self, data: bytes) -> Normalised | Rejection:
        """Make a clean, upright JPEG of a file.  Bad input is never an exception."""
        order = wire.HEIC if self._opens_heic and is_heic(data) else wire.PHOTO
        return await self._take(data, order, self._slots)

    async def watch(self, data: bytes) -> Normalised | Rejection:
        """Make one JPEG of two moments of a clip, and say which lamps blinked.  One clip at a time."""
        return await self._take(data, wire.CLIP, self._projector)

    async def _take(self, data: bytes, order: bytes, slots: asyncio.Semaphore) -> Normalised | Rejection:
        if not data:
            return Rejection("empty")
        if len(data) > MAX_BYTES:
            return Rejection("too_large", f"{len(data)} bytes")
        try:
            async with asyncio.timeout(self._wait_s), slots:
                for _ in range(2):  # a second try if the helper died during the first
                    while (helper := self._helper) is None:
                        await self._up.wait()
                    if answer := await self._ask(helper, data, order):
                        return answer
                    self._give_up_on(helper)
        except TimeoutError:
            return Rejection("try_again", f"no helper or no room within {self._wait_s:g} s")
        except OSError as why:  # out of file descriptors or memory
            return Rejection("try_again", str(why.strerror))
        return Rejection("try_again", "the helper ended twice")

    async def _ask(self, helper: _Helper, data: bytes, order: bytes) -> Normalised | Rejection | None:
        """Send one picture to one child.  None if the helper was lost: nothing is known about the picture."""
        ours, theirs = socket.socketpair()
        with ours:  # closing it tells the helper to kill the child, also after a timeout or cancellation
            ours.setblocking(False)
            with theirs:
                try:
                    socket.send_fds(helper.control, [order], [theirs.fileno()])
                except OSError:  # gone, or stuck for so long that its queue is full
                    return None
            give_up_s = self._give_up_s or wire.WALL_S[order] + LATER_S
            try:
                async with asyncio.timeout(give_up_s):
                    return await _converse(ours, data)
            except TimeoutError:
                return Rejection("try_again", f"no answer in {give_up_s:g} s")

    def _give_up_on(self, helper: _Helper) -> None:
        """End a helper that is dead or cannot fork; a new one follows."""
        if helper is self._helper:
            self._hide()
            with contextlib.suppress(ProcessLookupError):
                helper.process.kill()

    def _show(self, helper: _Helper) -> None:
        self._helper = helper
        self._starts += 1
        self._up.set()

    def _hide(self) -> None:
        self._helper = None
        self._up.clear()

    async def _keep_helper(self) -> None:
        """Start the helper, restart it whenever it ends, and end it when cancelled."""
        loop = asyncio.get_running_loop()
        shortest, longest = RESTART_S
        pause = shortest
        while True:
            started = loop.time()
            try:
                await self._run_helper()
            except OSError as why:  # TimeoutError is one
                self._trouble = f"the photo helper cannot start: {why!r}"
            log.warning("%s; starting another", self._trouble)
            pause = shortest if loop.time() - started > longest else min(longest, 2 * pause)
            await asyncio.sleep(pause)

    async def _run_helper(self) -> None:
        """One helper from start to end."""
        control, theirs = socket.socketpair()
        with control:
            control.setblocking(False)
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *_command(),
                    stdin=theirs.fileno(),
                    stdout=DEVNULL,
                    cwd="/",
                    env=_ENVIRONMENT,
                    start_new_session=True,
                )
            try:
                async with asyncio.timeout(START_S):
                    if await asyncio.get_running_loop().sock_recv(control, 1) != wire.READY:
                        raise OSError("it ended at once; its own words are in the error output")
                self._show(_Helper(process, control))
                self._trouble = f"the photo helper ended with {await process.wait()}"
            finally:
                self._hide()
                control.close()
                await asyncio.shield(_see_off(process))


async def _converse(channel: socket.socket, data: bytes) -> Normalised | Rejection | None:
    loop = asyncio.get_running_loop()
    # A child that ended early stopped reading; its reason can still be read.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await loop.sock_sendall(channel, wire.SIZE.pack(len(data)))
        await loop.sock_sendall(channel, data)
    answer = bytearray()
    wanted = wire.HEAD.size
    with contextlib.suppress(ConnectionResetError):
        while len(answer) < wanted and (piece := await loop.sock_recv(channel, 1 << 18)):
            answer += piece
            if len(answer) >= wire.HEAD.size:
                wanted = wire.HEAD.size + sum(wire.HEAD.unpack_from(answer)[3:])
                if wanted > MAX_JPEG_BYTES:
                    break
    return _parse(bytes(answer))


def _parse(answer: bytes) -> Normalised | Rejection | None:
    if len(answer) == 1:
        return {
            wire.SLOW: Rejection("too_slow", "killed at its limit"),
            wire.LATE: Rejection("try_again", "not done in time"),
            wire.CRASHED: Rejection("damaged", "the decoder crashed"),
        }.get(answer)
    if len(answer) < wire.HEAD.size:
        return None
    kind, width, height, length, more = wire.HEAD.unpack_from(answer)
    payload, facts = answer[wire.HEAD.size :][:length], answer[wire.HEAD.size + length :]
    if len(payload) + len(facts) != length + more:
        return None if length <= MAX_JPEG_BYTES else Rejection("damaged", "the decoder misbehaved")
    if kind == wire.TAKEN:
        return Normalised(payload, width, height, facts.decode(errors="replace"))
    code, _, detail = payload.decode(errors="replace").partition(" ")
    return Rejection(code, detail)


async def _see_off(process: Process) -> None:
    """It ends by itself when its socket is closed; if it does not, it is killed."""
    try:
        async with asyncio.timeout(2):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _command() -> list[str]:
    """A bare interpreter that can import from two places only: this package, and Pillow, PyAV and numpy.

    No site, no environment: no .pth files, no secrets, half the startup time.
    """
    pillow = importlib.util.find_spec("PIL")
    if pillow is None or pillow.origin is None:
        raise OSError("Pillow is not installed")
    places = [str(Path(__file__).parents[2]), str(Path(pillow.origin).parents[1])]
    code = f"import sys; sys.path += {places!r}; from context.intake.zygote import main; main()"
    return [sys.executable, "-I", "-S", "-W", "ignore", "-c", code]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
