"""What continuous batching gains: many short questions at once, and short ones beside long ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from benchmarks.local_engine.arms import Result, continuous, first_of, one_at_a_time, quantile, static
from benchmarks.local_engine.asks import WORDS, forced, image, short_asks
from bot.engines.local import shares as shares_module
from bot.engines.local.loading import Loaded
from bot.engines.local.wire import Ask
from prompts.prompt import PromptMessage


def batching(loaded: Loaded, sizes: Sequence[int], clock: Callable[[], float]) -> None:
    asks = short_asks(max(sizes))
    naive = one_at_a_time(loaded, asks, clock)
    print("| N | arm | tokens/s | x | p50 s | p99 s | p99 x | first word p50 s | x | as generate |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size in sizes:
        base = first_of(naive, size)
        show(size, "generate, one at a time", base, base, naive)
        show(size, "static, left-padded, 16", static(loaded, asks[:size], clock, 16), base, naive)
        show(size, f"continuous, {size} rows", continuous(loaded, asks[:size], clock, size), base, naive)
    print()


def show(size: int, arm: str, result: Result, base: Result, naive: Result) -> None:
    same = sum(words == naive.words[number] for number, words in result.words.items()) / len(result.words)
    p50, p99 = (quantile(result.last, q) for q in (0.5, 0.99))
    first = quantile(result.first, 0.5)
    print(
        f"| {size} | {arm} | {result.rate:.1f} | {result.rate / base.rate:.2f} | {p50:.1f} | {p99:.1f} "
        f"| {quantile(base.last, 0.99) / p99:.2f} | {first:.2f} | {quantile(base.first, 0.5) / first:.1f} "
        f"| {same:.0%} |",
        flush=True,
    )


def beside_long_ones(loaded: Loaded, clock: Callable[[], float]) -> None:
    """32 asks at once, every fourth of 750 tokens with a photo: who gets the first word when."""
    dice = random.Random(2)
    asks = []
    for number in range(1, 33):
        is_long = number % 4 == 1
        text = " ".join(dice.choices(WORDS, k=450 if is_long else 40))
        pictures = (image(dice, 640, 480),) if is_long else ()
        asks.append(Ask(number, (PromptMessage("user", text, pictures),), forced(24), 3600))
    print("| read | first word p50 s | short p50 s | short p99 s | long p50 s | long p99 s |")
    print("|---|---|---|---|---|---|")
    ours = shares_module.OVERTAKEN_S
    for name, overtaken_s in (("in order of arrival", 0.0), ("the shortest first", ours)):
        shares_module.OVERTAKEN_S = overtaken_s
        first = continuous(loaded, asks, clock, 32, piece=512).first
        long = first[::4]
        short = [seconds for number, seconds in enumerate(first) if number % 4]
        waits = [(first, 0.5), (short, 0.5), (short, 0.99), (long, 0.5), (long, 0.99)]
        print(f"| {name} | {' | '.join(f'{quantile(some, q):.2f}' for some, q in waits)} |", flush=True)
    shares_module.OVERTAKEN_S = ours
    print()
