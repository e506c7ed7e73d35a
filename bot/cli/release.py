"""`python -m bot release`: try a candidate on some of the chats.  Safe beside a running bot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from bot.cli.database import open_database
from bot.errors import BotError
from bot.guard import load_policy
from bot.release.evidence import LOOK_EVERY, chance
from bot.release.trial import shares
from context.releases import MEASURES, Arm, Candidate, NoRelease, Release, Releases, Tally
from prompts.prompts import Prompts

MAX_NAME = 60
_WHAT = {
    "held": "held or blocked by the guard",
    "fallback": "answered by rules",
    "handoff": "a person asked for",
    "slow": "slow",
    "disliked": "thumbs down",
}


async def start(
    database_url: str,
    name: str,
    *,
    share: float,
    model_url: str = "",
    model: str = "",
    templates: Path | None = None,
    policy: Path | None = None,
) -> int:
    """Start a release; running bots adopt it within seconds."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise BotError(f"a name has 1 to {MAX_NAME} printable characters")
    if not (model_url or model or templates or policy):
        raise BotError("a candidate differs in something: --model, --model-url, --templates or --policy")
    candidate = Candidate(model_url, model, _templates(templates), _policy(policy))
    async with _open(database_url) as releases:
        release = await releases.start(name.strip(), candidate, share=share)
    print(f"release {release.id}, {release.name}: {release.share:.0%} of the chats")
    print(
        f"it stops by itself when it is worse (looked at every {LOOK_EVERY} of its chats; slow means over "
        f"{release.slow_s:.0f} s); `release status` shows how it does"
    )
    return 0


async def widen(database_url: str, share: float) -> int:
    """Change the candidate's share of chats; when it grows, the candidate keeps the chats that it has."""
    async with _open(database_url) as releases:
        release = await _current(releases)
        if not await releases.widen(release.id, share):
            raise BotError(f"release {release.name} is {release.state}: it has every chat")
    print(f"release {release.name}: {share:.0%} of the chats")
    return 0


async def promote(database_url: str) -> int:
    """Let the candidate answer every chat, from now on and after restarts."""
    async with _open(database_url) as releases:
        release = await _current(releases)
        if not await releases.end(release.id, "promoted"):
            raise BotError(f"release {release.name} is {release.state} already")
    print(f"release {release.name} answers every chat")
    lines = [f"MODEL_URL={release.candidate.model_url}" if release.candidate.model_url else ""]
    lines.append(f"MODEL={release.candidate.model}" if release.candidate.model else "")
    if any(lines):
        print("to make it the new beginning, put this into .env and withdraw the release after a restart:")
        print("\n".join(line for line in lines if line))
    return 0


async def withdraw(database_url: str) -> int:
    """End the release: the version from before answers every chat."""
    async with _open(database_url) as releases:
        release = await _current(releases)
        await releases.end(release.id, "withdrawn")
    print(f"release {release.name} is withdrawn")
    return 0


async def status(database_url: str, *, as_json: bool) -> int:
    """Print both arms side by side."""
    async with _open(database_url) as releases:
        release = await releases.last()
        if release is None:
            print("{}" if as_json else "there was no release yet")
            return 0
        running = release.state in {"running", "promoted"}
        arms = await (releases.count(release) if running else releases.tallies(release.id))
    if as_json:
        told = asdict(release) | {"arms": {arm: asdict(tally) for arm, tally in arms.items()}}
        del told["candidate"]["templates"], told["candidate"]["policy"]
        print(json.dumps(told, ensure_ascii=False))
    else:
        print("\n".join(table(release, arms)))
    return 0


def table(release: Release, arms: dict[Arm, Tally]) -> list[str]:
    """What `status` prints."""
    candidate, stable = arms["candidate"], arms["stable"]
    reason = f": {release.reason}" if release.reason else ""
    lines = [
        f"release {release.id}, {release.name}: {release.state}{reason}",
        f"{release.share:.0%} of the chats, {release.looks} looks; slow means over {release.slow_s:.0f} s",
        "",
        f"{'':30}{'candidate':>12}{'stable':>12}{'chance':>10}",
        f"{'chats':30}{candidate.chats:>12}{stable.chats:>12}",
        f"{'turns':30}{candidate.turns:>12}{stable.turns:>12}",
        f"{'seconds a turn':30}{_mean(candidate):>12}{_mean(stable):>12}",
    ]
    for measure in MEASURES:
        its, others = shares(arms)[measure]
        p = f"{chance(its, others):.4f}" if its.chats and others.chats else "-"
        lines.append(
            f"{'chats: ' + _WHAT[measure]:30}{_part(its.bad, its.chats):>12}"
            f"{_part(others.bad, others.chats):>12}{p:>10}"
        )
    return lines


def _mean(tally: Tally) -> str:
    return f"{tally.seconds / tally.turns:.1f}" if tally.turns else "-"


def _part(bad: int, chats: int) -> str:
    return f"{bad / chats:.1%}" if chats else "-"


def _templates(folder: Path | None) -> dict[str, str] | None:
    if folder is None:
        return None
    if not folder.is_dir():
        raise BotError(f"--templates: there is no folder {folder}")
    prompts = Prompts(folder=folder)
    if problems := prompts.lint():
        raise BotError("\n".join(f"--templates: {problem}" for problem in problems))
    if prompts.version == Prompts().version:
        raise BotError(f"--templates: nothing in {folder} replaces a template that prompts are made of")
    return dict(prompts.sources)


def _policy(file: Path | None) -> str:
    if file is None:
        return ""
    if not file.is_file():
        raise BotError(f"--policy: there is no file {file}")
    load_policy(file)
    return file.read_text(encoding="utf-8")


async def _current(releases: Releases) -> Release:
    release = await releases.current()
    if release is None:
        raise BotError("no release is running")
    return release


@asynccontextmanager
async def _open(database_url: str) -> AsyncIterator[Releases]:
    async with open_database(database_url) as db:
        try:
            yield Releases(db)
        except NoRelease as error:
            raise BotError(str(error)) from error
