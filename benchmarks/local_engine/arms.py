"""The arms: the same asks by `generate`, in padded batches, and by our loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bot.engines.local.encoding import conversation_of
from bot.engines.local.loading import Loaded
from bot.engines.local.loop import Loop
from bot.engines.local.wire import Ask, Event, Limits, Said


@dataclass(frozen=True)
class Result:
    """One arm: when each request got its first and its last word, and all that was said."""

    first: list[float]
    last: list[float]
    tokens: int
    words: dict[int, tuple[int, ...]]

    @property
    def rate(self) -> float:
        """Tokens per second until the last word of all."""
        return self.tokens / max(self.last)


def one_at_a_time(loaded: Loaded, asks: list[Ask], clock: Callable[[], float]) -> Result:
    """The usual snippet: `generate` per request, in order of arrival."""
    return in_batches(loaded, asks, clock, 1)


def static(loaded: Loaded, asks: list[Ask], clock: Callable[[], float], size: int) -> Result:
    """Left-padded batches in order of arrival; each lasts as long as its longest answer."""
    return in_batches(loaded, asks, clock, size)


def in_batches(loaded: Loaded, asks: list[Ask], clock: Callable[[], float], size: int) -> Result:
    first, last, words, total = [], [], {}, 0
    inputs = [
        loaded.processor.apply_chat_template(
            [conversation_of(ask) for ask in asks[start : start + size]],
            chat_template=loaded.chat_template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(loaded.model.device)
        for start in range(0, len(asks), size)
    ]
    begun = clock()
    for number, batch in enumerate(inputs):
        members = asks[number * size : (number + 1) * size]
        longest = max(ask.sampling.max_tokens for ask in members)
        with torch.inference_mode():
            out = loaded.model.generate(
                **batch,
                do_sample=False,
                max_new_tokens=longest,
                min_new_tokens=longest,
                suppress_tokens=list(loaded.banned_ids),
            )
        done = clock() - begun
        for row, ask in enumerate(members):
            said = out[row, batch["input_ids"].shape[1] :][: ask.sampling.max_tokens].tolist()
            words[ask.id] = tuple(said)
            total += len(said)
            # Nothing is shown before it returns, as in the snippet.
            first.append(done)
            last.append(done)
    return Result(first, last, total, words)


def continuous(
    loaded: Loaded,
    asks: list[Ask],
    clock: Callable[[], float],
    rows: int,
    *,
    piece: int = 2048,
    prefix_bytes: int = 0,
) -> Result:
    """Our loop: all asks are there at 0."""
    words: dict[int, list[int]] = {ask.id: [] for ask in asks}
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    begun = 0.0

    def hear(event: Event) -> None:
        last[event.id] = clock() - begun
        first.setdefault(event.id, last[event.id])
        if isinstance(event, Said):
            words[event.id].extend(event.tokens)

    loop = Loop(loaded, Limits(rows=rows, piece=piece, prefix_bytes=prefix_bytes, feature_bytes=0), emit=hear)
    read = [loop.read(ask) for ask in asks]
    begun = clock()
    for put in read:
        put()
    while loop.running or loop.waiting:
        loop.step()
    total = sum(map(len, words.values()))
    said = {number: tuple(tokens) for number, tokens in words.items()}
    ids = [ask.id for ask in asks]
    return Result([first[number] for number in ids], [last[number] for number in ids], total, said)


def first_of(result: Result, size: int) -> Result:
    """The first requests of a one-at-a-time run: what came later did not touch them."""
    words = dict(list(result.words.items())[:size])
    return Result(result.first[:size], result.last[:size], sum(map(len, words.values())), words)


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]
