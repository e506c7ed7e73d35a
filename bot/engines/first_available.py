"""An engine that combines others: the first one that can answer does.

A failing engine is skipped for a while (a circuit breaker), so that not every customer waits for the same
timeout; then one request tries it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from bot.engines import Draft, Engine, OnText
from bot.errors import BadConfiguration, EngineOverloaded, EngineUnavailable, PromptTooLong, Unavailable
from context.breaker import Breaker
from context.health import Health
from prompts.prompt import Prompt

HEALTH_TIMEOUT_S = 3.0

log = logging.getLogger(__name__)


class FirstAvailable:
    """Tries `engines` in order; the last one is never left out.

    After `failures` in a row an engine rests for `rest_s`.  When an engine fails in the middle of its
    answer, `on_text` has already seen the beginning of that, and sees nothing of the next one's; only the
    draft counts.  An engine that
    takes longer than `patience_s` to start (a model is downloaded) is left to go on by itself: a lesser
    answer now is better than silence until then.
    """

    name = "first_available"

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        failures: int = 3,
        rest_s: float = 20.0,
        patience_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not engines:
            raise ValueError("at least one engine is needed")
        self.model = engines[0].model
        self.engines = tuple(engines)
        self._patience_s = patience_s
        self._starting: set[asyncio.Task[Exception | None]] = set()
        self._breakers = tuple(Breaker(failures=failures, rest_s=rest_s, clock=clock) for _ in engines)

    async def start(self) -> None:
        """Start all engines; return when one can answer and the others had their time.

        An engine that cannot start is left to its breaker.  Raises if none can start, or if one is configured
        wrongly.
        """
        starting = [self._begin(engine) for engine in self.engines]
        _, waiting = await asyncio.wait(starting, timeout=self._patience_s)
        while waiting and not any(task.done() and task.result() is None for task in starting):
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        errors = [task.result() for task in starting if task.done()]
        for error in errors:
            if isinstance(error, BadConfiguration):
                raise error
        if not waiting and None not in errors:
            raise EngineUnavailable("no engine could be started")
        self.model = self.engines[0].model

    def _begin(self, engine: Engine) -> asyncio.Task[Exception | None]:
        task = asyncio.create_task(_start(engine), name=f"start {engine.name}")
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return task

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        """Answer with the first engine that can; where only the model is wanted, with it or not at all.

        Raises `EngineUnavailable` when none can, `PromptTooLong` when it was too long for each of them.
        """
        errors: list[Exception] = []
        heard = _Heard(on_text) if on_text is not None else None
        asked = self.engines[:1] if prompt.manner.by_model else self.engines
        for engine, breaker in zip(asked, self._breakers, strict=False):
            is_last = engine is self.engines[-1]
            if not breaker.allows() and not is_last:
                continue
            try:
                draft = await engine.draft(prompt, on_text=heard.next() if heard else None)
            except (PromptTooLong, EngineOverloaded) as alive:
                breaker.left()
                errors.append(alive)
            except Exception as error:  # noqa: BLE001 - whatever it is, the customer gets an answer
                breaker.failed()
                errors.append(error)
            except BaseException:
                breaker.left()
                raise
            else:
                breaker.succeeded()
                return draft
            log.warning("engine %s did not answer: %s", engine.name, _describe(errors[-1]))
        if errors and all(isinstance(error, PromptTooLong) for error in errors):
            raise errors[-1]
        if prompt.manner.by_model and errors and isinstance(errors[-1], EngineUnavailable):
            raise errors[-1]
        what = "; ".join(_describe(error) for error in errors) or "the model rests after failures"
        raise EngineUnavailable(f"no engine can answer: {what}")

    async def health(self) -> Health:
        """`ok` while the first engine answers, `degraded` while another one does; says which."""
        states = await asyncio.gather(*(_health(engine) for engine in self.engines))
        troubles: list[str] = []
        for engine, breaker, state in zip(self.engines, self._breakers, states, strict=True):
            if state.state != "down" and (not breaker.is_broken or engine is self.engines[-1]):
                detail = f"{engine.name}: {state.detail}"
                if not troubles:
                    return Health(state.state, detail)
                return Health("degraded", f"{detail}; before it {'; '.join(troubles)}")
            resting = " (resting after failures)" if breaker.is_broken else ""
            troubles.append(f"{engine.name}: {state.detail}{resting}")
        return Health("down", "; ".join(troubles))

    async def close(self) -> None:
        """Close all engines, even if closing one fails; cancel those that are still starting."""
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        results = await asyncio.gather(*(engine.close() for engine in self.engines), return_exceptions=True)
        for engine, result in zip(self.engines, results, strict=True):
            if isinstance(result, Exception):
                log.warning("engine %s did not close: %s", engine.name, _describe(result))


class _Heard:
    """Passes on the text of one engine only, never of two in a row."""

    def __init__(self, on_text: OnText) -> None:
        self._on_text = on_text
        self._has_said = False

    def next(self) -> OnText | None:
        """The callback for the next engine; None if an earlier one has already said something."""
        return None if self._has_said else self._say

    def _say(self, piece: str) -> None:
        self._has_said = True
        self._on_text(piece)


async def _start(engine: Engine) -> Exception | None:
    """None when the engine is ready; otherwise the reason why not, which is logged."""
    try:
        await engine.start()
    except Exception as error:  # noqa: BLE001 - whatever it is, another engine may start
        log.warning("engine %s did not start: %s", engine.name, _describe(error))
        return error
    return None


async def _health(engine: Engine) -> Health:
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT_S):
            return await engine.health()
    except TimeoutError:
        return Health("down", "does not say how it is")
    except Exception as error:  # noqa: BLE001 - health never raises
        return Health("down", _describe(error))


def _describe(error: Exception) -> str:
    """Our own messages as they are; foreign ones by class and place, since they may quote the customer."""
    if isinstance(error, Unavailable | BadConfiguration):
        return f"{type(error).__name__}: {error}"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
    return type(error).__name__ + where
