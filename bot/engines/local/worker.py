"""The model worker: a process that owns the GPU, reads requests from stdin and writes answers to stdout.

It ends when the bot closes its input, so it never runs longer than the bot.  It knows nothing of chats or
customers: prompts come in, words go out.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, BinaryIO, Protocol

import torch
from PIL import Image

from bot.engines.local import frames
from bot.engines.local.batches import Batches
from bot.engines.local.loading import Loaded, load
from bot.engines.local.loop import Loop
from bot.engines.local.wire import Ask, Beat, Broken, Done, Drop, Event, Failed, Limits, Loading, Order, Ready
from bot.engines.sampling import Sampling
from bot.errors import EngineUnavailable
from context.turns import Photo
from prompts.prompt import PromptImage, PromptMessage

BEAT_S = 0.5
"""Between two heartbeats, if steps are shorter than that."""
IDLE_S = 0.5
"""Waiting for messages while there is nothing to do; then it beats."""
FLUSH_S = 0.02
"""Words wait at most so long in a step that goes on."""
WARM_UP_S = 600.0
"""For the first answer: a CPU takes minutes to look at the largest photo."""
SWITCH_S = 0.0005
"""How long a thread that prepares photos may keep the model's waiting: a tenth of Python's own."""
READERS = 4
"""Photos prepared side by side: 20 to 150 ms of CPU each."""


class Runner(Protocol):
    """What answers: row by row (`loop`) or batch by batch (`batches`)."""

    faults: int
    """Times that memory ran out and the service went on."""

    @property
    def running(self) -> int:
        """Answers being written."""
        ...

    @property
    def waiting(self) -> int:
        """Answers not started yet."""
        ...

    def read(self, ask: Ask) -> Callable[[], None]:
        """Prepare an ask, in any thread; what comes back queues it, in the model's thread."""
        ...

    def drop(self, ask_id: int) -> None:
        """This answer is no longer wanted."""
        ...

    def warm_up(self) -> None:
        """Prepare what later steps would wait for; called once, when a first answer has been given."""
        ...

    def step(self) -> None:
        """Work a little, or a whole batch; nothing when there is nothing to do."""
        ...

    def room(self) -> dict[str, object]:
        """How much fits, for `check`."""
        ...


