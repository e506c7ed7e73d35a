"""Gray releases: who gets the candidate, what is counted, and when it is stopped."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.cli import release as command
from bot.errors import BotError
from bot.release.evidence import ERROR_BUDGET, LOOK_EVERY, Share, chance, worse
from context.db import Database
from context.feedback import Feedbacks
from context.releases import Candidate, NoRelease, Release, Releases
from context.turns import Chat
from tests.api_world import api_world, user
from tests.clock import Clock
from tests.model_server import ModelServer
from tests.until import until
from tests.world import World, newest_record, noted, world

# --- The evidence


def test_a_lady_who_tastes_tea_needs_all_four_cups() -> None:
    """Fisher's own example, 1935: three of four right is no proof, four of four is one in seventy."""
    assert chance(Share(3, 4), Share(1, 4)) == pytest.approx(17 / 70)
    assert chance(Share(4, 4), Share(0, 4)) == pytest.approx(1 / 70)
    assert chance(Share(0, 50), Share(10, 50)) == pytest.approx(1.0)
    assert chance(Share(0, 0), Share(0, 0)) == 1.0


def life(dice: random.Random, *, candidate: float, stable: float, chats: int) -> int | None:
    """Chats that a candidate got before it was stopped; None where it was not."""
    bad = [0, 0]
    for look in range(1, chats // LOOK_EVERY + 1):
        bad[0] += sum(dice.random() < candidate for _ in range(LOOK_EVERY))
        bad[1] += sum(dice.random() < stable for _ in range(3 * LOOK_EVERY))
        seen = look * LOOK_EVERY
        if worse(look, {"held": (Share(bad[0], seen), Share(bad[1], 3 * seen))}):
            return seen
    return None


def test_a_candidate_that_is_as_good_is_hardly_ever_stopped() -> None:
    dice = random.Random(4)
    lives = [life(dice, candidate=0.1, stable=0.1, chats=500) for _ in range(200)]
    assert sum(stopped is not None for stopped in lives) <= 2 * ERROR_BUDGET * 200


def test_one_that_is_thirty_points_worse_is_stopped_within_a_hundred_chats() -> None:
    """The number that docs/releases.md states."""
    dice = random.Random(5)
    lives = [life(dice, candidate=0.35, stable=0.05, chats=500) for _ in range(100)]
    assert sum(stopped is not None and stopped <= 100 for stopped in lives) >= 99


# --- Who gets it


def a_release(share: float, state: Any = "running") -> Release:
    return Release(7, "new", Candidate(model="b"), share, 20.0, state, "", 0, 0.0, None)


def test_a_chat_stays_in_its_arm_and_a_growing_share_keeps_whom_it_has() -> None:
    chats = [Chat("telegram", str(number)) for number in range(2000)]
    few = {chat for chat in chats if a_release(0.1).arm_of(chat) == "candidate"}
    more = {chat for chat in chats if a_release(0.4).arm_of(chat) == "candidate"}
    assert few < more
    assert 150 < len(few) < 250
    assert 700 < len(more) < 900
    assert all(a_release(0.1, "promoted").arm_of(chat) == "candidate" for chat in chats)


# --- What is counted


async def turn(db: Database, chat: str, arm: str | None, **columns: Any) -> None:
    record = {"release": {"id": 1, "name": "new", "arm": arm}} if arm else {}
    values = {
        "chat": chat,
        "state": "closed",
        "fence": 1,
        "opened_at": 100.0,
        "closed_at": 101.0,
        "text": "q",
        "reply": "a",
        "language": "en",
        "origin": "remote",
        "remembered": 1,
        "handoff": "",
        "record": json.dumps(record),
    } | columns
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    await db.write(lambda c: c.execute(sa.text(f"INSERT INTO turns ({names}) VALUES ({marks})"), values))


async def turns_of(db: Database, chat: Chat) -> list[int]:
    found = sa.text("SELECT id FROM turns WHERE chat = :chat ORDER BY id")
    return list(await db.read(lambda c: c.execute(found, {"chat": chat.key}).scalars().all()))


async def test_what_became_of_the_turns_is_added_up_once_by_chat(db: Database, clock: Clock) -> None:
    releases = Releases(db)
    await turn(db, "telegram:0", None)
    release = await releases.start("new", Candidate(model="b"), share=0.5)
    assert release.id == 1
    with pytest.raises(NoRelease):
        await releases.start("another", Candidate(model="c"), share=0.5)

    await turn(db, "telegram:1", "candidate", origin="notice:held", handoff="held")
    await turn(db, "telegram:1", "candidate")
    await turn(db, "telegram:2", "stable", origin="fallback", closed_at=130.0)
    await turn(db, "telegram:2", "stable", state="superseded", origin="notice:held")
    await turn(db, "telegram:3", None, origin="notice:held")
    await turn(db, "telegram:4", "candidate", state="open", opened_at=clock(), closed_at=None)
    await turn(db, "telegram:5", "candidate")
    for _ in range(2):
        arms = await releases.count(release)
        assert (arms["candidate"].chats, arms["candidate"].turns) == (1, 2)
        assert arms["candidate"].bad == {"held": 1, "fallback": 0, "handoff": 1, "slow": 0, "disliked": 0}
        assert arms["stable"].bad == {"held": 0, "fallback": 1, "handoff": 0, "slow": 1, "disliked": 0}
    # A customer's thumb counts, and so does their change of mind.
    feedbacks, chat = Feedbacks(db), Chat("telegram", "1")
    *_, liked = await turns_of(db, chat)
    await db.write(lambda c: c.execute(sa.text("UPDATE turns SET opened_at = :now"), {"now": clock()}))
    await feedbacks.keep(chat, liked, "helpful", "down")
    assert (await releases.count(release))["candidate"].bad["disliked"] == 1
    await feedbacks.keep(chat, liked, "helpful", "up")
    assert (await releases.count(release))["candidate"].bad["disliked"] == 0
    # In a chat that came to the candidate when its share grew, a thumb counts for who made the reply.
    grown = Chat("telegram", "6")
    for arm in ("stable", "candidate"):
        await turn(db, grown.key, arm)
    clock.move(3600)
    await releases.count(release)
    first, second = await turns_of(db, grown)
    await feedbacks.keep(grown, first, "helpful", "down")
    arms = await releases.count(release)
    assert (arms["candidate"].bad["disliked"], arms["stable"].bad["disliked"]) == (0, 1)
    await feedbacks.keep(grown, first, "helpful", "up")
    await feedbacks.keep(grown, second, "helpful", "down")
    arms = await releases.count(release)
    assert (arms["candidate"].bad["disliked"], arms["stable"].bad["disliked"]) == (1, 0)
    # What waited behind an open turn was counted when that one had been stuck for long.
    assert arms["candidate"].chats == 3

    assert await releases.end(1, "stopped", "held")
    assert not await releases.end(1, "promoted"), "it is over"
    assert await releases.current() is None
    last = await releases.last()
    assert last is not None
    assert (last.state, last.reason) == ("stopped", "held")


# --- The whole bot


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.release.trial.EVERY_S", 0.05)


def database_of(folder: Path) -> str:
    return f"sqlite:///{folder}/data/bot.db"


async def says(w: World, chat: int, words: str) -> str:
    w.telegram.customer(chat).says(words)
    (reply,) = await w.telegram.replies(chat)
    return str(reply.text)


async def arms_of(w: World) -> dict[str, set[str]]:
    rows = await w.app.stores.db.read(lambda c: c.execute(sa.text("SELECT chat, record FROM turns")).all())
    arms: dict[str, set[str]] = {}
    for chat, record in rows:
        arms.setdefault(json.loads(record).get("release", {}).get("arm", ""), set()).add(chat)
    return arms


async def test_a_worse_candidate_is_stopped_and_the_others_are_answered_as_before(tmp_path: Path) -> None:
    """A model that promises refunds is held by the guard: that is what stops it, by itself."""
    async with (
        ModelServer(answer=lambda _asked: "We promise you a full refund.") as bad,
        world(tmp_path) as w,
    ):
        await command.start(database_of(tmp_path), "bolder", share=0.5, model_url=bad.url, model="bolder")
        releases = Releases(w.app.stores.db)

        async def is_stopped() -> bool:
            last = await releases.last()
            return last is not None and last.state == "stopped"

        await until(lambda: _health(w, "bolder"))
        for first in range(1000, 1400, 20):
            await asyncio.gather(*(says(w, chat, f"c{chat}t0") for chat in range(first, first + 20)))
            if await is_stopped():
                break
        await until(is_stopped)
        last = await releases.last()
        assert last is not None
        assert last.reason.startswith(("held: ", "handoff: "))
        arms = await arms_of(w)
        assert LOOK_EVERY <= len(arms["candidate"]) <= 100
        chat = int(min(arms["candidate"]).partition(":")[2])
        assert await says(w, chat, f"c{chat}t1") == f"Noted: c{chat}t1."


def _health(w: World, name: str) -> Any:
    async def holds() -> bool:
        import aiohttp

        async with aiohttp.request("GET", f"{w.app.url}/health") as answer:
            return name in (await answer.json())["parts"]["release"]["detail"]

    return holds()


async def test_templates_are_tried_promoted_and_withdrawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    ours = Path(__file__).parent.parent / "prompts" / "system.en.j2"
    (folder / "system.en.j2").write_text(ours.read_text() + "\nAlways greet with a hat in hand.\n")
    url = database_of(tmp_path)
    async with api_world(tmp_path, model=ModelServer(answer=noted)) as a:
        w = a.w

        async def app_has_a_hat() -> bool:
            """Whether the new template answers an app."""
            w.model.requests.clear()
            answered = await a.chat(user("c1t1"))
            assert answered.status_code == 200
            (request,) = w.model.requests
            has_a_hat = "hat in hand" in str(request.messages[0]["content"])
            told, record = answered.json(), await newest_record(w)
            assert (record["request"], record["prompt"]) == (told["id"], told["system_fingerprint"])
            assert told["release"] == ("hats" if has_a_hat else None)
            named = {"id": 1, "name": "hats", "arm": "candidate"}
            assert record.get("release") == (named if has_a_hat else None)
            return has_a_hat

        async def shares() -> tuple[int, int]:
            """Chats that were shown the new template, of all that wrote."""
            w.model.requests.clear()
            await asyncio.gather(*(says(w, chat, f"c{chat}t0") for chat in range(2000, 2020)))
            asked = [str(request.messages[0]["content"]) for request in w.model.requests]
            return sum("hat in hand" in system for system in asked), len(asked)

        assert await shares() == (0, 20)
        await command.start(url, "hats", share=0.5, templates=folder)
        await until(lambda: _health(w, "hats (running) answers 50%"))
        some, every = await shares()
        assert every == 20
        assert 3 <= some <= 17
        assert not await app_has_a_hat(), "apps have what is in force"
        await command.promote(url)
        await until(lambda: _health(w, "hats (promoted) answers every chat"))
        assert await shares() == (20, 20)
        assert await app_has_a_hat()
        assert await command.status(url, as_json=False) == 0
        assert await command.status(url, as_json=True) == 0
        await command.withdraw(url)
        await until(lambda: _health(w, "no release is running"))
        assert await shares() == (0, 20)
        assert not await app_has_a_hat()
        with pytest.raises(BotError, match="no release is running"):
            await command.withdraw(url)
    shown = capsys.readouterr().out
    assert "release 1, hats: promoted" in shown
    assert "chats: held or blocked by the guard" in shown
    told = json.loads(next(line for line in shown.splitlines() if line.startswith("{")))
    assert told["arms"]["candidate"]["turns"] >= 20


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({}, "differs in something"),
        ({"templates": Path("nowhere")}, "there is no folder nowhere"),
        ({"policy": Path("nowhere.yaml")}, "there is no file nowhere.yaml"),
        ({"templates": "empty"}, "nothing in"),
        ({"templates": "broken"}, "system.en.j2"),
    ],
)
async def test_a_candidate_that_cannot_be_is_refused_before_it_begins(
    tmp_path: Path, wrong: dict[str, Any], complaint: str
) -> None:
    if isinstance(wrong.get("templates"), str):
        folder = tmp_path / wrong["templates"]
        folder.mkdir()
        if folder.name == "broken":
            (folder / "system.en.j2").write_text("{{ nobody.knows }")
        wrong = {"templates": folder}
    with pytest.raises(BotError, match=complaint):
        await command.start(f"sqlite:///{tmp_path}/bot.db", "x", share=0.1, **wrong)


async def test_a_candidate_whose_policy_cannot_be_written_is_stopped_with_the_reason(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: '9'\n")
    async with world(tmp_path, model=ModelServer(answer=noted)) as w:
        (tmp_path / "data" / "releases").write_text("a file where a folder should be")
        await command.start(database_of(tmp_path), "strict", share=1.0, policy=policy)
        releases = Releases(w.app.stores.db)

        async def is_stopped() -> bool:
            last = await releases.last()
            return last is not None and last.state == "stopped" and "cannot be had" in last.reason

        await until(is_stopped)
        assert await says(w, 3000, "c0t0") == "Noted: c0t0."
