"""Metrics: everything that is counted and timed, under the names that dashboards and alerts rely on.

Every part receives the one `Metrics` and reports events in its own words (`turn`, `send`, `photo`); only this
module knows Prometheus.  Each instance has its own registry, so that two bots in one process (tests,
benchmarks) do not mix their figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from bot.gpus import Gpu
from bot.stages import Stages
from bot.traces import Traces
from context import background

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# From a cache hit to a slow model on a long case; a stage may also be a millisecond of templates.
_TURN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
_PART_STATES = ("ok", "degraded", "down")
_KIND = re.compile(r"[a-z_]{1,30}")
_STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Metrics:
    """Counters and timers of one bot."""

    def __init__(self, *, version: str = "", traces: Traces | None = None) -> None:
        self._traces = traces
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge("bot_info", "The running version.", ["version"], registry=self.registry).labels(version).set(1)
        self._turns = _Counters("bot_turns", "Turns that ended.", ["engine", "outcome"], self.registry)
        self._arrivals = _Counters("bot_arrivals", "Messages received.", ["channel", "kind"], self.registry)
        self._sends = _Counters(
            "bot_sends", "Parts handed to a channel.", ["channel", "outcome"], self.registry
        )
        self._handoffs = _Counters("bot_handoffs", "Requests for a person.", ["reason"], self.registry)
        self._asking = _Asking()
        self.registry.register(self._asking)
        self._verdicts = _Counters("bot_guard_verdicts", "Drafts checked.", ["action"], self.registry)
        self._photos = _Counters("bot_photos", "Pictures taken in or refused.", ["outcome"], self.registry)
        self._fallback = Counter("bot_fallback", "Answers written by rules.", registry=self.registry)
        self._cache = _Counters("bot_cache", "Prompts looked up in the cache.", ["outcome"], self.registry)
        self._tokens = _Counters(
            "bot_engine_tokens", "Tokens read and written.", ["engine", "kind"], self.registry
        )
        self._parts = Gauge(
            "bot_part_state", "1 for the state that a part is in.", ["part", "state"], registry=self.registry
        )
        self._saved = Counter(
            "bot_cache_saved_seconds", "Model time that the cache saved.", registry=self.registry
        )
        self._api = _Counters("bot_api_requests", "API requests.", ["endpoint", "outcome"], self.registry)
        self._line = Gauge("bot_api_waiting", "API questions that wait for a place.", registry=self.registry)
        self._waiting = Gauge(
            "bot_engine_waiting", "Questions whose answer has not begun.", registry=self.registry
        )
        self._aside = Counter("bot_updates_aside", "Updates we could not read.", registry=self.registry)
        self._expired = _Counters("bot_retention_erased", "Rows and photos too old.", ["kind"], self.registry)
        self.registry.register(_Failures())
        self._queue = Gauge("bot_queue_depth", "Chats not yet answered.", registry=self.registry)
        self._turn_seconds = Histogram(
            "bot_turn_seconds",
            "From the first message of a turn to its last receipt.",
            buckets=_TURN_BUCKETS,
            registry=self.registry,
        )
        self._first_words = Histogram(
            "bot_first_words_seconds",
            "From the first message of a turn to the first words seen, where that was before its end.",
            ["channel"],
            buckets=_TURN_BUCKETS,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "bot_stage_seconds",
            "One stage of a turn.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self._stages: dict[str, Histogram] = {}

    def arrival(self, channel: str, kind: str) -> None:
        """A message was stored in the inbox."""
        self._arrivals.add(channel, kind)

    def aside(self) -> None:
        """An update could not be read and was stored as it came."""
        self._aside.inc()

    def expired(self, counts: Mapping[str, int]) -> None:
        """Rows (by table) and photo files were deleted because they were too old."""
        for kind, count in counts.items():
            self._expired.add(kind, by=count)

    def api(self, endpoint: str, outcome: str) -> None:
        """A request of the HTTP API was answered (its status) or a picture of a job was settled."""
        self._api.add(endpoint, outcome)

    def watch_api(self, waiting: Callable[[], float]) -> None:
        """Call `waiting` for the number of API questions in line whenever the figures are read."""
        self._line.set_function(waiting)

    def watch_line(self, waiting: Callable[[], float]) -> None:
        """Call `waiting` for the number of questions before the model whenever the figures are read."""
        self._waiting.set_function(waiting)

    def cache(self, outcome: str, saved_s: float) -> None:
        """A prompt was looked up in the cache: `hit`, `miss`, or `joined` (the same one was under way)."""
        self._cache.add(outcome)
        self._saved.inc(saved_s)

    def photo(self, outcome: str) -> None:
        """A picture was taken in (`ok`) or refused (its rejection code)."""
        self._photos.add(outcome)

    def stages(self, name: str = "turn") -> Stages:
        """A stopwatch for the stages of one turn, or of another task with the same stages."""
        return Stages(self.observe, traces=self._traces, name=name)

    def verdict(self, action: str) -> None:
        """The guard decided about a draft."""
        self._verdicts.add(action)

    def fallback(self) -> None:
        """An answer was written by OCR and rules instead of the model."""
        self._fallback.inc()

    def tokens(self, engine: str, *, prompt: int, completion: int) -> None:
        """An engine read and wrote so many tokens for one draft."""
        self._tokens.add(engine, "prompt", by=prompt)
        self._tokens.add(engine, "completion", by=completion)

    def parts(self, states: Mapping[str, str]) -> None:
        """The state of every part (`ok`, `degraded`, `down`), by its name in `/health`."""
        for part, now in states.items():
            for state in _PART_STATES:
                self._parts.labels(part, state).set(state == now)

    def watch_gpus(self, read: Callable[[], Iterable[Gpu]]) -> None:
        """Call `read` for the state of the GPUs whenever the figures are read."""
        self.registry.register(_Gpus(read))

    def send(self, channel: str, outcome: str) -> None:
        """A part was handed to a channel: `ok`, or how it failed."""
        self._sends.add(channel, outcome)

    def handoff(self, reason: str) -> None:
        """A person was asked for.  Of the reason, only its kind is counted: `safety`, not `safety: gas`."""
        kind = reason.partition(":")[0]
        self._handoffs.add(kind if _KIND.fullmatch(kind) else "other")

    def waiting_for_people(self, customers: int | None) -> None:
        """So many customers wait for a person, in all processes on this database together.

        None if it cannot be known now: then there is no sample, rather than an old one.
        """
        self._asking.customers = customers

    def turn(self, engine: str, outcome: str, *, seconds: float) -> None:
        """A turn ended, `seconds` after its first message was stored."""
        self._turns.add(engine, outcome)
        self._turn_seconds.observe(seconds)

    def first_words(self, channel: str, *, seconds: float) -> None:
        """The beginning of an answer could be seen, `seconds` after it was asked for."""
        self._first_words.labels(channel).observe(seconds)

    def watch_queue(self, depth: Callable[[], float]) -> None:
        """Call `depth` for the number of chats with something to answer whenever the figures are read."""
        self._queue.set_function(depth)

    def observe(self, stage: str, seconds: float) -> None:
        """A stage took `seconds`."""
        child = self._stages.get(stage)
        if child is None:
            child = self._stages[stage] = self._stage_seconds.labels(stage)
        child.observe(seconds)

    def value(self, name: str, **labels: str) -> float:
        """The current value of one sample, 0 if nothing was counted: for benchmarks and tests."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def text(self) -> bytes:
        """Everything in Prometheus's text format (`MEDIA_TYPE`)."""
        return generate_latest(self.registry)


