"""Draws deploy/grafana/bot.json, the dashboard to import into Grafana.

    python deploy/grafana/draw.py

A dashboard's file is a thousand lines that nobody reads; these are the hundred that somebody may want
to change.  A test fails when the two differ, or when an expression names a metric that the bot lacks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("bot.json")
SOURCE = {"type": "prometheus", "uid": "${source}"}
ALL = 'instance=~"$instance"'
REFUSED = 'outcome!~"2..|stop|length|content_filter"'
Panel = dict[str, Any]

OK, WARN, BAD = "green", "orange", "red"


def quantile(q: float, name: str, by: str = "") -> str:
    """An expression for a quantile of a histogram over the panel's step."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({name}_bucket{{{ALL}}}[$__rate_interval])))"


def rate(name: str, by: str = "", more: str = "") -> str:
    """An expression for a counter's growth per second, summed."""
    kept = f" by ({by})" if by else ""
    return f"sum{kept} (rate({name}{{{ALL}{more}}}[$__rate_interval]))"


ROWS: list[tuple[str, list[Panel]]] = []


def row(title: str, *panels: Panel) -> None:
    """One more strip of panels under a title."""
    ROWS.append((title, list(panels)))


def lines(title: str, unit: str, *series: tuple[str, str], about: str = "", stacked: bool = False) -> Panel:
    """A panel of lines over time; each series is an expression and its legend."""
    custom = {"fillOpacity": 20 if stacked else 0, "showPoints": "never"}
    custom |= {"stacking": {"mode": "normal"}} if stacked else {}
    return panel("timeseries", title, unit, series, about, {"custom": custom})


def number(
    title: str, unit: str, query: str, steps: list[tuple[float | None, str]], about: str = ""
) -> Panel:
    """A panel of one figure, coloured from the value on that a step names."""
    thresholds = {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}
    return panel("stat", title, unit, [(query, "")], about, {"thresholds": thresholds})


def panel(kind: str, title: str, unit: str, series: Any, about: str, defaults: dict[str, Any]) -> Panel:
    """What all kinds of panels have in common."""
    targets = [
        {"refId": chr(65 + n), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
        for n, (query, legend) in enumerate(series)
    ]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0} | defaults, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}} if kind == "timeseries" else {},
    }


