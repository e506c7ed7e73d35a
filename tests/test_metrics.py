from __future__ import annotations

import pytest

from bot.gpus import Gpu, Gpus
from bot.metrics import Metrics


def test_every_event_is_counted_under_its_name() -> None:
    metrics = Metrics(version="1.2.3")
    metrics.arrival("telegram", "text")
    metrics.arrival("telegram", "text")
    metrics.aside()
    metrics.photo("ok")
    metrics.photo("heic")
    metrics.verdict("pass")
    metrics.handoff("safety: gas")
    metrics.handoff("LookupError('what a customer wrote')")
    metrics.waiting_for_people(3)
    metrics.fallback()
    metrics.send("web", "ok")
    metrics.turn("remote", "answered", seconds=0.3)
    metrics.watch_queue(lambda: 7)
    metrics.tokens("remote", prompt=1200, completion=80)
    metrics.parts({"redis": "degraded"})
    metrics.parts({"redis": "ok"})
    metrics.watch_gpus(lambda: [Gpu(0, used_bytes=18, total_bytes=141, busy=0.5)])

    assert metrics.value("bot_info", version="1.2.3") == 1
    assert metrics.value("bot_arrivals_total", channel="telegram", kind="text") == 2
    assert metrics.value("bot_updates_aside_total") == 1
    assert metrics.value("bot_photos_total", outcome="heic") == 1
    assert metrics.value("bot_guard_verdicts_total", action="pass") == 1
    assert metrics.value("bot_handoffs_total", reason="safety") == 1
    assert metrics.value("bot_handoffs_total", reason="other") == 1
    assert metrics.value("bot_handoffs_waiting") == 3
    assert metrics.value("bot_fallback_total") == 1
    assert metrics.value("bot_sends_total", channel="web", outcome="ok") == 1
    assert metrics.value("bot_turns_total", engine="remote", outcome="answered") == 1
    assert metrics.value("bot_turn_seconds_bucket", le="0.5") == 1
    assert metrics.value("bot_turn_seconds_bucket", le="0.25") == 0
    assert metrics.value("bot_queue_depth") == 7
    assert metrics.value("bot_turns_total", engine="remote", outcome="failed") == 0
    assert metrics.value("bot_engine_tokens_total", engine="remote", kind="prompt") == 1200
    assert metrics.value("bot_engine_tokens_total", engine="remote", kind="completion") == 80
    assert metrics.value("bot_part_state", part="redis", state="ok") == 1
    assert metrics.value("bot_part_state", part="redis", state="degraded") == 0
    assert metrics.value("bot_gpu_memory_bytes", gpu="0", kind="used") == 18
    assert metrics.value("bot_gpu_busy_ratio", gpu="0") == 0.5


def test_a_machine_without_a_driver_has_no_cards_and_no_trouble() -> None:
    cards = Gpus()
    if cards.read() == []:
        assert cards.read() == []
    else:
        assert all(0 <= card.used_bytes <= card.total_bytes for card in cards.read())


def test_stages_are_timed_for_the_histogram_and_for_the_turn() -> None:
    metrics = Metrics()
    stages = metrics.stages()
    with stages("prompt"):
        pass
    with stages("prompt"):
        pass
    stages.add("engine", 0.5)

    assert list(stages.ms) == ["prompt", "engine"]
    assert stages.ms["engine"] == 500.0
    assert metrics.value("bot_stage_seconds_count", stage="prompt") == 2
    assert metrics.value("bot_stage_seconds_sum", stage="engine") == 0.5
    assert metrics.stages().ms == {}


def test_a_stage_that_fails_is_timed_and_still_fails() -> None:
    metrics = Metrics()
    stages = metrics.stages()
    with pytest.raises(TimeoutError), stages("engine"):
        raise TimeoutError
    assert "engine" in stages.ms
    assert metrics.value("bot_stage_seconds_count", stage="engine") == 1


def test_two_bots_in_one_process_never_mix_their_figures() -> None:
    one, other = Metrics(), Metrics()
    one.fallback()
    assert (one.value("bot_fallback_total"), other.value("bot_fallback_total")) == (1, 0)


def test_the_text_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.send("web", "ok")
    text = metrics.text().decode()
    assert 'bot_sends_total{channel="web",outcome="ok"} 1.0' in text
    assert "# HELP bot_queue_depth" in text
    assert "process_resident_memory_bytes" in text
