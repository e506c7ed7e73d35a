"""The desk: asks are prepared by threads, as in the worker, and the times of their answers are kept."""

from __future__ import annotations

import dataclasses
import gc
import queue
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from benchmarks.local_engine.asks import forced
from bot.engines.local.loading import Loaded
from bot.engines.local.loop import Loop
from bot.engines.local.wire import Ask, Done, Event, Limits, Said
from bot.engines.local.worker import READERS


@dataclass(frozen=True)
class Served:
    """Seconds from each ask to its first and last word, in order of asking, and the whole."""

    first: list[float]
    last: list[float]
    rate: float
    """Tokens per second, from the first ask to the last word."""
    step: float
    """Median seconds of a step in which everybody writes and nobody reads."""
    token_bytes: int


def serve(
    loaded: Loaded, asks: list[Ask], limits: Limits, clock: Callable[[], float], *, rounds: int = 1
) -> Served:
    """All asks come at 0 and are prepared by threads, as in the worker; later rounds when answered."""
    gc.collect()  # the loop before this one, and its slots
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    desk = Desk(loaded, limits)
    desk.put(dataclasses.replace(asks[0], id=0, sampling=forced(4)))
    desk.run(1)
    desk.loop.warm_up()
    desk.forget()
    begun = clock()
    for ask in asks:
        desk.put(ask, rounds - 1)
    desk.run(len(asks) * rounds, everybody=len(asks))
    took = clock() - begun
    step = statistics.median(desk.steps) if desk.steps else float("nan")
    first, last = (list(seen.values()) for seen in (desk.first, desk.last))
    return Served(first, last, desk.tokens / took, step, desk.loop.memory.token_bytes)


class Desk:
    """A loop, the threads that prepare for it, and the times at which things were heard."""

    def __init__(self, loaded: Loaded, limits: Limits) -> None:
        self.loop = Loop(loaded, limits, emit=self._hear)
        self.first: dict[int, float] = {}
        self.last: dict[int, float] = {}
        self.steps: list[float] = []
        self.tokens = 0
        self._asked: dict[int, tuple[Ask, float, int]] = {}
        self._ready: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS)

    def put(self, ask: Ask, again: int = 0) -> None:
        """Ask; and as often again, each time when it has been answered."""
        self._asked[ask.id] = (ask, time.perf_counter(), again)
        self._readers.submit(lambda: self._ready.put(self.loop.read(ask)))

    def run(self, answers: int, *, everybody: int = 0) -> None:
        """Until so many answers are given; keeps the times of steps in which everybody wrote."""
        while len(self.last) < answers:
            while not (self._ready.empty() and (self.loop.running or self.loop.waiting)):
                self._ready.get()()
            before, was = time.perf_counter(), self.loop.writing
            self.loop.step()
            if was == self.loop.writing == everybody:
                self.steps.append(time.perf_counter() - before)

    def forget(self) -> None:
        """What came before does not count, and nothing of it is used again."""
        self.loop.prefixes.forget()
        self.loop.features.forget()
        self.first.clear()
        self.last.clear()
        self.tokens = 0

    def _hear(self, event: Event) -> None:
        ask, asked, again = self._asked[event.id]
        since = time.perf_counter() - asked
        self.first.setdefault(event.id, since)
        if isinstance(event, Said):
            self.tokens += len(event.tokens)
        elif isinstance(event, Done):
            self.last[event.id] = since
            if again:
                self.put(dataclasses.replace(ask, id=ask.id + 1000), again - 1)
        else:
            raise SystemExit(f"ask {event.id}: {event.reason}")
