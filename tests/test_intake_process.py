"""The intake's helper and its children: killed, stopped, orphaned - and the next picture works."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from context.intake import client, wire, zygote
from context.intake.client import Intake
from context.intake.wire import Normalised
from context.turns import Rejection
from tests import pictures
from tests.until import PROCESS_S, until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks at processes through /proc"
)

SLOW = pictures.many_scans(99, (6500, 4000))
"""Keeps a child busy for some tenths of a second."""


@pytest.fixture
async def intake() -> AsyncIterator[Intake]:
    intake = Intake(at_once=2)
    await intake.start()
    yield intake
    await intake.close()


@pytest.fixture
async def patient() -> AsyncIterator[Intake]:
    """Waits as long as the real one, for children that are to end well on a busy machine."""
    intake = Intake(at_once=2)
    await intake.start()
    yield intake
    await intake.close()


def helper_of(intake: Intake) -> int:
    assert intake._helper
    return intake._helper.process.pid


def processes() -> Iterator[tuple[int, str, int]]:
    """Pid, state and parent of every process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:  # it has just ended
            continue
        yield int(stat.parent.name), state, int(parent)


def children_of(pid: int) -> list[int]:
    return [child for child, state, parent in processes() if parent == pid and state != "Z"]


def lives(pid: int) -> bool:
    return any(found == pid and state != "Z" for found, state, _ in processes())


def cpu_of_children(pid: int) -> float:
    """Seconds of those that have ended."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[13:15]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def limits_of(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {line[:26].strip(): line[26:].split()[:2] for line in lines}


def open_files_of(pid: int) -> set[int]:
    return {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def caught_child(intake: Intake) -> tuple[asyncio.Task[Normalised | Rejection], int]:
    """A picture being worked on, and its child, standing still in the middle of it."""
    task = asyncio.create_task(intake.normalise(SLOW))
    await until(lambda: children_of(helper_of(intake)), every_s=0.005)
    (child,) = children_of(helper_of(intake))
    os.kill(child, signal.SIGSTOP)
    assert not task.done()
    return task, child


async def works(intake: Intake) -> bool:
    return isinstance(await intake.normalise(pictures.jpeg()), Normalised)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (signal.SIGKILL, "damaged"),  # the kernel, out of memory
        (signal.SIGSEGV, "damaged"),
        (signal.SIGXCPU, "too_slow"),  # its CPU limit
        (signal.SIGALRM, "try_again"),  # its own alarm clock: a busy machine
    ],
)
async def test_a_child_that_dies_refuses_its_picture_and_no_other(
    intake: Intake, how: int, code: str
) -> None:
    task, child = await caught_child(intake)
    os.kill(child, how)
    os.kill(child, signal.SIGCONT)
    answer = await task
    assert isinstance(answer, Rejection)
    assert answer.code == code
    assert await works(intake)


async def test_a_child_that_stands_still_is_killed_and_its_picture_tried_again() -> None:
    intake = Intake(at_once=2, give_up_s=2.0)
    await intake.start()
    task, child = await caught_child(intake)
    intake._give_up_s = None  # the others have as long as always
    assert await works(intake)
    answer = await task
    assert isinstance(answer, Rejection)
    assert answer.code == "try_again"
    await until(lambda: not lives(child))
    await intake.close()


@pytest.mark.parametrize("order", zygote.CPU_S)
def test_a_busy_machine_has_time_for_all_that_the_cpu_limit_allows(order: bytes) -> None:
    assert client.WAIT_S > wire.WALL_S[order] >= 3 * zygote.CPU_S[order]


async def test_nobody_waiting_any_more_ends_the_child(intake: Intake) -> None:
    task, child = await caught_child(intake)
    task.cancel()
    await until(lambda: not lives(child))
    assert await works(intake)


async def test_a_child_can_open_nothing_and_has_little_of_everything(patient: Intake) -> None:
    task, child = await caught_child(patient)
    limits = limits_of(child)
    assert limits["Max cpu time"] == ["5", "5"]
    assert limits["Max address space"] == [str(1 << 30)] * 2
    for nothing in ("Max file size", "Max open files", "Max processes", "Max core file size"):
        assert limits[nothing] == ["0", "0"]
    assert open_files_of(child) == {0, 1, 2}
    os.kill(child, signal.SIGCONT)
    assert isinstance(await task, Normalised)


async def test_the_helper_sees_nothing_of_our_environment(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "42:secret")
    os.kill(helper_of(intake), signal.SIGKILL)
    assert await works(intake)
    assert b"secret" not in environment_of(helper_of(intake))


async def test_a_helper_that_dies_is_replaced(intake: Intake) -> None:
    first = helper_of(intake)
    os.kill(first, signal.SIGKILL)
    assert await works(intake)
    assert helper_of(intake) != first
    assert (await intake.health()).state == "ok"


async def test_a_picture_in_work_survives_the_helper(patient: Intake) -> None:
    task, child = await caught_child(patient)
    os.kill(helper_of(patient), signal.SIGKILL)
    os.kill(child, signal.SIGCONT)
    assert isinstance(await task, Normalised)


async def test_closing_ends_the_helper_and_its_children(capfd: pytest.CaptureFixture[str]) -> None:
    intake = Intake()
    await intake.start()
    task, child = await caught_child(intake)
    helper = helper_of(intake)
    await intake.close()
    await until(lambda: not lives(helper) and not lives(child))
    task.cancel()
    await intake.close()
    assert (await intake.health()).state == "down"
    assert capfd.readouterr().err == ""


ORPHANED = """
import asyncio, json
from context.intake.client import Intake
from tests.test_intake_process import caught_child, helper_of