class _Counters:
    """A labelled counter that finds its children by one dict lookup, in a third of the time of `labels()`."""

    __slots__ = ("_children", "_family")

    def __init__(self, name: str, documentation: str, labels: list[str], registry: CollectorRegistry) -> None:
        self._family = Counter(name, documentation, labels, registry=registry)
        self._children: dict[tuple[str, ...], Counter] = {}

    def add(self, *values: str, by: float = 1) -> None:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._family.labels(*values)
        child.inc(by)


class _Failures(Collector):
    """Background tasks that failed: a figure of the process, like its memory, not of one bot."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(
            "bot_background_failures", "Background tasks that failed and were restarted.", labels=["task"]
        )
        for name, count in background.failures().items():
            family.add_metric([name], count)
        yield family


class _Asking(Collector):
    """Customers who wait for a person; no sample while the database cannot tell."""

    def __init__(self) -> None:
        self.customers: int | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "bot_handoffs_waiting", "Customers who wait for a person.", value=self.customers
        )


class _Gpus(Collector):
    """The GPUs at this moment; no series at all if there is none."""

    def __init__(self, read: Callable[[], Iterable[Gpu]]) -> None:
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        memory = GaugeMetricFamily("bot_gpu_memory_bytes", "A card's memory.", labels=["gpu", "kind"])
        busy = GaugeMetricFamily("bot_gpu_busy_ratio", "Share of time that it computed.", labels=["gpu"])
        for gpu in self._read():
            memory.add_metric([str(gpu.number), "used"], gpu.used_bytes)
            memory.add_metric([str(gpu.number), "total"], gpu.total_bytes)
            busy.add_metric([str(gpu.number)], gpu.busy)
        return (memory, busy)
