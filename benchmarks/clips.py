"""How many drawn clips are counted right, how many are asked about, and that none is counted wrongly.

    python -m benchmarks.clips [--clips 60] [--seed 424242]

Every clip is drawn with noise, shake, glare and often a second lamp (`tests/clips.py`), encoded as H.264
and taken in as a customer's would be.  Right: every lamp that blinks in groups has its count and colour,
and no other has one.  Ends with 1 when a count is wrong or fewer than 95 % are right.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from context.photos import Intake, Photos
from context.turns import Photo
from tests.clips import DrawnClip, drawn_clips, film

ENOUGH = 0.95


async def main(clips: int, seed: int) -> int:
    right = wrong = 0
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        photos = Photos(Path(folder), intake=Intake())
        await photos.start()
        for number, drawn in enumerate(drawn_clips(clips, seed=seed)):
            data = film(drawn)
            began = time.perf_counter()
            taken = await photos.take_in(data)
            seconds.append(time.perf_counter() - began)
            wanted = {(lamp.colour, lamp.blinks) for lamp in drawn.lamps if lamp.blinks > 0}
            counted = _counted(taken)
            if counted == wanted:
                right += 1
                continue
            wrong += bool(counted - wanted)
            print(
                f"{number:3} {'WRONG' if counted - wanted else 'asks '} {_told(drawn)} found {counted or '-'}"
            )
        await photos.close()
    print(f"{right} of {clips} right, {wrong} wrong, {clips - right - wrong} to ask about;", end=" ")
    print(f"{sorted(seconds)[clips // 2]:.1f} s a clip at the median, {max(seconds):.1f} s at most")
    return int(wrong > 0 or right < ENOUGH * clips)


def _counted(taken: object) -> set[tuple[str, int]]:
    lamps = taken.clip.lamps if isinstance(taken, Photo) and taken.clip else ()
    return {(lamp.colour, lamp.blinks) for lamp in lamps if lamp.blinks}


def _told(drawn: DrawnClip) -> str:
    lamps = ", ".join(f"{lamp.colour} x{lamp.blinks}" for lamp in drawn.lamps)
    return f"{lamps}; {drawn.rate}/s, noise {drawn.noise:.0f}, shake {drawn.shake:g}, glare {drawn.glare:g};"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=424_242)
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.clips, given.seed)))
