"""OpenTelemetry: a span for each turn and each of its stages, for operators who have a collector.

Spans are made where stages are timed (`bot.metrics.Stages`) and nowhere else.  They carry names, ids,
times and kinds of errors; nobody's words.  Imported only where an endpoint is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING

from bot import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as _Span
    from opentelemetry.trace import Tracer

SERVICE = "photo-support-bot"
EXPORT_S = 5.0
"""For one batch of spans on its way to the collector."""
FLUSH_S = 3.0
"""At the end: a collector that is away must not hold up a stop."""


class Span:
    """One that has begun."""

    _span: _Span

    def __init__(self, tracer: Tracer, name: str, *, parent: Span | None = None, ago_s: float = 0.0) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        self._tracer = tracer
        # Handed on by hand: stages of many turns are under way in one loop.
        context = trace.set_span_in_context(parent._span) if parent else None  # noqa: SLF001  # its own kind
        began = time.time_ns() - int(ago_s * 1e9)
        self._span = tracer.start_span(name, context=context, start_time=began)

    def inside(self, name: str, *, ago_s: float = 0.0) -> Span:
        """One below it; `ago_s` for what is over already."""
        return Span(self._tracer, name, parent=self, ago_s=ago_s)

    def note(self, values: dict[str, str | int]) -> None:
        """Say what it was about."""
        self._span.set_attributes({f"bot.{name}": value for name, value in values.items()})

    def end(self, error: type[BaseException] | None = None) -> None:
        """It is over; `error` is what ended it, told by its class alone."""
        if error is not None:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 - an extra

            self._span.set_attribute("error.type", error.__name__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Traces:
    """Begins spans and sends them off."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra

        about = Resource.create({"service.name": SERVICE, "service.version": __version__})
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)

    def begin(self, name: str) -> Span:
        """The first span of a trace."""
        return Span(self._tracer, name)

    async def close(self) -> None:
        """Send what is left, for `FLUSH_S` at most."""
        loop, is_done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop has gone on without us, and closed
                loop.call_soon_threadsafe(is_done.set)

        # Not one of the loop's threads: those are waited for at the end, however long.
        threading.Thread(target=shut_down, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_S):
                await is_done.wait()
        except TimeoutError:
            return


def open_traces(endpoint: str) -> Traces:
    """Traces that go to an OTLP collector over HTTP, such as `http://127.0.0.1:4318`."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
        OTLPSpanExporter,
    )

    return Traces(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S))
