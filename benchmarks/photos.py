"""What a photo costs from a stranger's bytes to a checked file on disk, beside plain load + resize + save.

    python benchmarks/photos.py [--quick]

CPU is that of the whole process tree.  The plain way runs in this process, turn about with ours, on
the same files: opened by Pillow, brought to 1024 with Lanczos, saved at q90, nothing checked.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from PIL import Image
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.processes import PeakMemory, cpu_s, memory_mb
from bot.engines.ocr import Ocr
from context.db import Database
from context.fingerprints import fingerprint
from context.photos import Intake, Photos
from context.readings import COMPARED, Readings
from context.turns import Chat, Photo
from tests import pictures
from tests.ac_panel import draw_panel, draw_plate

KINDS: dict[str, Callable[[], bytes]] = {
    "Telegram photo, 1280 x 960": lambda: pictures.photo(1280, 960),
    "12 megapixels, JPEG": lambda: pictures.photo(4032, 3024),
    "12 megapixels, progressive JPEG": lambda: pictures.photo(4032, 3024, progressive=True),
    "3 megapixels, PNG screenshot": lambda: pictures.png(pictures.scene(1179, 2556)),
}


def plain(data: bytes, folder: Path) -> None:
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    scale = 1024 / max(picture.size)
    size = round(picture.width * scale), round(picture.height * scale)
    picture.resize(size, Image.Resampling.LANCZOS).save(folder / "plain.jpg", quality=90)


async def cpu_and_wall(work: Callable[[], Awaitable[object]], times: int) -> tuple[float, float]:
    """Milliseconds each, of the whole tree."""
    cpu, wall = cpu_s(os.getpid()), time.perf_counter()
    for _ in range(times):
        await work()
    wall = time.perf_counter() - wall
    await asyncio.sleep(0.05)  # the last child is being buried
    return (cpu_s(os.getpid()) - cpu) / times * 1000, wall / times * 1000


async def compare(photos: Photos, files: dict[str, bytes], folder: Path, *, rounds: int, times: int) -> None:
    print("| one photo | kB | plain, CPU ms | ours, CPU ms | plain / ours | plain, wall ms | ours, wall ms |")
    print("|---|---|---|---|---|---|---|")
    for name, data in files.items():
        theirs, ours = [], []
        for _ in range(rounds):

            async def by_hand(data: bytes = data) -> None:
                plain(data, folder)

            theirs.append(await cpu_and_wall(by_hand, times))
            ours.append(await cpu_and_wall(lambda data=data: photos.take_in(data), times))
        (plain_cpu, plain_wall), (our_cpu, our_wall) = (
            [statistics.median(column) for column in zip(*rows, strict=True)] for rows in (theirs, ours)
        )
        ratio = statistics.median(a[0] / b[0] for a, b in zip(theirs, ours, strict=True))
        print(
            f"| {name} | {len(data) // 1000} | {plain_cpu:.1f} | {our_cpu:.1f} | **{ratio:.2f}** "
            f"| {plain_wall:.1f} | {our_wall:.1f} |"
        )


async def memory(photos: Photos, data: bytes, *, times: int) -> None:
    me = os.getpid()
    idle = memory_mb(me)
    for at_once in (1, 2):
        async with PeakMemory(me) as peak:
            for _ in range(times):
                await asyncio.gather(*(photos.take_in(data) for _ in range(at_once)))
        print(f"* memory above idle, {at_once} at once: {peak.mb - idle:.0f} MB")


async def stalls(work: Awaitable[object]) -> str:
    """How late a 1 ms timer was at worst while `work` ran, and how long the loop itself was busy at worst.

    The difference is the machine's: the loop was ready, and others had the cores.
    """
    worst = busiest = 0.0
    task = asyncio.ensure_future(work)
    while not task.done():
        wall, cpu = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - wall - 0.001)
        busiest = max(busiest, time.thread_time() - cpu)
    await task
    return f"{worst * 1000:.1f} ms, the loop busy for {busiest * 1000:.1f} ms"


async def arriving(photos: Photos, files: dict[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        print(f"* 50 x {name}, longest stall: ", end="")
        print(
            await stalls(asyncio.gather(*(photos.take_in(data) for _ in range(50)))),
            end=" (plain in threads: ",
        )
        print(
            await stalls(asyncio.gather(*(asyncio.to_thread(plain, data, folder) for _ in range(50)))) + ")"
        )
    print(f"* nothing arrives for a second: {await stalls(asyncio.sleep(1))}")


async def album(photos: Photos, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        singles = []
        for _ in range(10):
            before = time.perf_counter()
            assert isinstance(await photos.take_in(data), Photo)
            singles.append(time.perf_counter() - before)
        before = time.perf_counter()
        await asyncio.gather(*(photos.take_in(data) for _ in range(10)))
        whole = time.perf_counter() - before
        print(
            f"* album of ten, {name}: {whole * 1000:.0f} ms, one after another {sum(singles) * 1000:.0f} ms, "
            f"the slowest alone {max(singles) * 1000:.0f} ms ({whole / max(singles):.1f} times)"
        )


async def downloaded_album(photos: Photos, data: bytes) -> None:
    """As a channel brings it: each photo is taken in when it has come, and all ten come at once."""

    async def comes(after_s: float) -> float:
        before = time.perf_counter()
        await asyncio.sleep(after_s)
        assert isinstance(await photos.take_in(data), Photo)
        return time.perf_counter() - before

    for after_s in (0.1, 0.2, 0.4):
        slowest = max([await comes(after_s) for _ in range(10)])
        whole = max(await asyncio.gather(*(comes(after_s) for _ in range(10))))
        print(
            f"* album of ten Telegram photos, {after_s * 1000:.0f} ms until each has come: "
            f"{whole * 1000:.0f} ms, the slowest alone {slowest * 1000:.0f} ms ({whole / slowest:.2f} times)"
        )


async def reading(*, times: int) -> None:
    """Text recognition of photos as they are stored, and the search for look-alikes."""
    ocr = Ocr()
    await ocr.start()
    for name, drawn in (("panel", draw_panel()), ("rating plate", draw_plate())):
        drawn.thumbnail((1024, 1024))
        jpeg = pictures.jpeg(drawn)
        for passes, enough in (("one pass", True), ("both passes", False)):
            cpu, _ = await cpu_and_wall(lambda j=jpeg, e=enough: ocr.read(j, enough=lambda _: e), times)
            print(f"* reading a {name}, {passes}: {cpu:.0f} ms of CPU")
        print(f"* the event loop meanwhile, longest stall: {await stalls(ocr.read(jpeg, enough=bool))}")
        before = time.process_time()
        for _ in range(times):
            fingerprint(jpeg)
        print(f"* its fingerprint: {(time.process_time() - before) / times * 1000:.1f} ms")
    await ocr.close()


async def look_alikes(folder: Path) -> None:
    db = Database(f"sqlite:///{folder}/bot.db")
    dice = random.Random(1)
    rows = [
        {"photo": f"{number:064x}", "look": f"{dice.getrandbits(64):016x}{dice.randbytes(48).hex()}"}
        for number in range(COMPARED)
    ]
    insert = text("INSERT INTO readings (photo, read_at, look) VALUES (:photo, 1, :look)")
    await db.write(lambda connection: connection.execute(insert, rows))
    before = time.perf_counter()
    for _ in range(5):
        await Readings(db).similar(Chat("web", "x"), rows[0]["photo"], before=2.0)
    print(f"* similar cases among {COMPARED} photos: {(time.perf_counter() - before) / 5 * 1000:.0f} ms")
    await db.close()


async def main(*, quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        photos = Photos(Path(folder), intake=Intake())
        before = time.perf_counter(), memory_mb(os.getpid())
        await photos.start()
        print(
            f"* helper: ready after {(time.perf_counter() - before[0]) * 1000:.0f} ms, "
            f"{memory_mb(os.getpid()) - before[1]:.0f} MB more in the tree\n"
        )
        files = {name: make() for name, make in KINDS.items()}
        await compare(photos, files, Path(folder), rounds=2 if quick else 5, times=8 if quick else 12)
        print()
        files.pop("3 megapixels, PNG screenshot")
        await memory(photos, files["12 megapixels, JPEG"], times=20 if quick else 40)
        await arriving(photos, files, Path(folder))
        await album(photos, files)
        await downloaded_album(photos, files["Telegram photo, 1280 x 960"])
        await photos.close()
        await reading(times=4 if quick else 10)
        await look_alikes(Path(folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a third of the work")
    uvloop.run(main(quick=parser.parse_args().quick))
