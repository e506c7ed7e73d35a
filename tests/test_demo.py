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
from pathlib import Path
from typing import Any

import pytest

from bot.engines.demo import FOLDER
from bot.engines.demo.dialogues import (
    KINDS,
    PLEASE,
    Exchange,
    Kind,
    compares,
    dialogue,
    prompt_of,
    says,
)
from bot.engines.demo.drawings import Light, draw, jpeg
from bot.engines.local.wire import Ask, Done, Event, Limits, Wish
from bot.engines.sampling import Sampling
from context.turns import LANGUAGES, Language
from prompts.prompts import Prompts

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")

ROOT = Path(__file__).parent.parent
PROPOSED: dict[Language, tuple[str, str, str, str]] = {
    "en": (
        "What is wrong with my machine?",
        "What do you see in the photo?",
        "And this photo?",
        "Did the light change?",
    ),
    "zh": ("我的机器怎么了？", "照片里的灯怎么样？", "这张照片呢？", "灯变了吗？"),
}

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
    for turn in range(1, max(map(len, talks)) + 1):
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


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_the_conversation_that_the_readme_proposes(demo: Any, tongue: Language) -> None:
    was, now = Light("red", "blinking"), Light("red", "steady")
    text = (ROOT / ("README.zh.md" if tongue == "zh" else "README.md")).read_text("utf-8")
    broken, one, other, changed = PROPOSED[tongue]
    assert all(question in text for question in PROPOSED[tongue])
    talk = [
        Exchange(broken, PLEASE[tongue], (), tongue),
        Exchange(one, says(was, tongue), (was,), tongue),
        Exchange(other, says(now, tongue), (now,), tongue),
        Exchange(changed, compares(was, now, tongue), (), tongue),
    ]

    def sample(light: Light, _dice: random.Random) -> bytes:
        return (ROOT / f"docs/images/lights/{light.colour}-{light.pattern}.jpg").read_bytes()

    for length in range(1, 5):
        assert exam(demo, [talk[:length]], sample) == 1, talk[length - 1]


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
