"""The demo model really reads photos: the right photo, of the right chat, in the right turn.

Every prompt goes through the bot's own templates, the real processor and the engine with all its
caches; through the whole bot it runs in `test_scene`.  The blind controls show that the answers come
from the photos: with another one they are wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

from bot.engines.demo import FOLDER
from bot.engines.demo.dialogues import KINDS, Exchange, Kind, dialogue, prompt_of
from bot.engines.demo.drawings import Light, draw, jpeg
from bot.engines.local.wire import Ask, Done, Event, Limits, Wish
from bot.engines.sampling import Sampling
from prompts.prompts import Prompts

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")

Picture = Callable[[Light, random.Random], bytes]

GREEDY = Sampling(temperature=0, repetition_penalty=1, max_tokens=48)


@pytest.fixture(scope="module")
def demo() -> Any:
    import torch

    from bot.engines.local.loading import load

    torch.set_num_threads(1)
    return load(Wish(str(FOLDER)), on_progress=lambda _stage, _done: None)


def drawn(light: Light, dice: random.Random) -> bytes:
    return jpeg(draw(light, dice, scale=dice.choice((1, 2))))


def exam(demo: Any, talks: list[list[Exchange]], pictures: Picture = drawn, *, seed: int = 1) -> float:
    """Share of exactly right last answers, when all the chats are there at once, turn after turn."""
    from bot.engines.local.loop import Loop

    events: list[Event] = []
    loop = Loop(demo, Limits(rows=16, piece=256), emit=events.append)
    dice, prompts = random.Random(seed), Prompts()
    photos = [[pictures(light, dice) for exchange in talk for light in exchange.lights] for talk in talks]
    for turn in range(1, 4):
        for number, talk in enumerate(talks):
            if len(talk) >= turn:
                prompt = prompt_of(talk[:turn], prompts, photos[number])
                loop.read(Ask(turn * 1000 + number, prompt.messages, GREEDY, 600))()
        while loop.running or loop.waiting:
            loop.step()
    said = {event.id: event.text for event in events if isinstance(event, Done)}
    right = [said[len(talk) * 1000 + number] == talk[-1].answer for number, talk in enumerate(talks)]
    return sum(right) / len(right)


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_drawings_are_read_in_every_kind_of_conversation(demo: Any, kind: Kind) -> None:
    dice = random.Random(f"fresh {kind}")
    assert exam(demo, [dialogue(kind, dice) for _ in range(40)]) >= 0.9


def test_with_a_neighbours_photo_the_answers_are_wrong(demo: Any) -> None:
    """Blind control: were words enough, this would change nothing.  Chance is one in eight."""
    dice = random.Random("neighbours")
    talks = [dialogue("one", dice) for _ in range(40)]
    lights = [talk[0].lights for talk in talks]
    moved = [[replace(talk[0], lights=lights[number - 1])] for number, talk in enumerate(talks)]
    assert exam(demo, moved) <= 0.35
    assert exam(demo, talks) >= 0.9


def test_without_a_light_in_the_photo_the_answers_are_chance(demo: Any) -> None:
    from PIL import Image

    dice = random.Random("grey")
    grey = jpeg(Image.new("RGB", (96, 96), "grey"))
    assert exam(demo, [dialogue("one", dice) for _ in range(40)], lambda _light, _dice: grey) <= 0.35


def test_the_weights_stay_small_enough_for_a_repository() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 6_500_000
