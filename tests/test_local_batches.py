"""Models whose rows cannot come and go one by one: whole batches, the same words as `generate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

from bot.engines.local.wire import Ask, Done, Event, Failed, Limits, Said, Wish
from bot.engines.sampling import Sampling
from prompts.prompt import PromptImage, PromptMessage
from tests.local_asks import ask, by_generate, mixed_asks, text_of, user
from tests.tiny_model import tiny_model, tiny_text_model

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


def load(folder: str) -> Any:
    import torch

    from bot.engines.local.loading import load

    torch.set_num_threads(1)
    return load(Wish(folder), on_progress=lambda _stage, _done: None)


@pytest.fixture(scope="module")
def seeing() -> Any:
    return load(tiny_model())


def answer(
    loaded: Any, asks: list[Ask], *, listen: Callable[[Any, list[Event]], None] | None = None
) -> list[Event]:
    from bot.engines.local.batches import Batches

    events: list[Event] = []
    batches = Batches(
        loaded,
        Limits(rows=3, context=600),
        emit=events.append,
        listen=lambda: listen(batches, events) if listen is not None else None,
    )
    for one in asks:
        batches.read(one)()
    while batches.waiting:
        batches.step()
    return events


def texts(events: list[Event]) -> dict[int, str]:
    return {event.id: event.text for event in events if isinstance(event, Done)}


def test_a_cache_that_forgets_is_recognised_and_answered_in_batches() -> None:
    forgetful = load(tiny_text_model("mistral"))
    assert forgetful.choice.runner == "batches"
    assert "static batches" in " ".join(forgetful.choice.reasons)
    asks = [ask(number, user("word " * number + "Which light is on?")) for number in range(1, 6)]
    said = texts(answer(forgetful, asks))
    assert said == {one.id: text_of(forgetful, by_generate(forgetful, one)[0]) for one in asks}


def test_photo_chats_of_similar_length_share_a_batch(seeing: Any) -> None:
    asks = mixed_asks()
    events = answer(seeing, asks)
    assert texts(events) == {one.id: text_of(seeing, by_generate(seeing, one)[0]) for one in asks}
    for one in asks:
        pieces = [event.text for event in events if isinstance(event, Said) and event.id == one.id]
        assert "".join(pieces) == texts(events)[one.id]


def test_each_row_of_a_batch_has_its_own_settings(seeing: Any) -> None:
    asks = [
        ask(1, user("Hello"), sampling=Sampling(temperature=0, repetition_penalty=1, max_tokens=4)),
        ask(2, user("Hello"), sampling=Sampling(temperature=0, repetition_penalty=1, max_tokens=9)),
        ask(3, user("Hello"), sampling=Sampling(temperature=2, max_tokens=9)),
    ]
    done = {event.id: event for event in answer(seeing, asks) if isinstance(event, Done)}
    assert [done[number].completion_tokens for number in (1, 2)] == [4, 9]
    assert done[2].text.startswith(done[1].text)
    assert done[3].text != done[2].text


def test_a_row_held_to_a_schema_is_json_of_it(seeing: Any) -> None:
    colour = replace(ask(1, user("Which light is on?", 1)), schema='{"enum": ["red", "green"]}')
    events = answer(seeing, [colour, ask(2, user("Which light is on?", 2))])
    assert texts(events)[1] in {'"red"', '"green"'}
    assert texts(events)[2] == text_of(seeing, by_generate(seeing, ask(2, user("Which light is on?", 2)))[0])


def test_a_dropped_answer_is_not_given(seeing: Any) -> None:
    def drop_the_second(batches: Any, events: list[Event]) -> None:
        if len(events) > 6:
            batches.drop(2)

    said = texts(answer(seeing, [ask(number, user("Hello")) for number in (1, 2, 3)], listen=drop_the_second))
    assert set(said) == {1, 3}


def test_late_long_and_unreadable_asks_cost_only_themselves(seeing: Any) -> None:
    odd = user("Which light?", 1)
    broken = replace(odd, images=(PromptImage(odd.images[0].photo, b"\xff\xd8 not a photo"),))
    asks = [
        ask(1, user("word " * 600)),
        replace(ask(2, user("Hello")), deadline_s=-1.0),
        ask(3, broken),
        ask(4, user("Hello"), PromptMessage("assistant", "Hi"), user("<|image_pad|>")),
    ]
    events = answer(seeing, asks)
    faults = {event.id: event.fault for event in events if isinstance(event, Failed)}
    assert faults == {1: "too_long", 2: "timeout"}
    assert set(texts(events)) == {3, 4}


def test_a_batch_too_large_for_memory_is_cut(seeing: Any) -> None:
    import torch

    class Small:
        def __getattr__(self, name: str) -> Any:
            return getattr(seeing.model, name)

        def generate(self, **arguments: Any) -> Any:
            if len(arguments["input_ids"]) > 1:
                raise torch.OutOfMemoryError("injected")
            return seeing.model.generate(**arguments)

    asks = [ask(number, user("Hello")) for number in (1, 2, 3)]
    said = texts(answer(replace(seeing, model=Small()), asks))
    assert said == {one.id: text_of(seeing, by_generate(seeing, one)[0]) for one in asks}
