"""`python -m bot torture`: choose, play, judge, print."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from torture.arena import Arena, CannotRun, Silent, kills_of
from torture.card import Card, table
from torture.scenarios import SCENARIOS, Scenario
from torture.subject import OURS, THIS, Subject, places_in

OK, FAILED, USAGE = 0, 1, 2
PLACES = ("token", "telegram_url", "model_url", "model", "redis_url", "folder")
QUICK_JOBS = 3


def run(arguments: argparse.Namespace) -> int:
    """Play the scenarios asked for; 1 when a promise was broken."""
    if arguments.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:22} {scenario.what}")
        return OK
    known = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in arguments.scenario if name not in known]
    if unknown:
        print(f"no scenario {unknown[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return USAGE
    chosen = [known[name] for name in dict.fromkeys(arguments.scenario)] or list(SCENARIOS)
    try:
        subject = _subject(arguments.words, arguments.env)
    except ValueError as error:
        print(error, file=sys.stderr)
        return USAGE
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # bots that die hang up on it
    began = time.monotonic()
    try:
        cards = asyncio.run(_play_all(chosen, subject, arguments))
    except asyncio.CancelledError:
        print("told to stop", file=sys.stderr)
        return FAILED
    print(f"\n{subject.name}, {time.strftime('%Y-%m-%d')}, {time.monotonic() - began:.0f} s\n")
    print(table(cards))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([asdict(card) | {"holds": card.holds} for card in cards]))
    return OK if all(card.holds for card in cards) else FAILED


def _subject(words: str, settings: Sequence[str]) -> Subject:
    """This bot, or the one of `--command`; `--env` adds to what it is told, or takes away (`NAME=`)."""
    subject = THIS
    if words:
        # It works in a folder of its own; a file that is named from here is meant.
        command = tuple(
            str(Path(word).absolute()) if Path(word).is_file() else word for word in shlex.split(words)
        )
        subject = Subject(words, command, dict(OURS) | {"REDIS_URL": "{redis_url}"})
    environment = dict(subject.environment)
    for setting in settings:
        name, is_there, value = setting.partition("=")
        if not (name and is_there) or not places_in(value) <= set(PLACES):
            raise ValueError(f"--env {setting}: write NAME=VALUE, with no place but {', '.join(PLACES)}")
        environment[name] = value
    return replace(subject, environment=environment)


async def _play_all(
    scenarios: Sequence[Scenario], subject: Subject, arguments: argparse.Namespace
) -> list[Card]:
    playing = asyncio.current_task()
    assert playing is not None
    # So that whoever ends it (a time limit of CI, say) ends the bots that it started, too.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    jobs = arguments.jobs or (QUICK_JOBS if arguments.quick else 1)
    turns = asyncio.Semaphore(jobs)
    waiting_ones = asyncio.Semaphore(jobs * 2 if jobs > 1 else 1)

    async def play(scenario: Scenario) -> Card:
        async with waiting_ones if scenario.is_idle and jobs > 1 else turns:
            began = time.monotonic()
            card = await _play(scenario, subject, arguments)
            word = "not run" if card.counts is None else "held" if card.holds else "BROKEN"
            print(f"{scenario.name:22} {word:8} {time.monotonic() - began:6.1f} s", flush=True)
            return card

    return list(await asyncio.gather(*(play(scenario) for scenario in scenarios)))


async def _play(scenario: Scenario, subject: Subject, arguments: argparse.Namespace) -> Card:
    if scenario.ours_only and not subject.is_ours:
        return Card(scenario.name, scenario.what, None, why_not="needs to know the bot from inside")
    size = scenario.quick if arguments.quick else scenario.full
    with _folder(arguments.keep, scenario) as folder:
        arena = Arena(subject, folder, chats=size.chats, seed=arguments.seed, model_s=scenario.model_s)
        async with arena:
            try:
                await scenario.play(arena, size)
            except CannotRun as error:
                return Card(scenario.name, scenario.what, None, why_not=str(error))
            except Silent as error:
                arena.notes.append(str(error))
            except TimeoutError:
                arena.notes.append(f"it did not come back in time: {arena.process.last_words}")
            else:
                await arena.settle(patience_s=arguments.patience)
            kills, crashes = kills_of(arena)
            return Card(
                scenario.name,
                scenario.what,
                await arena.counts(),
                recovery_s=arena.recovery_s(),
                settled_s=arena.settled_s(),
                kills=kills,
                crashes=crashes,
                notes=tuple(arena.notes),
            )


@contextmanager
def _folder(keep: str | None, scenario: Scenario) -> Iterator[Path]:
    """Where the bot works: a temporary folder, or one that is kept for whoever wants to look."""
    if keep:
        folder = Path(keep, re.sub(r"\W+", "-", scenario.name)).absolute()
        folder.mkdir(parents=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="torture", ignore_cleanup_errors=True) as name:
        yield Path(name)