class Worker:
    """Carries messages between the bot and the runner, and beats."""

    def __init__(self, order: Order, source: BinaryIO, sink: BinaryIO) -> None:
        self._order = order
        self._source = source
        self._sink = sink
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._outbox: list[Event] = []
        self._gone = False
        self._last_beat = 0.0
        self._last_flush = 0.0
        self._is_warm = False
        self._steps = 0
        self._runner: Runner
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")

    def run(self) -> None:
        """Load, warm up, then answer until the bot closes the pipe."""
        sys.setswitchinterval(SWITCH_S)
        if self._order.threads is not None:
            torch.set_num_threads(self._order.threads)
        if self._order.seed is not None:
            torch.manual_seed(self._order.seed)
        threading.Thread(target=self._take_in, name="inbox", daemon=True).start()
        loaded = load(self._order.wish, on_progress=lambda stage, done: self.send(Loading(stage, done)))
        self._runner = open_runner(loaded, self._order.limits, emit=self._tell, listen=self.listen)
        self.send(Loading("warm-up", 0.0))
        self._warm_up(self._order.wish.max_pixels)
        gc.collect()
        gc.freeze()  # libraries and model stay for good; collections need not go over them
        gc.enable()
        self.send(Ready({**asdict(loaded.choice), **self._runner.room()}))
        while not self._gone:
            self.listen(idle=not (self._runner.running or self._runner.waiting))
            self._runner.step()
            self._steps += 1
            self._flush()

    def _warm_up(self, max_pixels: int) -> None:
        """Answer a question about a photo of the largest size: ready means that this works."""
        side = int(max_pixels**0.5)
        jpeg = io.BytesIO()
        Image.new("RGB", (side, side), "white").save(jpeg, "JPEG")
        image = PromptImage(Photo("", side, side), jpeg.getvalue())
        words = PromptMessage("user", "Is the light on?", (image,))
        try:
            self._runner.read(Ask(0, (words,), Sampling(max_tokens=8), deadline_s=WARM_UP_S))()
        except Exception as fault:  # whatever the model's own chat template makes Jinja raise
            raise EngineUnavailable(self._no_first_answer(str(fault))) from fault
        while not any(isinstance(event, Done | Failed) for event in self._outbox):
            self._runner.step()
        for event in self._outbox:
            if isinstance(event, Failed):
                raise EngineUnavailable(self._no_first_answer(event.reason))
        self._outbox.clear()
        self._runner.warm_up()
        self._is_warm = True

    def _no_first_answer(self, reason: str) -> str:
        model = self._order.wish.model
        return f"MODEL={model}: it cannot answer about a photo ({reason}): set MODEL to another one"

    def listen(self, *, idle: bool = False) -> None:
        """Take in what the bot said; wait for it when there is nothing else to do.  Beats."""
        self._flush()
        with_wait = idle
        while True:
            try:
                message = self._inbox.get(block=with_wait, timeout=IDLE_S if with_wait else None)
            except queue.Empty:
                break
            with_wait = False
            if message is None:
                self._gone = True
                return
            if callable(message):
                message()
            elif isinstance(message, Ask):
                self._readers.submit(self._read, message)
            elif isinstance(message, Drop):
                self._runner.drop(message.id)
        self._beat()

    def _read(self, ask: Ask) -> None:
        try:
            self._inbox.put(self._runner.read(ask))
        except Exception as fault:  # noqa: BLE001  # one ask's trouble must not end the worker
            failed = Failed(ask.id, "unavailable", f"cannot read the prompt: {type(fault).__name__}")
            self._inbox.put(lambda: self._tell(failed))

    def _take_in(self) -> None:
        while (message := frames.read(self._source)) is not None:
            self._inbox.put(message)
        if not self._is_warm:  # a download must not go on for a bot that is gone
            os._exit(0)
        self._inbox.put(None)

    def _beat(self) -> None:
        if (now := time.monotonic()) - self._last_beat >= BEAT_S:
            self._last_beat = now
            runner = self._runner
            self.send(Beat(runner.running, runner.waiting, self._steps, runner.faults))

    def _tell(self, event: Event) -> None:
        """Words leave with the step that made them, but never wait for the long prompts of others."""
        self._outbox.append(event)
        if self._is_warm and time.monotonic() - self._last_flush > FLUSH_S:
            self._flush()

    def _flush(self) -> None:
        self._last_flush = time.monotonic()
        if self._outbox:
            self.send(self._outbox)
            self._outbox.clear()

    def send(self, value: object) -> None:
        """One frame to the bot."""
        self._sink.write(frames.packed(value))
        self._sink.flush()


def open_runner(
    loaded: Loaded, limits: Limits, *, emit: Callable[[Event], None], listen: Callable[[], None]
) -> Runner:
    """The runner that this model allows."""
    if loaded.choice.runner == "rows":
        return Loop(loaded, limits, emit=emit)
    return Batches(loaded, limits, emit=emit, listen=listen)


def main() -> None:
    """Serve one bot over standard input and output."""
    # Ctrl-C and service managers signal the whole group; the bot still wants the answers in flight.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Libraries print; what they print must not fall among the frames.
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    source = sys.stdin.buffer
    order = frames.read(source)
    if order is None:
        return
    worker = Worker(order, source, sink)
    code = 1
    try:
        worker.run()
        code = 0
    except EngineUnavailable as fault:
        worker.send(Broken(str(fault)))
    except BrokenPipeError:
        pass  # the bot is gone
    except BaseException:  # noqa: BLE001  # a lost GPU context among them: the next worker starts afresh
        traceback.print_exc()
    sys.stderr.flush()
    # Reader threads may still hold a broken GPU: nothing is worth waiting for.
    os._exit(code)
