"""Who answers when engines fail: order, rest, trial, and what health says meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from bot.engines import Draft, OnText
from bot.engines.first_available import FirstAvailable
from bot.errors import BadConfiguration, EngineOverloaded, EngineTimeout, EngineUnavailable, PromptTooLong
from context.health import Health
from prompts.prompt import Prompt
from tests.asked import asked
from tests.clock import Clock
from tests.until import PATIENCE_S

SECRET = "my address is 7 Elm Street"


class Scripted:
    """An engine that does what its script says, one entry a draft, and answers when the script is over."""

    def __init__(self, name: str, *script: Exception | asyncio.Event) -> None:
        self.name = name
        self.model = f"{name}-model"
        self.script = list(script)
        self.start_error: Exception | None = None
        self.started = asyncio.Event()
        self.started.set()
        self.state = Health("ok", "well")
        self.drafts = 0
        self.closed = 0

    async def start(self) -> None:
        await self.started.wait()
        if self.start_error is not None:
            raise self.start_error

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        self.drafts += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if step is not None:
            await step.wait()
        return Draft(f"{self.name} says", self.name, self.model)

    async def health(self) -> Health:
        return self.state

    async def close(self) -> None:
        self.closed += 1
        if self.start_error is not None:
            raise self.start_error


async def answers(engine: FirstAvailable, count: int) -> list[str]:
    return [(await engine.draft(asked("hi"))).engine for _ in range(count)]


@pytest.mark.parametrize(
    "error",
    [
        EngineUnavailable("gone"),
        EngineTimeout("late"),
        EngineOverloaded("full"),
        PromptTooLong("long"),
        KeyError("bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_next_engine_answers_whatever_the_first_one_raises(error: Exception) -> None:
    engine = FirstAvailable([Scripted("a", error), Scripted("b")])

    assert await answers(engine, 2) == ["b", "a"]


async def test_engine_rests_after_failures_in_a_row_and_is_then_tried_by_one_request(clock: Clock) -> None:
    trial = asyncio.Event()
    first = Scripted("a", *[EngineUnavailable("gone")] * 3, trial)
    engine = FirstAvailable([first, Scripted("b")], failures=3, rest_s=20, clock=clock)

    assert await answers(engine, 5) == ["b"] * 5
    assert first.drafts == 3

    clock.move(19)
    assert await answers(engine, 1) == ["b"]
    assert first.drafts == 3

    clock.move(2)
    trying = asyncio.create_task(engine.draft(asked("hi")))
    await asyncio.sleep(0)
    assert await answers(engine, 3) == ["b"] * 3, "while one request tries, the others do not wait for it"
    trial.set()
    assert (await trying).engine == "a"
    assert await answers(engine, 2) == ["a", "a"]


async def test_failed_trial_begins_another_rest(clock: Clock) -> None:
    first = Scripted("a", *[EngineUnavailable("gone")] * 4)
    engine = FirstAvailable([first, Scripted("b")], failures=3, rest_s=20, clock=clock)
    await answers(engine, 3)

    clock.move(21)
    assert await answers(engine, 2) == ["b", "b"]
    assert first.drafts == 4
    clock.move(21)
    assert await answers(engine, 1) == ["a"]


async def test_cancelled_trial_leaves_the_next_request_to_try(clock: Clock) -> None:
    first = Scripted("a", *[EngineUnavailable("gone")] * 3, asyncio.Event())
    engine = FirstAvailable([first, Scripted("b")], failures=3, rest_s=20, clock=clock)
    await answers(engine, 3)
    clock.move(21)

    trying = asyncio.create_task(engine.draft(asked("hi")))
    await asyncio.sleep(0)
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    assert await answers(engine, 1) == ["a"]


@pytest.mark.parametrize("error", [EngineOverloaded("full"), PromptTooLong("long")])
async def test_engine_that_is_alive_does_not_rest(error: Exception) -> None:
    first = Scripted("a", *[error] * 10)
    engine = FirstAvailable([first, Scripted("b")], failures=3)

    assert await answers(engine, 11) == ["b"] * 10 + ["a"]


async def test_success_ends_the_row_of_failures() -> None:
    gone = EngineUnavailable("gone")
    open_door = asyncio.Event()
    open_door.set()
    first = Scripted("a", gone, gone, open_door, gone, gone)
    engine = FirstAvailable([first, Scripted("b")], failures=3)

    assert await answers(engine, 6) == ["b", "b", "a", "b", "b", "a"]


async def test_last_engine_is_tried_even_while_it_fails() -> None:
    last = Scripted("b", *[EngineUnavailable("gone")] * 5)
    engine = FirstAvailable([Scripted("a", *[EngineUnavailable("gone")] * 5), last], failures=3)
    for _ in range(5):
        with pytest.raises(EngineUnavailable, match="no engine can answer"):
            await engine.draft(asked("hi"))

    assert (last.drafts, (await engine.draft(asked("hi"))).engine) == (5, "b")


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([PromptTooLong("x"), PromptTooLong("x")], PromptTooLong),
        ([PromptTooLong("x"), EngineTimeout("x")], EngineUnavailable),
        ([ValueError("x"), EngineTimeout("x")], EngineUnavailable),
    ],
)
async def test_when_all_fail_the_error_says_what_the_customer_can_do(
    errors: Sequence[Exception], kind: type[Exception]
) -> None:
    engine = FirstAvailable([Scripted(name, error) for name, error in zip("ab", errors, strict=True)])

    with pytest.raises(kind) as caught:
        await engine.draft(asked("hi"))
    assert type(caught.value) is kind


async def test_foreign_errors_are_logged_by_class_and_place_only(caplog: pytest.LogCaptureFixture) -> None:
    engine = FirstAvailable([Scripted("a", KeyError(SECRET)), Scripted("b", KeyError(SECRET))])

    with caplog.at_level(logging.DEBUG), pytest.raises(EngineUnavailable) as caught:
        await engine.draft(asked(SECRET))

    told = caplog.text + str(caught.value)
    assert SECRET not in told
    assert "KeyError at" in told
    assert "test_first_available.py:" in told


async def test_health_says_who_answers(clock: Clock) -> None:
    first, second = Scripted("a", *[EngineUnavailable("gone")] * 3), Scripted("b")
    engine = FirstAvailable([first, second], failures=3, rest_s=20, clock=clock)
    assert await engine.health() == Health("ok", "a: well")

    first.state = Health("down", "no route")
    health = await engine.health()
    assert (health.state, health.detail) == ("degraded", "b: well; before it a: no route")

    first.state = Health("ok", "well")
    await answers(engine, 3)
    assert (await engine.health()).state == "degraded", "it says that it is well, but its answers fail"

    second.state = first.state = Health("down", "no route")
    assert (await engine.health()).state == "down"


async def test_start_goes_on_with_the_engines_that_could_be_started() -> None:
    broken, well = Scripted("a", EngineUnavailable("not started")), Scripted("b")
    broken.start_error = RuntimeError("no GPU")
    engine = FirstAvailable([broken, well])

    await engine.start()
    assert await answers(engine, 1) == ["b"]
    await engine.close()
    assert (broken.closed, well.closed) == (1, 1)


async def test_an_engine_that_takes_long_to_start_does_not_keep_customers_waiting() -> None:
    slow, well = Scripted("a", EngineUnavailable("loading")), Scripted("b")
    slow.started.clear()
    engine = FirstAvailable([slow, well], patience_s=0.01)

    await engine.start()
    assert await answers(engine, 1) == ["b"]
    slow.started.set()
    assert await answers(engine, 1) == ["a"]
    await engine.close()


async def test_what_still_starts_is_called_off_by_closing() -> None:
    slow = Scripted("a")
    slow.started.clear()
    engine = FirstAvailable([slow, Scripted("b")], patience_s=0.01)
    await engine.start()
    await asyncio.wait_for(engine.close(), PATIENCE_S)


async def test_nobody_is_answered_before_one_engine_can_answer() -> None:
    slow = Scripted("a")
    slow.started.clear()
    engine = FirstAvailable([slow], patience_s=0.01)
    starting = asyncio.create_task(engine.start())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(starting), 0.05)
    slow.started.set()
    await asyncio.wait_for(starting, PATIENCE_S)


async def test_start_fails_when_no_engine_starts_or_one_is_configured_wrongly() -> None:
    broken = Scripted("a")
    broken.start_error = RuntimeError("no GPU")
    with pytest.raises(EngineUnavailable):
        await FirstAvailable([broken]).start()
    broken.start_error = BadConfiguration(["MODEL: no such folder"])
    with pytest.raises(BadConfiguration):
        await FirstAvailable([broken, Scripted("b")]).start()
