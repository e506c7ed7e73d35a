"""Nothing lost, nothing answered twice, whatever dies: the quick torture, played once, and its judge."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import main
from tests.until import PROCESS_S
from torture.card import Counts, judge
from torture.command import _subject
from torture.crowd import MARK, Said
from torture.scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent
WITHIN_S = 600
"""It takes a minute on two free cores, and took 206 s on a quarter of one."""
pytestmark = pytest.mark.timeout(WITHIN_S)
NAMES = [scenario.name for scenario in SCENARIOS]


# The card of this bot


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `python -m bot torture --quick` found."""
    file = tmp_path_factory.mktemp("torture") / "cards.json"
    words = [sys.executable, "-m", "bot", "torture", "--quick", "--json", str(file)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert file.exists(), done.stdout + done.stderr
    return {card["scenario"]: card | {"printed": done.stdout} for card in json.loads(file.read_text())}


@pytest.mark.parametrize("name", NAMES)
def test_no_message_is_lost_doubled_late_or_mixed_up(cards: dict[str, Any], name: str) -> None:
    card = cards[name]
    if card["counts"] is None:
        pytest.skip(card["why_not"])
    broken = ("lost", "doubled", "disordered", "foreign")
    assert {promise: card["counts"][promise] for promise in broken} == dict.fromkeys(broken, 0), card
    assert card["counts"]["answered"] == card["counts"]["sent"] > 5
    assert card["notes"] == []
    assert card["crashes"] == 0
    assert card["holds"]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("poll")])
def test_a_dead_poll_is_repaired_within_a_minute(cards: dict[str, Any], name: str) -> None:
    assert cards[name]["recovery_s"]
    assert max(cards[name]["recovery_s"]) < 60


def test_answers_come_twice_only_where_something_was_cut(cards: dict[str, Any]) -> None:
    assert {name for name, card in cards.items() if card["counts"] and card["counts"]["declared"]} <= {
        *(name for name in NAMES if name.startswith("kill")),
        "SIGTERM",
        "cut connections",
        "502 pages",
        "hanging sends",
        "PostgreSQL restarted",
        "disk full",
    }


def test_the_table_names_every_scenario(cards: dict[str, Any]) -> None:
    printed = next(iter(cards.values()))["printed"]
    assert [name for name in NAMES if f"| {name} " not in printed] == []


def test_the_results_page_names_every_scenario() -> None:
    page = (ROOT / "docs" / "torture.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"| {name} " not in page] == []


# The card of a bot that promises nothing


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("torture") / "cards.json"
    command = f"{sys.executable} {ROOT / 'benchmarks' / 'naive_bot.py'}"
    words = [sys.executable, "-m", "bot", "torture", "--quick", "--json", str(file)]
    words += ["--command", command, "--scenario", "well", "--scenario", "429", "--patience", "8"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return {card["scenario"]: card for card in json.loads(file.read_text())}


def test_another_bot_gets_the_same_card_and_is_seen_to_lose_messages(plain: dict[str, Any]) -> None:
    assert plain["well"]["counts"]["lost"] == 0, plain["well"]  # nor has it an order on a busy machine
    assert plain["429"]["counts"]["lost"] > 0
    assert not plain["429"]["holds"]


# The judge


def said(*marks: str) -> list[Said]:
    """One message for each word; `c1m1+c1z1` has a long answer."""
    return [Said(1, 0.0, tuple(word.split("+"))) for word in marks]


@pytest.mark.parametrize(
    ("messages", "heard", "unsure", "expected"),
    [
        (["c1m1", "c1m2"], ["Noted: c1m1.", "Noted: c1m2."], {}, {}),
        (["c1m1", "c1m2"], ["Noted: c1m1 c1m2."], {}, {}),
        (["c1m1", "c1m2"], ["Noted: c1m2."], {}, {"lost": 1}),
        (["c1m1+c1z1"], ["Noted: c1m1."], {}, {"lost": 1}),
        (["c1m1"], ["Sorry, that failed."], {}, {"lost": 1}),
        (["c1m1"], ["Noted: c1m1."] * 2, {}, {"doubled": 1}),
        (["c1m1"], ["Noted: c1m1."] * 2, {"c1m1": 1}, {"declared": 1}),
        (["c1m1"], ["Noted: c1m1."] * 9, {"c1m1": 7}, {"doubled": 1}),
        (["c1m1+c1z1"], ["Noted: c1m1.", "c1z1", "c1z1"], {"c1m1": 1}, {"doubled": 1}),
        (["c1m1", "c1m2"], ["Noted: c1m2.", "Noted: c1m1."], {}, {"disordered": 1}),
        (["c1m1+c1z1", "c1m2"], ["Noted: c1m1.", "Noted: c1m2.", "c1z1"], {}, {"disordered": 1}),
        (["c1m1+c1z1", "c1m2"], ["Noted: c1m1 c1m2.", "c1z1 c1z2"], {}, {}),
        (["c1m1"], ["Noted: c1m1.", "Noted: c2m1."], {}, {"foreign": 1}),
    ],
)
def test_every_broken_promise_is_seen(
    messages: list[str], heard: list[str], unsure: dict[str, int], expected: dict[str, int]
) -> None:
    counts = judge(said(*messages), [(1, text) for text in heard], unsure=unsure)
    names = ("lost", "declared", "doubled", "disordered", "foreign")
    found = {name: getattr(counts, name) for name in names if getattr(counts, name)}
    assert found == expected
    assert counts.holds == (not set(expected) - {"declared"})


def test_a_prompt_with_two_customers_breaks_a_promise() -> None:
    counts = judge(said("c1m1"), [(1, "Noted: c1m1.")], mixed=1)
    assert isinstance(counts, Counts)
    assert not counts.holds


def test_no_secret_in_a_prompt_is_taken_for_a_customer() -> None:
    assert MARK.findall("c1m1 and c1z1") == ["c1m1", "c1z1"]
    assert not MARK.search("token c123456e7890")


# The command


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--scenario", "earthquake"], "no scenario 'earthquake'"),
        (["--env", "TOKEN"], "write NAME=VALUE"),
        (["--env", "TOKEN={secret}"], "with no place but"),
    ],
)
def test_wrong_words_are_answered_with_what_there_is(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["torture", *words]) == 2
    assert complaint in capsys.readouterr().err


def test_another_bot_is_named_as_from_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works in a folder of its own, where a relative path would lead nowhere."""
    (tmp_path / "mybot.py").touch()
    monkeypatch.chdir(tmp_path)
    subject = _subject("python mybot.py --fast", [])
    assert subject.command == ("python", str(tmp_path / "mybot.py"), "--fast")
    assert subject.name == "python mybot.py --fast"


def test_without_the_checkout_it_says_what_it_needs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bot", tmp_path / "bot", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "bot", "torture", "--list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        check=False,
    )
    assert done.returncode == 1
    assert "needs a source checkout" in done.stderr
