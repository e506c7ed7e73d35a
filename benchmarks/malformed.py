"""Takes every file of a folder through the intake: each must give a picture or a typed refusal, quickly.

    python -m benchmarks.malformed FOLDER [--mutants 10] [--seed 1]

FOLDER holds files to try, for example the test images of image libraries and the corpora of their fuzzers;
nothing in it is believed, names included.  With `--mutants`, each file is also tried that often with bits
flipped, parts cut out, doubled, overwritten or exchanged with another file's.  Says how many came out as
what, and the peak memory of any child.  A file that takes two seconds is tried again alone, since the machine
may be busy; it is named if its CPU time is as long, or if its child crashed or was killed.  Ends with 1 if
there is one, or if a child took more than 200 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from context.facts import facts_from
from context.intake.client import Intake
from context.intake.formats import is_clip
from context.intake.limits import MAX_BYTES
from context.photos import REJECTIONS
from context.turns import Rejection

MOST_S = 2.0
MOST_MB = 200
BATCH = 500
"""Files taken in by one helper process; its children's peak memory is known when it has ended."""
BAD_ENDS = frozenset(
    ("the decoder crashed", "the decoder misbehaved", "killed at its limit", "the helper ended twice")
)


@dataclass
class Tally:
    """What became of the files."""

    ends: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    again: list[tuple[str, bytes]] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def blame(self, name: str, why: str) -> None:
        """Count and name a file that did not end well."""
        self.bad += 1
        print(f"{name}: {why}", flush=True)


def files_in(folder: Path) -> list[Path]:
    """All files that are not refused for their size alone."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size <= MAX_BYTES)


async def main(files: list[Path], mutants: int, seed: int, at_once: int) -> int:
    tally, peak_mb = Tally(), 0.0
    tried = _tried(files, mutants, seed)
    while batch := list(islice(tried, BATCH)):
        async with _open_intake(tally, at_once) as intake:
            todo = iter(batch)
            await asyncio.gather(*(_take_all(intake, todo, tally) for _ in range(at_once)))
        mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        if mb > max(peak_mb, MOST_MB):
            tally.blame(f"one of {[name for name, _ in batch]}", f"{mb:.0f} MB")
        peak_mb = max(peak_mb, mb)
        while tally.again:
            await _take_alone(*tally.again.pop(), tally)
        print(f"\r{tally.ends.total()}", end=" ", file=sys.stderr, flush=True)
    for end, count in tally.ends.most_common():
        print(f"{count:7} {end}")
    seconds, name = tally.slowest
    print(f"{tally.ends.total()} files, {tally.bad} of them bad; most memory {peak_mb:.0f} MB;", end=" ")
    print(f"slowest alone {seconds:.2f} s of CPU ({name})")
    return int(tally.bad > 0)


@contextlib.asynccontextmanager
async def _open_intake(tally: Tally, at_once: int = 1) -> AsyncIterator[Intake]:
    intake = Intake(at_once=at_once)
    await intake.start()
    yield intake
    if "replaced" in (health := await intake.health()).detail or health.state != "ok":
        tally.blame("the helper", health.detail)
    await intake.close()


async def _take_all(intake: Intake, todo: Iterator[tuple[str, bytes]], tally: Tally) -> None:
    for name, data in todo:
        began = time.perf_counter()
        end, is_bad = await _take(intake, data)
        if time.perf_counter() - began > MOST_S:
            tally.again.append((name, data))
            continue
        tally.ends[end] += 1
        if is_bad:
            tally.blame(name, end)


async def _take_alone(name: str, data: bytes, tally: Tally) -> None:
    began_s = _children_s()
    async with _open_intake(tally):
        pass
    idle_s = _children_s() - began_s
    began_s = _children_s()
    async with _open_intake(tally) as intake:
        end, is_bad = await _take(intake, data)
    seconds = _children_s() - began_s - idle_s
    tally.ends[end] += 1
    tally.slowest = max(tally.slowest, (seconds, name))
    if is_bad or seconds > MOST_S:
        tally.blame(name, f"{end}, {seconds:.2f} s of CPU")


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _take(intake: Intake, data: bytes) -> tuple[str, bool]:
    """What became of a file, and whether that is worse than a refusal."""
    taken = await (intake.watch(data) if is_clip(data) else intake.normalise(data))
    kind = "clip" if is_clip(data) else "file"
    if isinstance(taken, Rejection):
        is_bad = taken.code not in REJECTIONS or taken.code == "try_again" or taken.detail in BAD_ENDS
        return f"{kind}: {taken.code} {taken.detail if is_bad else ''}".rstrip(), is_bad
    facts_from(taken.facts)  # raises if the child said nonsense
    return f"{kind}: taken in", not taken.jpeg.startswith(b"\xff\xd8\xff")


def _tried(files: list[Path], mutants: int, seed: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    for path in files:
        data = path.read_bytes()
        if not mutants:
            yield path.name, data
        for number in range(mutants):
            yield f"{path.name} mutant {number} of seed {seed}", _mutant(rng, data, files)


def _mutant(rng: random.Random, data: bytes, files: list[Path]) -> bytes:
    """The same bytes with one to three accidents."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        size = len(changed)
        if size <= 16:
            break
        # Half of them near the start, where the headers are.
        at = rng.randrange(16, size) if rng.random() < 0.5 else rng.randrange(min(size, 512))
        length = min(size - at, 1 << rng.randint(0, 12))
        match rng.randrange(7):
            case 0:
                for _ in range(rng.randint(1, 30)):
                    changed[rng.randrange(size)] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * rng.randint(1, 50)
            case 4:
                changed[at : at + min(length, 8)] = rng.choice((b"\0", b"\xff", b"\x7f")) * min(length, 8)
            case 5:
                changed[at : at + length] = rng.randbytes(length)
            case _:
                other = rng.choice(files).read_bytes()
                changed[at:] = other[rng.randrange(len(other) or 1) :]
    return bytes(changed[:MAX_BYTES])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mutants", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=2)
    given = parser.parse_args()
    sys.exit(asyncio.run(main(files_in(given.folder), given.mutants, given.seed, given.at_once)))
