"""The local engine: a transformers model in a process of its own, many photo chats at once.

This part runs in the bot and imports nothing heavy: it sends prompts to the worker, passes words on
as they come, and asks the next worker if one dies or hangs.

The path of a request, and the file of each step::

    LocalEngine.draft             here       Prompt -> Ask
    the pipe                      keeper, process, frames, wire
    Worker.listen                 worker     takes asks in between two steps
    Encoder.encode                encoding   words and photos -> tokens; control tokens stay words
    Loop.step                     loop       choose, run, settle
      shares                      shares     who reads how much of its prompt in this step
      Reader.read                 reading    a piece of prompt; photos by `features`, beginnings by `prefixes`
      Slots                       slots      keys and values of all who write, each row at its own length
      Picker.pick                 picking    the next token of every row, by its own settings; JSON by `forms`
      Row.push                    rows       tokens -> text, as it grows
    back through the pipe         Said, Done, Failed

Before the first request `loading` brings the model into memory: `checkpoint` looks for broken files,
`choices` decides on number format, quantisation and attention, `memory` and `sizes` say what fits.
`batches` replaces `loop` if a model's cache does not allow it.  `outlook` predicts all this without
loading; `counting` counts a prompt's tokens in the bot.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from bot.engines import Draft, OnText, Usage
from bot.engines.demo import resolve
from bot.engines.local.keeper import Keeper
from bot.engines.local.wire import (
    Ask,
    Done,
    Drop,
    Failed,
    Limits,
    Order,
    Quantisation,
    Said,
    Wish,
)
from bot.engines.sampling import Sampling, until
from bot.errors import EngineOverloaded, EngineTimeout, EngineUnavailable, PromptTooLong
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
NEEDS = ("torch", "transformers", "accelerate", "llguidance")
TRIES = 2
"""A prompt that was with two workers when they died is not given to a third."""


@dataclass(slots=True)
class _Answer:
    """One `draft` call in flight."""

    ask: Ask
    until: float
    """Its deadline, on the clock of the event loop."""
    on_text: OnText | None
    result: asyncio.Future[Done]
    said: list[int] = field(default_factory=list)
    """Tokens that have come: the next worker goes on after them."""
    lives: int = 0
    """Workers that it was given to."""


class LocalEngine:
    """Answers with a model on this machine's GPU (or, slowly, its CPU)."""

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
        """Nothing is loaded yet: `start` does that.

        Args:
            model: Hugging Face id or folder, or `demo`.
            revision: Branch, tag or commit of a Hugging Face model.
            device: `auto`, `cuda`, `cuda:1`, `mps` or `cpu`.
            quantisation: 4 or 8 bits by bitsandbytes; the vision part keeps its full width.
            sampling: How words are drawn, and the most tokens of one answer.
            max_pixels: Area to which photos are shrunk before the model sees them.
            timeout_s: One answer, from `draft` to its last word.
            load_timeout_s: From start to the first answer, downloads included.
            hang_s: A worker that gives no sign of life for so long is killed and started again; by default
                a minute on a GPU, ten on a CPU, where one step of a large model takes that long.
            max_waiting: Answers in flight beyond which `draft` refuses with EngineOverloaded.
            limits: How much the worker takes on at once.
            threads: CPU threads of the model; None leaves it to torch.
            seed: For tests and benchmarks.
        """
        self.model = model
        sampling = sampling or Sampling()
        if model == "demo":  # so small that only its likeliest word is reliable
            sampling = replace(sampling, temperature=0, repetition_penalty=1)
        self._sampling = sampling
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._answers: dict[int, _Answer] = {}
        self._numbers = iter(range(1, 1 << 62))
        wish = Wish(resolve(model), revision, device, quantisation, max_pixels)
        self.keeper = Keeper(
            Order(wish, limits or Limits(), threads, seed),
            load_timeout_s=load_timeout_s,
            hang_s=hang_s,
            on_ready=self._go_on,
            on_event=self._settle,
            on_death=self._again,
        )

    async def start(self) -> None:
        """Load the model and wait until it has answered a first question.

        Raises EngineUnavailable with the reason if it cannot; keeps trying in any case until `close`.
        """
        self._look_for_what_is_missing()
        await self.keeper.start()

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        """Answer the prompt; see `bot.engines.Engine`."""
        await self.keeper.be_ready(patience_s=self._timeout_s)
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
                if self.keeper.is_ready:
                    self._hand_over(answer)
                done = await answer.result
        except TimeoutError as late:
            raise EngineTimeout(f"no answer within {self._timeout_s:.0f} s") from late
        finally:
            del self._answers[ask.id]
            if not answer.result.done() or answer.result.cancelled():
                self.keeper.send(Drop(ask.id))
        if not (text := until(done.text, prompt.manner.stop).strip()):
            raise EngineUnavailable("the model answered nothing")
        usage = Usage(done.prompt_tokens, done.completion_tokens)
        return Draft(text, self.name, self.model, finish=done.finish, usage=usage)

    async def health(self) -> Health:
        """Down while it loads or has failed; degraded when answers wait for a place."""
        if not self.keeper.is_ready:
            return Health("down", self.keeper.state)
        beat = self.keeper.beat
        detail = f"{self.model}: {beat.running} running, {beat.waiting} waiting"
        if beat.faults:
            detail += f", ran out of memory {beat.faults} times"
        if self.keeper.restarts:
            detail += f", restarted {self.keeper.restarts} times"
        return Health("degraded" if beat.waiting > beat.running else "ok", detail)

    async def close(self) -> None:
        """End the worker; drafts in flight get EngineUnavailable.  Calling twice is harmless."""
        await self.keeper.close()
        for answer in self._answers.values():
            if not answer.result.done():
                answer.result.set_exception(EngineUnavailable("the local engine was closed"))

    def _look_for_what_is_missing(self) -> None:
        """Report at once what a worker would only find out after seconds of imports."""
        if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
            raise EngineUnavailable(
                f"the local engine needs {', '.join(missing)}: pip install 'photo-support-bot[gpu]'"
            )
        folder = self.keeper.order.wish.model
        if folder.startswith(("/", "./", "../", "~")) and not Path(folder).expanduser().is_dir():
            raise EngineUnavailable(f"MODEL={folder}: there is no such folder")

    def _go_on(self) -> None:
        """A worker is ready, the first or a later one: send it the unanswered requests."""
        for answer in self._answers.values():
            self._hand_over(answer)

    def _hand_over(self, answer: _Answer) -> None:
        answer.lives += 1
        left = answer.until - asyncio.get_running_loop().time()
        self.keeper.send(replace(answer.ask, deadline_s=left, said=tuple(answer.said)))

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

    def _again(self, reason: str) -> None:
        """Requests of the dead worker are kept for the next one, unless it was their second worker."""
        for answer in self._answers.values():
            if answer.lives >= TRIES and not answer.result.done():
                answer.result.set_exception(EngineUnavailable(reason))
