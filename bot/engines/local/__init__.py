"""The local engine: a transformers model in a process of its own, many photo chats at once.

This half lives in the bot and imports nothing heavy: it hands prompts to the worker, passes words
on as they come, and starts the worker again when it dies or hangs.

The life of an ask, and the file of each leg::

    LocalEngine.draft             here       Prompt -> Ask
    the pipe                      process, frames, wire
    Worker.listen                 worker     takes asks in between two steps
    Encoder.encode                encoding   words and photos -> tokens; control tokens stay words
    Loop.step                     loop       choose, run, settle
      Reader.read                 reading    a piece of prompt; photos by `features`, beginnings by `prefixes`
      Slots                       slots      keys and values of all who write, each row at its own length
      Picker.pick                 picking    the next token of every row, by its own settings
      Row.push                    rows       tokens -> text, as it grows
    back through the pipe         Said, Done, Failed

`loading` chooses number format, quantisation and attention; `memory` says what fits; `batches` stands
in for `loop` where a model's cache does not allow it; `outlook` tells all that without loading.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bot.engines import Draft, OnText, Usage
from bot.engines.demo import resolve
from bot.engines.local.process import Process
from bot.engines.local.wire import (
    Ask,
    Beat,
    Broken,
    Done,
    Drop,
    Failed,
    Limits,
    Loading,
    Order,
    Quantisation,
    Ready,
    Said,
    Wish,
)
from bot.engines.sampling import Sampling, until
from bot.errors import EngineOverloaded, EngineTimeout, EngineUnavailable, PromptTooLong
from context.background import BackgroundTask
from context.health import Health
from prompts.prompt import Prompt

__all__ = ["Limits", "LocalEngine"]

log = logging.getLogger(__name__)

FAULTS: dict[str, type[EngineUnavailable | PromptTooLong]] = {
    "too_long": PromptTooLong,
    "overloaded": EngineOverloaded,
    "timeout": EngineTimeout,
    "unavailable": EngineUnavailable,
}
NEEDS = ("torch", "transformers", "accelerate")
TRIES = 2
"""A prompt that was with two workers when they died is not given to a third."""
BACK_OFF_S = (0.0, 0.5, 2.0, 5.0, 15.0, 30.0, 60.0)
HANG_S = 60.0
HANG_CPU_S = 600.0
RETRY_LOAD_S = 300.0
PATIENCE_S = 20.0
"""So long a new question waits for a worker that is being replaced, before a lesser answer is better."""
STEADY_S = 120.0
"""A worker that lived this long has earned a quick restart."""


@dataclass(slots=True)
class _Answer:
    """One `draft` call in flight."""

    ask: Ask
    until: float
    on_text: OnText | None
    result: asyncio.Future[Done]
    said: list[int] = field(default_factory=list)
    lives: int = 0


class LocalEngine:
    """Answers with a model on this machine's own GPU (or, slowly, its CPU)."""

    name = "local"

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        quantisation: Quantisation = "none",
        sampling: Sampling | None = None,
        max_pixels: int = 1_048_576,
        timeout_s: float = 120.0,
        load_timeout_s: float = 1800.0,
        hang_s: float | None = None,
        max_waiting: int = 256,
        limits: Limits | None = None,
        threads: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Nothing is loaded yet: that is `start`.

        Args:
            model: Hugging Face id or folder, or `demo`.
            revision: Branch, tag or commit of a Hugging Face model.
            device: `auto`, `cuda`, `cuda:1`, `mps` or `cpu`.
            quantisation: 4 or 8 bits by bitsandbytes; what sees keeps its full width.
            sampling: How words are drawn, and the most tokens of one answer.
            max_pixels: Area to which photos are shrunk before the model sees them.
            timeout_s: One answer, from `draft` to its last word.
            load_timeout_s: From start to the first answer, downloads included.
            hang_s: A worker that gives no sign for so long is killed and started again; by default a
                minute on a GPU, ten on a CPU, where one step of a large model takes that long.
            max_waiting: Answers in flight beyond which `draft` refuses with EngineOverloaded.
            limits: How much the worker takes on at once.
            threads: CPU threads of the model; None leaves it to torch.
            seed: For tests and benchmarks.
        """
        self.model = model
        sampling = sampling or Sampling()
        if model == "demo":  # so small that the likeliest word is the only one it is sure of
            sampling = replace(sampling, temperature=0, repetition_penalty=1)
        self.choice: dict[str, Any] = {}
        """What was chosen for this machine and how much fits; empty until ready."""
        self._sampling = sampling
        self._timeout_s = timeout_s
        self._load_timeout_s = load_timeout_s
        self._hang_s = hang_s
        self._max_waiting = max_waiting
        wish = Wish(resolve(model), revision, device, quantisation, max_pixels)
        self._order = Order(wish, limits or Limits(), threads, seed)
        self._answers: dict[int, _Answer] = {}
        self._numbers = iter(range(1, 1 << 62))
        self._process: Process | None = None
        self._keeping: BackgroundTask | None = None
        self._ready = asyncio.Event()
        self._first: asyncio.Future[None] | None = None
        self._beat = Beat()
        self._state = "not started"
        self._heard = 0.0
        self._restarts = 0

    async def start(self) -> None:
        """Load the model and wait until it has answered a first question.

        Raises EngineUnavailable with the reason when it cannot.  It goes on trying all the same, now and
        then until `close`: a download may fail today and succeed tomorrow.
        """
        self._look_for_what_is_missing()
        if self._ready.is_set():
            return
        if self._keeping is None:
            self._first = asyncio.get_running_loop().create_future()
            self._keeping = BackgroundTask("local engine", self._keep)
            self._keeping.start()
        assert self._first is not None
        await asyncio.shield(self._first)

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        """Answer the prompt; see `bot.engines.Engine`."""
        await self._be_ready()
        if len(self._answers) >= self._max_waiting:
            raise EngineOverloaded(f"{len(self._answers)} answers are waiting already")
        ask = Ask(
            id=next(self._numbers),
            messages=prompt.messages,
            sampling=self._sampling.wished(prompt.manner),
            deadline_s=self._timeout_s,
            language=prompt.language,
            schema=prompt.manner.schema,
        )
        loop = asyncio.get_running_loop()
        answer = _Answer(ask, loop.time() + self._timeout_s, on_text, loop.create_future())
        self._answers[ask.id] = answer
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._ready.is_set():
                    self._hand_over(answer)
                done = await answer.result
        except TimeoutError as late:
            raise EngineTimeout(f"no answer within {self._timeout_s:.0f} s") from late
        finally:
            del self._answers[ask.id]
            if (not answer.result.done() or answer.result.cancelled()) and self._process is not None:
                self._process.send(Drop(ask.id))
        if not (text := until(done.text, prompt.manner.stop).strip()):
            raise EngineUnavailable("the model answered nothing")
        usage = Usage(done.prompt_tokens, done.completion_tokens)
        return Draft(text, self.name, self.model, finish=done.finish, usage=usage)

    async def _be_ready(self) -> None:
        """Wait a little for a worker that is being replaced, not for one that loads for the first time."""
        if self._ready.is_set():
            return
        if self._keeping is None or not self.choice:
            raise EngineUnavailable(f"the local engine is not ready: {self._state}")
        try:
            async with asyncio.timeout(min(PATIENCE_S, self._timeout_s)):
                await self._ready.wait()
        except TimeoutError as late:
            raise EngineUnavailable(f"the local engine is not ready: {self._state}") from late

    async def health(self) -> Health:
        """Down while it loads or has failed; degraded when answers wait for a place."""
        if not self._ready.is_set():
            return Health("down", self._state)
        beat = self._beat
        detail = f"{self.model}: {beat.running} running, {beat.waiting} waiting"
        if beat.faults:
            detail += f", ran out of memory {beat.faults} times"
        if self._restarts:
            detail += f", restarted {self._restarts} times"
        return Health("degraded" if beat.waiting > beat.running else "ok", detail)

    @property
    def waiting(self) -> int:
        """Answers that have no place yet: the queue a new question would join."""
        return self._beat.waiting if self._ready.is_set() else len(self._answers)

    @property
    def in_flight(self) -> int:
        """Drafts that somebody waits for."""
        return len(self._answers)

    async def close(self) -> None:
        """End the worker; drafts in flight get EngineUnavailable.  Calling twice is harmless."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            await keeping.stop()
        self._ready.clear()
        self._state = "closed"
        if self._first is not None and not self._first.done():
            self._first.set_exception(EngineUnavailable("the local engine was closed"))
            self._first.exception()  # retrieved, even where nobody waits for it
        self._give_up("the local engine was closed")

    def _look_for_what_is_missing(self) -> None:
        """Say at once what a worker would only find out after seconds of imports."""
        if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
            raise EngineUnavailable(
                f"the local engine needs {', '.join(missing)}: pip install 'photo-support-bot[gpu]'"
            )
        folder = self._order.wish.model
        if folder.startswith(("/", "./", "../", "~")) and not Path(folder).expanduser().is_dir():
            raise EngineUnavailable(f"there is no folder {folder}")

    async def _keep(self) -> None:
        """Keep a worker alive: start it, listen to it, start the next one."""
        deaths = 0
        while True:
            born = time.monotonic()
            try:
                reason = await self._live()
            except OSError as fault:
                reason = f"no process can be started: {fault}"
            lived = time.monotonic() - born
            self._state = f"the worker ended: {reason}"
            log.error("model worker ended after %.0f s: %s", lived, reason)
            assert self._first is not None
            if not self._first.done():
                self._first.set_exception(EngineUnavailable(reason))
                self._first.exception()  # retrieved, even where nobody waits for it
            self._again(reason)
            deaths = 0 if lived > STEADY_S else deaths + 1
            self._restarts += 1
            await asyncio.sleep(self._back_off(deaths))

    def _back_off(self, deaths: int) -> float:
        """Seconds until the next worker is started, after so many quick deaths in a row."""
        if not self.choice:  # none was ever ready: the cause is not in the answers
            return RETRY_LOAD_S
        return BACK_OFF_S[min(deaths, len(BACK_OFF_S) - 1)]

    async def _live(self) -> str:
        """One worker's life.  Returns why it ended."""
        self._state = "starting"
        self._process = process = await Process.begin(self._order)
        self._heard = time.monotonic()
        watching = BackgroundTask("watch on the model worker", partial(self._watch, process))
        watching.start()
        reason = ""
        try:
            while (message := await process.receive()) is not None:
                self._heard = time.monotonic()
                if isinstance(message, Broken):
                    reason = message.reason
                else:
                    self._take(message)
        finally:
            self._ready.clear()
            await watching.stop()
            self._process = None
            code = await process.end()
        return reason or f"exit code {code}: {' / '.join(list(process.last_words)[-3:])}"

    async def _watch(self, process: Process) -> None:
        """Kill a worker that gives no sign of life."""
        while True:
            limit = self._load_timeout_s
            if self._ready.is_set():
                limit = self._hang_s or (HANG_CPU_S if self.choice.get("device") == "cpu" else HANG_S)
            silent = time.monotonic() - self._heard
            if silent > limit:
                log.error("model worker %s has been silent for %.0f s: killed", process.pid, silent)
                process.kill()
                return
            await asyncio.sleep(min(1.0, limit / 4))

    @property
    def pid(self) -> int | None:
        """The worker's process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def _take(self, message: object) -> None:
        match message:
            case list():
                for event in message:
                    self._settle(event)
            case Beat():
                self._beat = message
            case Loading():
                if message.stage not in self._state:
                    log.info("loading %s: %s", self.model, message.stage)
                self._state = f"loading {self.model}: {message.stage} {message.done:.0%}"
            case Ready():
                self.choice = message.choice
                self._state = "ready"
                self._ready.set()
                log.info("local engine ready: %s", self.choice)
                assert self._first is not None
                if not self._first.done():
                    self._first.set_result(None)
                for answer in self._answers.values():
                    self._hand_over(answer)
            case _:
                log.error("unknown message from the model worker: %s", type(message).__name__)

    def _settle(self, event: Said | Done | Failed) -> None:
        answer = self._answers.get(event.id)
        if answer is None or answer.result.done():
            return
        match event:
            case Said():
                answer.said.extend(event.tokens)
                if answer.on_text is not None and event.text:
                    try:
                        answer.on_text(event.text)
                    except Exception as fault:  # noqa: BLE001  # the caller's fault, and for the caller alone
                        answer.result.set_exception(fault)
            case Done():
                answer.result.set_result(event)
            case Failed():
                answer.result.set_exception(FAULTS[event.fault](event.reason))

    def _hand_over(self, answer: _Answer) -> None:
        assert self._process is not None
        answer.lives += 1
        left = answer.until - asyncio.get_running_loop().time()
        self._process.send(replace(answer.ask, deadline_s=left, said=tuple(answer.said)))

    def _again(self, reason: str) -> None:
        """Answers that were with the dead worker stay for the next one, unless it was their second."""
        for answer in self._answers.values():
            if answer.lives >= TRIES and not answer.result.done():
                answer.result.set_exception(EngineUnavailable(reason))

    def _give_up(self, reason: str) -> None:
        for answer in self._answers.values():
            if not answer.result.done():
                answer.result.set_exception(EngineUnavailable(reason))