async def main():
    intake = Intake()
    await intake.start()
    task, child = await caught_child(intake)
    print(json.dumps([helper_of(intake), child]), flush=True)
    await task

asyncio.run(main())
"""


async def test_a_bot_that_is_killed_leaves_no_process_behind() -> None:
    bot = await asyncio.create_subprocess_exec(sys.executable, "-c", ORPHANED, stdout=subprocess.PIPE)
    assert bot.stdout
    family = json.loads(await bot.stdout.readline())
    assert all(lives(pid) for pid in family)
    bot.kill()
    await bot.wait()
    await until(lambda: not any(lives(pid) for pid in family))


async def test_without_a_helper_pictures_are_refused_and_health_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_command", lambda: [sys.executable, "-c", ""])
    monkeypatch.setattr(client, "START_S", 0.2)
    intake = Intake(wait_s=0.1)
    await intake.start()
    answer = await intake.normalise(pictures.jpeg())
    assert isinstance(answer, Rejection)
    assert answer.code == "try_again"
    assert (await intake.health()).state == "down"
    await intake.close()


HEAVY = """
import asyncio, json, resource
from context.intake.client import Intake
from tests import pictures as p
from tests.test_intake_process import children_of, cpu_of_children, helper_of
from tests.until import until

async def main():
    intake, seconds = Intake(), {}
    await intake.start()  # first of all: a process begins with the peak of the one that started it
    large = p.scene(4080, 3060)
    files = {
        "48 megapixels": p.jpeg(p.scene(8000, 6000)),
        "48 megapixels in scans": p.jpeg(p.scene(8000, 6000), progressive=True),
        "a claim of 39 megapixels": p.claims(6200, 6200),
        "20 megapixels with alpha": p.png(p.scene(5000, 4000).convert("RGBA"), compress_level=1),
        "12 megapixels of webp": p.webp(large, method=0),
        "12 megapixels of lossless webp": p.webp(large, method=0, lossless=True),
        "99 scans": p.many_scans(99, (6500, 4000)),
    }
    files |= {hostile.name: hostile.make() for hostile in p.HOSTILE}
    for name, data in files.items():
        before = cpu_of_children(helper_of(intake))
        await intake.normalise(data)
        await until(lambda: not children_of(helper_of(intake)))
        seconds[name] = cpu_of_children(helper_of(intake)) - before
    await intake.close()
    print(json.dumps({"kb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, "seconds": seconds}))

asyncio.run(main())
"""


def test_no_file_takes_two_seconds_of_work_or_200_megabytes() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HEAVY], capture_output=True, text=True, check=True, timeout=PROCESS_S
    )
    report = json.loads(ran.stdout)
    assert {name: spent for name, spent in report["seconds"].items() if spent > 2} == {}
    assert max(report["seconds"].values()) > 0.1, "nothing was measured"
    assert report["kb"] / 1024 < 200
