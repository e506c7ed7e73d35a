"""The stopwatch of a turn: times its stages, for the metrics, the log line and the traces."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bot.traces import Span, Traces

if TYPE_CHECKING:
    from bot.reveal import Reveal


class Stages:
    """Times the stages of one turn, for the histogram and for the turn's log line.

    ::

        with metrics.stages() as stages:
            with stages("prompt"):
                prompt = prompts.assemble(...)
            log.info("turn", extra={"ms": stages.ms})

    A stage entered twice adds up in `ms`.  A stage that ends with an exception is timed as well: slow
    failures are the ones to find.  With traces, the outer block is a span and each stage a span below it.
    """

    __slots__ = ("_name", "_observe", "_span", "_traces", "ms", "said")

    def __init__(
        self, observe: Callable[[str, float], None], *, traces: Traces | None = None, name: str = "turn"
    ) -> None:
        """`observe` is called with the name and the seconds of each stage that has ended."""
        self._observe = observe
        self._traces = traces
        self._name = name
        self._span: Span | None = None
        self.ms: dict[str, float] = {}
        self.said: Reveal | None = None
        """What the engine has said so far; None until it is asked."""

    def __enter__(self) -> Self:
        if self._traces is not None:
            self._span = self._traces.begin(self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            self._span.end(kind)
            self._span = None

    def note(self, **values: str | int) -> None:
        """Add details for traces: ids and kinds, never anybody's words."""
        if self._span is not None:
            self._span.note(values)

    def __call__(self, name: str) -> _Stage:
        """Time the `with` block as stage `name`."""
        return _Stage(self, name)

    def add(self, name: str, seconds: float) -> None:
        """Record a stage that was timed elsewhere and has just ended."""
        if self._span is not None:
            self._span.inside(name, ago_s=seconds).end()
        self.observe(name, seconds)

    def begin(self, name: str) -> Span | None:
        """The span of a stage; None where there are no traces."""
        return self._span.inside(name) if self._span is not None else None

    def observe(self, name: str, seconds: float) -> None:
        """Record the length of a stage, for the histogram and the log line."""
        self._observe(name, seconds)
        self.ms[name] = round(self.ms.get(name, 0.0) + seconds * 1000, 1)


class _Stage:
    __slots__ = ("_name", "_span", "_stages", "_started")

    def __init__(self, stages: Stages, name: str) -> None:
        self._stages = stages
        self._name = name

    def __enter__(self) -> None:
        self._span = self._stages.begin(self._name)
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stages.observe(self._name, perf_counter() - self._started)
        if self._span is not None:
            self._span.end(kind)