row(
    "Right now",
    number("Turns a minute", "short", f"60 * {rate('bot_turns_total')}", [(None, OK)]),
    number(
        "Answer within, 95 %",
        "s",
        quantile(0.95, "bot_turn_seconds"),
        [(None, OK), (20, WARN), (60, BAD)],
        "From a turn's first message to its last receipt.",
    ),
    number("Chats waiting", "short", f"max(bot_queue_depth{{{ALL}}})", [(None, OK), (20, WARN), (50, BAD)]),
    number(
        "Answered by rules",
        "percentunit",
        f"{rate('bot_fallback_total')} / {rate('bot_turns_total')}",
        [(None, OK), (0.05, WARN), (0.2, BAD)],
        "The model failed, was too slow, or is not there.",
    ),
    number(
        "Parts not well",
        "short",
        f'sum(bot_part_state{{{ALL}, state!="ok"}})',
        [(None, OK), (1, WARN), (3, BAD)],
    ),
)
row(
    "Why answers are slow",
    lines(
        "Stages, 95 %",
        "s",
        (quantile(0.95, "bot_stage_seconds", "stage"), "{{stage}}"),
        about="model: the model server or GPU. collect: photos come slowly from the channel. read: OCR. "
        "send: Telegram slows us down. open, record: the database. All fast: chats wait in line.",
    ),
    lines(
        "In line",
        "short",
        (f"max(bot_queue_depth{{{ALL}}})", "chats that wait for a turn"),
        (f"sum(bot_engine_waiting{{{ALL}}})", "questions before the model"),
        (f"sum(bot_api_waiting{{{ALL}}})", "apps' questions"),
        about="Chats: more processes. Questions before the model: more of the model.",
    ),
    lines(
        "Tokens a second",
        "short",
        (rate("bot_engine_tokens_total", "engine, kind"), "{{engine}} {{kind}}"),
        about="Fewer while questions wait: the model has become slower. More: there is more to do.",
    ),
    lines(
        "CPU of each process",
        "short",
        (f"rate(process_cpu_seconds_total{{{ALL}}}[$__rate_interval])", "{{instance}}"),
        about="At 1, the process's core is full: add a process (docs/scale.md).",
    ),
)
row(
    "Customers",
    lines("Messages in", "reqps", (rate("bot_arrivals_total", "channel, kind"), "{{channel}} {{kind}}")),
    lines(
        "Turns", "reqps", (rate("bot_turns_total", "engine, outcome"), "{{engine}} {{outcome}}"), stacked=True
    ),
    lines(
        "Time to the answer",
        "s",
        *((quantile(q, "bot_turn_seconds"), f"{q:.0%}") for q in (0.5, 0.95, 0.99)),
        (quantile(0.5, "bot_first_words_seconds"), "50% first words"),
    ),
    lines(
        "Waiting for a person",
        "short",
        (f"max(bot_handoffs_waiting{{{ALL}}})", "customers who wait"),
        (f"sum by (reason) (increase(bot_handoffs_total{{{ALL}}}[1h]))", "asked in an hour: {{reason}}"),
    ),
)
row(
    "Checks",
    lines(
        "Drafts checked", "reqps", (rate("bot_guard_verdicts_total", "action"), "{{action}}"), stacked=True
    ),
    lines("Photos", "reqps", (rate("bot_photos_total", "outcome"), "{{outcome}}"), stacked=True),
    lines("Prompts in the cache", "reqps", (rate("bot_cache_total", "outcome"), "{{outcome}}"), stacked=True),
    lines(
        "Model time saved by the cache",
        "s",
        (f"sum(increase(bot_cache_saved_seconds_total{{{ALL}}}[1h]))", "seconds in an hour"),
    ),
)
row(
    "Sending",
    lines("Parts sent", "reqps", (rate("bot_sends_total", "channel, outcome"), "{{channel}} {{outcome}}")),
    lines(
        "In doubt or refused, an hour",
        "short",
        (
            f'sum by (channel, outcome) (increase(bot_sends_total{{{ALL}, outcome!="ok"}}[1h]))',
            "{{channel}} {{outcome}}",
        ),
    ),
    lines(
        "Updates kept aside, an hour",
        "short",
        (f"sum(increase(bot_updates_aside_total{{{ALL}}}[1h]))", "aside"),
    ),
)
row(
    "Apps",
    lines(
        "Requests",
        "reqps",
        (rate("bot_api_requests_total", "endpoint, outcome"), "{{endpoint}} {{outcome}}"),
        stacked=True,
    ),
    lines(
        "Refused or failed, an hour",
        "short",
        (
            f"sum by (endpoint, outcome) (increase(bot_api_requests_total{{{ALL}, {REFUSED}}}[1h]))",
            "{{endpoint}} {{outcome}}",
        ),
    ),
)
row(
    "GPUs",
    lines("GPUs: memory", "bytes", (f"bot_gpu_memory_bytes{{{ALL}}}", "{{instance}} {{gpu}} {{kind}}")),
    lines("GPUs: busy", "percentunit", (f"bot_gpu_busy_ratio{{{ALL}}}", "{{instance}} {{gpu}}")),
)
row(
    "Processes",
    lines("Memory", "bytes", (f"process_resident_memory_bytes{{{ALL}}}", "{{instance}}")),
    lines(
        "Parts", "short", (f'bot_part_state{{{ALL}, state!="ok"}} == 1', "{{instance}} {{part}} {{state}}")
    ),
    lines(
        "In the background, an hour",
        "short",
        (f"sum by (task) (increase(bot_background_failures_total{{{ALL}}}[1h]))", "{{task}} failed"),
        (f"sum by (kind) (increase(bot_retention_erased_total{{{ALL}}}[1h]))", "too old: {{kind}}"),
    ),
    lines("Versions", "short", (f"sum by (version) (bot_info{{{ALL}}})", "{{version}}")),
)


def dashboard() -> dict[str, Any]:
    """All rows, each a strip of equal panels."""
    panels: list[Panel] = []
    y = 0
    for title, strip in ROWS:
        panels.append(
            {"type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []}
        )
        height, width = (4 if strip[0]["type"] == "stat" else 8), 24 // len(strip)
        for n, one in enumerate(strip):
            panels.append(one | {"gridPos": {"x": n * width, "y": y + 1, "w": width, "h": height}})
        y += height + 1
    for n, one in enumerate(panels, 1):
        one["id"] = n
    variables = [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "label": "Bot",
            "type": "query",
            "datasource": SOURCE,
            "query": "label_values(bot_info, instance)",
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
        },
    ]
    return {
        "uid": "photo-support-bot",
        "title": "Photo support bot",
        "tags": ["photo-support-bot"],
        "schemaVersion": 41,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


def text() -> str:
    """The file, as it is written."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
