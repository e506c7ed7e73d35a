"""`python -m bot describe`: describe every picture in a folder, one line of JSON for each text.

Pictures take the same path as a customer's photo: intake, model, guard.  A line counts only when it is on
disk, so an interrupted job continues where it stopped, and each text is written once however often the job is
started.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.cli.folder import files_in, printable, read_file
from bot.cli.progress import Progress
from bot.cli.series import Series, SeriesBook
from bot.errors import BotError
from bot.metrics import Metrics
from bot.studio import OpenStudio, Studio, image_of
from context.fingerprints import Fingerprint, fingerprint
from context.journal import Journal, NotAJournal, Row, read
from context.turns import Chat, Language, Message, Rejection, Reply
from prompts.house_styles import HouseStyles
from prompts.prompt import PromptImage

PASSING = frozenset({"engine_down", "try_again", "unreadable"})
"""Failures that the next run retries; all others would end the same way."""
FAILURES_IN_A_ROW = 5
"""After so many in a row the model counts as down, and the rest waits for another run."""
_LISTED = 50


@dataclass(frozen=True, slots=True)
class Job:
    """What to describe, how, and where to write it."""

    folder: Path
    style: str
    languages: tuple[Language, ...]
    out: Path
    limit: int = 0
    """Most pictures in this run; 0 means all."""
    at_once: int = 8
    dry_run: bool = False


class _Usage(Exception):
    """The command line is wrong."""


async def run(job: Job, *, studio: OpenStudio) -> int:
    """Describe the pictures that are not described yet.

    Returns 0 if every picture has its texts, 1 if not, 2 for wrong usage.
    """
    styles = HouseStyles()
    try:
        files = await asyncio.to_thread(_checked, job, styles)
        if job.dry_run:
            work = _Work(job, styles, files, read(job.out))
            print(work.outlook(), file=sys.stderr)
            return 0
        with Journal(job.out) as journal:
            work = _Work(job, styles, files, journal.rows)
            if work.waiting:
                async with studio() as opened:
                    await _Run(job, styles, opened, journal, work).all()
    except (_Usage, NotAJournal) as error:
        print(f"bot: {error}", file=sys.stderr)
        return 2
    print(work.summary(), file=sys.stderr)
    return int(bool(work.failed or work.stopped))


def _checked(job: Job, styles: HouseStyles) -> list[str]:
    """The files of the job, in order.  Raises _Usage for mistakes that no run can succeed with."""
    if job.style not in styles.names:
        raise _Usage(f"no template {job.style}; there are {', '.join(styles.names)}")
    if problems := styles.lint():
        raise _Usage("; ".join(problems))
    if not job.folder.is_dir():
        raise _Usage(f"{job.folder} is no folder")
    try:
        return sorted(files_in(job.folder, leave_out=job.out))
    except OSError as error:
        raise _Usage(f"{job.folder} cannot be read: {error.strerror}") from None


class _Work:
    """What of a job is done and what is left, according to its output."""

    def __init__(self, job: Job, styles: HouseStyles, files: Sequence[str], rows: Sequence[Row]) -> None:
        self.series = SeriesBook()
        self.failed: dict[tuple[str, str], str] = {}
        self.stopped = ""
        """Why the run ended early."""
        self.wrote = 0
        done = self._read(rows, styles.version(job.style))
        there = set(files)
        self.failed = {key: why for key, why in self.failed.items() if key[0] in there and key in done}
        wanted = [
            (file, tuple(language for language in job.languages if (file, language) not in done))
            for file in files
        ]
        left = [(file, languages) for file, languages in wanted if languages]
        self.before = len(files) - len(left)
        self.waiting = left[: job.limit] if job.limit else left
        self.left_out = len(left) - len(self.waiting)

    def _read(self, rows: Sequence[Row], version: str) -> set[tuple[str, str]]:
        """Files and languages that are finished; the newest row of each counts."""
        done = set()
        for number, row in enumerate(rows, 1):
            try:
                key = (str(row["file"]), str(row["language"]))
                if row["template"] != version:
                    raise NotAJournal(
                        f"the output was written with {row['template']}, and the template is {version} now: "
                        "choose another --out"
                    )
                error = row.get("error")
                self.failed.pop(key, None)
                if error:
                    self.failed[key] = f"{error['code']} {error['detail']}".rstrip()
                if not error or error["code"] not in PASSING:
                    done.add(key)
                if "series" in row:
                    look = Fingerprint.parse(row["fingerprint"])
                    self.series.remember(key[0], row["series"], look, row["language"], row.get("text", ""))
            except (KeyError, TypeError, ValueError) as error:
                raise NotAJournal(f"line {number} of the output is not ours: {error!r}") from None
        return done

    def outlook(self) -> str:
        """What a run would do, for people."""
        texts = sum(len(languages) for _, languages in self.waiting)
        return f"{len(self.waiting)} pictures to describe, {texts} texts; {self.before} are done already"

    def summary(self) -> str:
        """The result of the run, with failures by file."""
        lines = [f"{self.wrote} texts written; {self.before} pictures were done already"]
        if self.left_out:
            lines.append(f"{self.left_out} pictures are left for another run (--limit)")
        if self.stopped:
            lines.append(self.stopped)
        failures = sorted(self.failed.items())
        lines += [
            f"failed: {printable(file)} [{language}] {why}" for (file, language), why in failures[:_LISTED]
        ]
        if len(failures) > _LISTED:
            lines.append(f"failed: {len(failures) - _LISTED} more, all in the output")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Picture:
    file: str
    image: PromptImage
    look: Fingerprint
    series: Series

    def about(self) -> Row:
        """The part of a row that describes the picture, whether there is a text or not."""
        return {
            "series": self.series.name,
            "fingerprint": str(self.look),
            "photo": self.image.photo.sha256,
        }


class _Run:
    """One run: pictures side by side; each line is on disk before the next step."""

    def __init__(self, job: Job, styles: HouseStyles, studio: Studio, journal: Journal, work: _Work) -> None:
        self._job = job
        self._styles = styles
        self._studio = studio
        self._journal = journal
        self._work = work
        self._version = styles.version(job.style)
        self._keeps_series = styles.keeps_series(job.style)
        self._stages = Metrics().stages()
        self._progress = Progress(len(work.waiting), stream=sys.stderr)
        self._slots = asyncio.Semaphore(job.at_once)
        self._failures_in_a_row = 0

    async def all(self) -> None:
        """Describe all waiting pictures, or stop when the model counts as down."""
        try:
            async with asyncio.TaskGroup() as group:
                before = asyncio.Event()
                before.set()
                for file, languages in self._work.waiting:
                    await self._slots.acquire()
                    if self._work.stopped:
                        break
                    placed = asyncio.Event()
                    group.create_task(self._one(file, languages, before, placed))
                    before = placed
        except* OSError as errors:
            why = errors.exceptions[0]
            raise BotError(f"{self._job.out} cannot be written: {why}") from None
        finally:
            self._progress.close()

    async def _one(
        self, file: str, languages: Sequence[Language], before: asyncio.Event, placed: asyncio.Event
    ) -> None:
        """Describe one picture in all its languages."""
        try:
            picture = await self._placed(file, languages, before, placed)
            if isinstance(picture, Rejection):
                for language in languages:
                    await self._fail(file, language, picture.code, picture.detail)
                failed = True
            else:
                failed = not all([await self._write(picture, language) for language in languages])
            self._progress.step(failed=failed)
        finally:
            self._slots.release()

    async def _placed(
        self, file: str, languages: Sequence[Language], before: asyncio.Event, placed: asyncio.Event
    ) -> _Picture | Rejection:
        """The picture and its series, which depends only on the order of the files."""
        try:
            image = await self._take_in(file)
            if isinstance(image, Rejection):
                await before.wait()
                return image
            look = await asyncio.to_thread(fingerprint, image.jpeg)
            await before.wait()
            series = self._work.series.place(file, look)
            if series.name == file:
                series.promise(languages)
            return _Picture(file, image, look, series)
        finally:
            placed.set()

    async def _take_in(self, file: str) -> PromptImage | Rejection:
        try:
            data = await asyncio.to_thread(read_file, self._job.folder / file)
        except OSError as error:
            return Rejection("unreadable", error.strerror or type(error).__name__)
        return await image_of(data, self._studio.intake)

    async def _write(self, picture: _Picture, language: Language) -> bool:
        """Ask for one text and store the result; whether it is a text."""
        text = ""
        try:
            reply = await self._ask(picture, language)
            if reply.origin.startswith("notice:"):
                code, detail = _why(reply)
                self._count(code, detail)
                await self._fail(picture.file, language, code, detail, picture.about())
                return False
            self._failures_in_a_row = 0
            text = reply.text
            await self._append(picture.file, language, {"text": text, **picture.about(), **_made(reply)})
            self._work.failed.pop((picture.file, language), None)
            self._work.wrote += 1
            return True
        finally:
            picture.series.settle(language, text)

    async def _ask(self, picture: _Picture, language: Language) -> Reply:
        answerer, style = self._studio.answerer, self._job.style
        is_first = picture.series.name == picture.file
        example = "" if is_first or not self._keeps_series else await picture.series.example(language)
        prompt = self._styles.assemble(
            style, language, picture.image, example=example, canary=answerer.canary
        )
        message = Message(Chat("describe", style), "", language, (picture.image.photo,))
        return await answerer.speak(message, prompt, self._stages)

    def _count(self, code: str, detail: str) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if code == "engine_down" else 0
        if self._failures_in_a_row >= FAILURES_IN_A_ROW and not self._work.stopped:
            self._work.stopped = f"the model does not answer ({detail}): run the same command again later"

    async def _fail(
        self, file: str, language: Language, code: str, detail: str, about: dict[str, Any] | None = None
    ) -> None:
        self._work.failed[file, language] = f"{code} {detail}".rstrip()
        await self._append(file, language, {"error": {"code": code, "detail": detail}, **(about or {})})

    async def _append(self, file: str, language: Language, what: dict[str, Any]) -> None:
        row = {"file": file, "language": language, **what, "template": self._version}
        await self._journal.append(row)


def _why(reply: Reply) -> tuple[str, str]:
    """Code and detail of a failure: names of rules and errors, never words of the model."""
    code = reply.origin.removeprefix("notice:")
    if code == "engine_down":
        error = str(reply.record.get("error", ""))
        return ("too_long" if error == "PromptTooLong" else code), error
    verdict = reply.record.get("verdict")
    reasons = verdict["reasons"] if isinstance(verdict, dict) else []
    return code, ", ".join(reason["rule"] for reason in reasons)


def _made(reply: Reply) -> dict[str, Any]:
    """Who wrote the text, and which policy let it pass."""
    verdict = reply.record.get("verdict")
    policy = verdict["policy"] if isinstance(verdict, dict) else ""
    return {"engine": reply.origin, "model": reply.record.get("model", ""), "policy": policy}
