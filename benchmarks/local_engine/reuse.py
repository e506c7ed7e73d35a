"""What reuse saves: a conversation of several turns, with photos and prefixes kept or not."""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks.local_engine.arms import continuous, quantile
from benchmarks.local_engine.asks import WORDS, image, long_asks
from bot.engines.local.loading import Loaded
from bot.engines.local.loop import Loop
from bot.engines.local.wire import Ask, Done, Event, Limits, Said
from bot.engines.sampling import Sampling
from prompts.prompt import PromptMessage


def reuse(loaded: Loaded, clock: Callable[[], float]) -> None:
    """Five turns, photos of 300 tokens in turns 1, 2 and 4: CPU seconds until each first word."""
    arms = {
        "nothing": Limits(rows=1, prefix_bytes=0, feature_bytes=0),
        "photos as seen": Limits(rows=1, prefix_bytes=0),
        "photos and prefixes": Limits(rows=1),
    }
    print("| kept | turn 1 | 2 | 3 | 4 | 5 | all | saved |")
    print("|---|---|---|---|---|---|---|---|")
    base = 0.0
    for name, limits in arms.items():
        costs = conversation(loaded, clock, limits, turns=5, photos=(1, 2, 4), window=(5, 5))
        base = base or sum(costs)
        columns = " | ".join(f"{cost:.2f}" for cost in costs)
        print(f"| {name} | {columns} | {sum(costs):.1f} | {1 - sum(costs) / base:.0%} |", flush=True)
    print()


def windows(loaded: Loaded, clock: Callable[[], float]) -> None:
    """Twelve turns, five with a photo: what a window of five costs, and one trimmed three turns at a time."""
    nothing, everything = Limits(rows=1, prefix_bytes=0, feature_bytes=0), Limits(rows=1)
    print("| window | nothing kept | photos and prefixes | saved |")
    print("|---|---|---|---|")
    for name, window in (("the last 5 turns", (5, 5)), ("3 to 5 turns, trimmed by 3", (3, 5))):
        base, kept = (
            sum(conversation(loaded, clock, limits, turns=12, photos=(1, 2, 4, 7, 10), window=window))
            for limits in (nothing, everything)
        )
        print(f"| {name} | {base:.1f} | {kept:.1f} | {1 - kept / base:.0%} |", flush=True)
    print()


def together(loaded: Loaded, clock: Callable[[], float]) -> None:
    """16 ask at once, nobody has been answered yet; 380 of their 540 tokens are the same instructions."""
    asks = long_asks(loaded, 16, 540, 320, 24, common=380)
    print("| instructions | first word p50 s | p99 s |\n|---|---|---|")
    for name, prefix_bytes in (("read for each", 0), ("read once", 2**30)):
        first = continuous(loaded, asks, clock, 16, prefix_bytes=prefix_bytes).first
        print(f"| {name} | {quantile(first, 0.5):.2f} | {quantile(first, 0.99):.2f} |", flush=True)
    print()


def conversation(
    loaded: Loaded,
    clock: Callable[[], float],
    limits: Limits,
    *,
    turns: int,
    photos: tuple[int, ...],
    window: tuple[int, int],
) -> list[float]:
    """Seconds until the first word of each turn.  A window longer than its most is cut to its least."""
    dice = random.Random(5)
    least, most = window
    events: list[Event] = []
    loop = Loop(loaded, limits, emit=events.append)
    system = PromptMessage("system", " ".join(WORDS * 3))
    kept: list[tuple[PromptMessage, PromptMessage]] = []
    costs = []
    for turn in range(1, turns + 1):
        pictures = (image(dice, 640, 480),) if turn in photos else ()
        asked = PromptMessage("user", " ".join(dice.sample(WORDS, len(WORDS))), pictures)
        earlier = [message for pair in kept for message in pair]
        sampling = Sampling(temperature=0, repetition_penalty=1, max_tokens=24)
        queue = loop.read(Ask(turn, (system, *earlier, asked), sampling, 600))
        begun = clock()
        queue()
        while not any(isinstance(event, Said) and event.id == turn for event in events):
            loop.step()
        costs.append(clock() - begun)
        while loop.running:
            loop.step()
        said = next(event.text for event in events if isinstance(event, Done) and event.id == turn)
        kept.append((asked, PromptMessage("assistant", said)))
        if len(kept) > most:
            kept = kept[-least:]
    return costs
