"""OpenTelemetry: a span for each turn and each of its stages, for operators with a collector.

Spans are created where stages are timed (`bot.stages`) and nowhere else.  They contain names, ids,
times and kinds of errors, never anybody's words.  Imported only if an endpoint is set.
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
"""Time limit for sending one batch of spans to the collector."""
FLUSH_S = 3.0
"""Time limit for the last batch: a collector that is down must not delay a stop."""


class Span:
    """A span that has started."""

    _span: _Span

    def __init__(self, tracer: Tracer, name: str, *, parent: Span | None = None, ago_s: float = 0.0) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        self._tracer = tracer
        # Passed on explicitly: stages of many turns run in one event loop.
        context = trace.set_span_in_context(parent._span) if parent else None  # noqa: SLF001  # its own kind
        began = time.time_ns() - int(ago_s * 1e9)
        self._span = tracer.start_span(name, context=context, start_time=began)

    def inside(self, name: str, *, ago_s: float = 0.0) -> Span:
        """A child span; `ago_s` is for one that started in the past."""
        return Span(self._tracer, name, parent=self, ago_s=ago_s)

    def note(self, values: dict[str, str | int]) -> None:
        """Add details."""
        self._span.set_attributes({f"bot.{name}": value for name, value in values.items()})

    def end(self, error: type[BaseException] | None = None) -> None:
        """End it; `error` is the class of the exception that ended it."""
        if error is not None:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 - an extra

            self._span.set_attribute("error.type", error.__name__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Traces:
    """Starts spans and exports them."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra

        about = Resource.create({"service.name": SERVICE, "service.version": __version__})
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)

    def begin(self, name: str) -> Span:
        """Start the root span of a trace."""
        return Span(self._tracer, name)

    async def close(self) -> None:
        """Export what is left, for `FLUSH_S` at most."""
        loop, is_done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop has gone on without us, and closed
                loop.call_soon_threadsafe(is_done.set)

        # Not a thread of the loop's executor: the loop waits for those at its end, however long it takes.
        threading.Thread(target=shut_down, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_S):
                await is_done.wait()
        except TimeoutError:
            return


def open_traces(endpoint: str) -> Traces:
    """Traces exported to an OTLP collector over HTTP, such as `http://127.0.0.1:4318`."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
        OTLPSpanExporter,
    )

    return Traces(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S))
