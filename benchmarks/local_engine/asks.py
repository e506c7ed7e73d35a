"""What is asked: short questions, long ones and photos, drawn at random but the same in every run."""

from __future__ import annotations

import math
import random

from bot.engines.demo.drawings import any_light, draw, jpeg
from bot.engines.local.encoding import Encoder
from bot.engines.local.loading import Loaded
from bot.engines.local.wire import Ask
from bot.engines.sampling import Sampling
from context.turns import Photo
from prompts.prompt import PromptImage, PromptMessage

WORDS = (
    *("the", "light", "on", "your", "machine", "is", "red", "and", "blinks", "twice"),
    *("please", "press", "reset", "for", "five", "seconds", "then", "wait"),
)


def short_asks(count: int) -> list[Ask]:
    """Some 46 tokens of prompt, half of them with a photo of 48 tokens; answers of 8 to 200 tokens."""
    dice = random.Random(11)
    asks = []
    for number in range(1, count + 1):
        text = " ".join(dice.choices(WORDS, k=dice.randrange(10, 30)))
        pictures = (image(dice, 256, 192),) if number % 2 else ()
        length = min(200, max(8, round(math.exp(dice.gauss(4.0, 0.6)))))
        asks.append(Ask(number, (PromptMessage("user", text, pictures),), forced(length), 3600))
    return asks


def long_asks(
    loaded: Loaded, count: int, context: int, side: int, length: int, *, common: int = 0
) -> list[Ask]:
    """Prompts of `context` tokens with a photo; about `common` of them are the same instructions for all."""
    dice = random.Random(3)
    asks = []
    instructions = " ".join(dice.choices(WORDS, k=common))
    for number in range(1, count + 1):
        picture = image(dice, side, side)
        system = PromptMessage("system", instructions or " ".join(dice.choices(WORDS, k=40)))
        bare = Ask(0, (system, PromptMessage("user", "", (picture,))), forced(1), 3600)
        room = context - len(Encoder(loaded).encode(bare).tokens)
        text = " ".join(dice.choices(WORDS, k=max(1, room)))
        asks.append(Ask(number, (system, PromptMessage("user", text, (picture,))), forced(length), 3600))
    return asks


def forced(length: int) -> Sampling:
    return Sampling(temperature=0, repetition_penalty=1, max_tokens=length)


def image(dice: random.Random, width: int, height: int) -> PromptImage:
    picture = draw(any_light(dice), dice).resize((width, height))
    return PromptImage(Photo("", width, height), jpeg(picture))
