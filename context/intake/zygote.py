"""The helper process: imports Pillow once, then forks a child with limits for every picture.

Forking from this small process takes a millisecond or two; a fresh interpreter takes a quarter of
a second, and `multiprocessing`'s fork server about 50 ms.  A decoder that hangs, uses up memory or is
exploited dies with its child, which can open no file or socket and has a short time limit.

The bot has the other end of stdin (`wire` describes the protocol).  If it closes a picture's socket,
the child is killed; when stdin ends, the bot is gone, and this process ends too.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import resource
import select
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

from PIL import Image

from context.intake import wire
from context.intake.limits import MAX_BYTES, Refused
from context.intake.normalise import normalise
from context.intake.wire import Normalised

CPU_S = {wire.PHOTO: 5, wire.CLIP: 30, wire.HEIC: 5}
MEMORY_BYTES = {wire.PHOTO: 1 << 30, wire.CLIP: 3 << 29, wire.HEIC: 1 << 30}
NICENESS = 5
NO_PROCESSES = (resource.RLIMIT_NPROC, 0)
_LIMITS = (
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_NOFILE, 0),  # nothing more can be opened: no file, no socket
)


def main() -> None:
    """Serve until stdin ends."""
    control = socket.socket(fileno=0)
    os.nice(NICENESS)
    # A service manager signals all processes; the bot then still finishes what it has begun.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _rehearse()
    gc.collect()
    gc.freeze()  # children must not copy pages to count references in them
    Zygote(control).serve()


def _rehearse() -> None:
    """Do everything once: children cannot open files, so every module has to be loaded here."""
    for kind in ("JPEG", "PNG", "WEBP"):
        out = io.BytesIO()
        Image.new("RGBA" if kind != "JPEG" else "RGB", (2100, 100)).save(out, kind)
        normalise(out.getvalue())


class Zygote:
    """The running children, each with the socket on which it answers."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._answers: dict[int, socket.socket] = {}  # by the child's pid
        self._poll = select.poll()
        self._bell, self._bell_rope = socket.socketpair()  # rings when a child ends
        self._bell.setblocking(False)
        self._bell_rope.setblocking(False)

    def serve(self) -> None:
        """Fork children, reap them, and kill those whose socket was closed, until the bot is gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._bell_rope.fileno(), warn_on_full_buffer=False)
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._bell, select.POLLIN)
        try:
            self._control.sendall(wire.READY)
        except BrokenPipeError:  # the bot has ended meanwhile
            return
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._bell.fileno():
                    self._bury()
                elif fd != self._control.fileno():
                    self._hang_up(fd)
                elif not self._accept():
                    self._kill_all()
                    return

    def _accept(self) -> bool:
        """Receive one picture's socket and fork its child.  False if the bot is gone."""
        try:
            order, fds, _, _ = socket.recv_fds(self._control, 1, 1)
        except OSError:
            return False
        for fd in fds:
            answer = socket.socket(fileno=fd)
            try:
                pid = os.fork()
            except OSError:  # no room for a process: closing the socket says so
                answer.close()
                continue
            if pid == 0:
                _live(answer, order)
            self._answers[pid] = answer
            self._poll.register(answer, 0)  # only to notice when the bot closes it
        return bool(order)

    def _bury(self) -> None:
        """Reap children that have ended, and tell the bot if their answer may be missing."""
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(4096)
        while self._answers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._answers.pop(pid) as answer:
                with contextlib.suppress(KeyError):  # the bot closed it earlier
                    self._poll.unregister(answer)
                if status != 0:
                    with contextlib.suppress(OSError):
                        answer.setblocking(False)
                        answer.send(_verdict(status))

    def _hang_up(self, fd: int) -> None:
        """Kill a child whose answer is no longer wanted."""
        for pid, answer in self._answers.items():
            if answer.fileno() == fd:
                self._poll.unregister(answer)
                os.kill(pid, signal.SIGKILL)
                return

    def _kill_all(self) -> None:
        signal.set_wakeup_fd(-1)  # the bell goes with us
        for pid in self._answers:
            os.kill(pid, signal.SIGKILL)


def _verdict(status: int) -> bytes:
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    verdicts: dict[int, bytes] = {signal.SIGXCPU: wire.SLOW, signal.SIGALRM: wire.LATE}
    return verdicts.get(ended_by, wire.CRASHED)


def _live(answer: socket.socket, order: bytes) -> NoReturn:
    """Run as the child: process one picture or clip, answer, exit."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(answer.fileno(), 0)
        os.closerange(3, 256)  # the sockets of the bot and of the other children
        signal.setitimer(signal.ITIMER_REAL, wire.WALL_S[order])  # SIGALRM also works inside a decoder
        take = _TAKERS[order]()
        own = [(resource.RLIMIT_CPU, CPU_S[order]), (resource.RLIMIT_AS, MEMORY_BYTES[order])]
        if order != wire.HEIC:  # its decoder starts a thread, which counts as a process
            own.append(NO_PROCESSES)
        for limit, most in (*own, *_LIMITS):
            with contextlib.suppress(ValueError, OSError):  # macOS does not support them all
                resource.setrlimit(limit, (most, most))
        channel = socket.socket(fileno=0)
        (length,) = wire.SIZE.unpack(channel.recv(wire.SIZE.size, socket.MSG_WAITALL))
        channel.sendall(_answer(take, channel.recv(min(length, MAX_BYTES), socket.MSG_WAITALL)))
        status = 0
    finally:
        os._exit(status)


def _watcher() -> Callable[[bytes], Normalised]:
    """FFmpeg and numpy are loaded only in the children that need them, not for photos."""
    from context.intake.clip import rehearse, watch  # noqa: PLC0415

    rehearse()
    return watch


def _heic_opener() -> Callable[[bytes], Normalised]:
    """As for clips: libheif is not loaded in the child of another photo."""
    from context.intake.heic import normalise_heic  # noqa: PLC0415

    return normalise_heic


_TAKERS: dict[bytes, Callable[[], Callable[[bytes], Normalised]]] = {
    wire.PHOTO: lambda: normalise,
    wire.CLIP: _watcher,
    wire.HEIC: _heic_opener,
}


def _answer(take: Callable[[bytes], Normalised], data: bytes) -> bytes:
    try:
        taken = take(data)
    except Refused as refused:
        said = f"{refused.code} {refused.detail}"
    except MemoryError:
        said = "too_many_pixels memory"
    except Exception as error:  # noqa: BLE001 - hostile input: whatever the decoder raises means the same
        said = f"damaged {type(error).__name__}"
    else:
        facts = taken.facts.encode()
        head = wire.HEAD.pack(wire.TAKEN, taken.width, taken.height, len(taken.jpeg), len(facts))
        return head + taken.jpeg + facts
    return wire.HEAD.pack(wire.REFUSED, 0, 0, len(said), 0) + said.encode()
