"""Traces: a span for each turn and stage, off and unimported unless asked for."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bot.errors import BadConfiguration
from bot.metrics import Metrics
from bot.settings import Settings
from bot.traces import Traces, open_traces
from tests.api_world import api_world, user
from tests.world import world

WORDS = "My washing machine shows E4 and beeps, c1t0"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr("bot.app.open_traces", lambda _: Traces(exporter))
    return exporter


def below(spans: tuple[ReadableSpan, ...], root: ReadableSpan) -> list[str]:
    return [
        span.name
        for span in spans
        if root.context and span.parent and span.parent.span_id == root.context.span_id
    ]


async def test_a_turn_is_a_span_and_each_stage_one_below_it(
    tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    async with world(tmp_path, otel_exporter_otlp_endpoint="http://127.0.0.1:4318") as w:
        w.telegram.customer(1).says(WORDS)
        await w.telegram.replies(1)
    spans = exporter.get_finished_spans()
    (turn,) = [span for span in spans if span.name == "turn"]
    assert below(spans, turn) == ["collect", "plan", "read", "prompt", "model", "guard", "open", "send"]
    assert turn.attributes is not None
    assert (turn.attributes["bot.origin"], turn.attributes["bot.outcome"]) == ("remote", "answered")
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    told = " ".join(span.to_json() for span in spans)
    assert "washing" not in told
    assert "Noted" not in told


async def test_an_apps_question_is_a_span_too(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    async with api_world(tmp_path, otel_exporter_otlp_endpoint="http://127.0.0.1:4318") as a:
        assert (await a.chat(user(WORDS))).status_code == 200
    spans = exporter.get_finished_spans()
    (inquiry,) = [span for span in spans if span.name == "inquiry"]
    assert set(below(spans, inquiry)) == {"prompt", "wait", "model", "guard", "record"}


def test_a_stage_that_fails_says_how_and_nothing_more() -> None:
    exporter = InMemorySpanExporter()
    traces = Traces(exporter)
    with pytest.raises(ValueError), Metrics(traces=traces).stages() as stages, stages("model"):
        raise ValueError("the customer wrote: secret words")
    traces._provider.force_flush()
    spans = exporter.get_finished_spans()
    assert [span.attributes and span.attributes["error.type"] for span in spans] == ["ValueError"] * 2
    assert "secret" not in " ".join(span.to_json() for span in spans)


async def test_a_collector_that_is_away_holds_nothing_up() -> None:
    traces = open_traces("http://127.0.0.1:9")
    with Metrics(traces=traces).stages() as stages, stages("model"):
        pass
    began = time.monotonic()
    await traces.close()
    assert time.monotonic() - began < 30


def test_without_an_endpoint_nothing_that_traces_is_loaded() -> None:
    # redis-py looks for OpenTelemetry's metrics by itself, where the extra is installed.
    ours = "('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'opentelemetry.proto')"
    script = f"import sys, bot.app, bot.run; print([m for m in sys.modules if m.startswith({ours})])"
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_an_endpoint_is_an_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")
    with pytest.raises(BadConfiguration, match="OTEL_EXPORTER_OTLP_ENDPOINT must be an address"):
        Settings.read()
