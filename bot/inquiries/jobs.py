"""Runs the jobs of the API: pictures submitted in bulk, described with the lowest priority."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from bot.errors import PromptTooLong, Unavailable
from bot.inquiries.inquiries import Inquiries
from bot.inquiries.inquiry import Answered, Inquiry, Said, numbered
from bot.metrics import Metrics
from context.api.jobs import CRASHES, Item, Jobs
from context.background import BackgroundTask
from context.db import StoreDown
from context.intake.formats import strip
from context.turns import Language, Photo
from prompts.prompt import Manner, PromptImage

log = logging.getLogger(__name__)

LEASE_S = 30.0
IDLE_S, IDLE_ALONE_S = 2.0, 30.0
"""Time between two looks: with other processes, for what they received; alone, for postponed items."""
STORE_RETRY_S = 2.0
PAUSES_S = (2.0, 5.0, 15.0, 60.0)
"""Pauses while the model does not answer."""
SPENT_S = 600.0
"""Time until a key that has used its tokens is checked again."""
SWEEP_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted for one picture: an answer to `prompt`, or the text of a house style."""

    prompt: str = ""
    style: str = ""
    language: Language | None = None
    max_tokens: int = 0
    name: str = ""
    """The client's name for it, returned with the result."""

    def inquiry(self, image: PromptImage, *, request: str, key_id: str, user: str = "") -> Inquiry:
        """The inquiry for this picture."""
        return Inquiry(
            id=request,
            key_id=key_id,
            said=numbered([Said("user", self.prompt, (image,))]),
            user=user,
            style=self.style,
            language=self.language,
            manner=Manner(max_tokens=self.max_tokens, by_model=True),
        )

    def written(self) -> str:
        """As it is stored in the database."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> Wanted:
        """The inverse of `written`."""
        return cls(**json.loads(text))


def result_of(wanted: Wanted, answered: Answered) -> dict[str, Any]:
    """The result that the client gets for one picture."""
    return {
        "id": wanted.name or None,
        "text": answered.text,
        "finish_reason": answered.finish,
        "model": answered.model,
        "system_fingerprint": answered.version,
        "release": answered.release or None,
        "usage": {
            "prompt_tokens": answered.prompt_tokens,
            "completion_tokens": answered.completion_tokens,
            "total_tokens": answered.tokens,
        },
    }


def failure_of(name: str, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """The result that the client gets for a picture without a text."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return {"id": name or None, "error": error}


IsSpent = Callable[[str], Awaitable[bool]]
"""Whether the key with this id has used up its tokens of today."""


class Runner:
    """Processes items of jobs, a few at a time.  Unfinished items are processed again after a restart."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        inquiries: Inquiries,
        is_spent: IsSpent,
        metrics: Metrics,
        at_once: int,
        is_alone: bool,
    ) -> None:
        self._jobs = jobs
        self._inquiries = inquiries
        self._is_spent = is_spent
        self._metrics = metrics
        self._at_once = at_once
        self._is_alone = is_alone
        self._idle_s = IDLE_ALONE_S if is_alone else IDLE_S
        self._tasks: dict[tuple[str, int], tuple[Item, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._failures = 0
        """Rounds in a row in which the model did not answer."""
        self._is_failing = False

    def wake(self) -> None:
        """Look for items at once."""
        self._wake.set()

    def drop(self, job_id: str) -> None:
        """Stop the items of a job that are being processed."""
        for item, task in self._tasks.values():
            if item.job_id == job_id:
                task.cancel()

    async def run(self) -> None:
        """Claim and process items until cancelled.

        If this is the only process on the database, it resumes at once what an earlier one left unfinished;
        otherwise when the leases end.
        """
        if self._is_alone:
            with contextlib.suppress(StoreDown):
                await self._jobs.release_all()
        beside = (
            BackgroundTask("leases of jobs", self._renew),
            BackgroundTask("deleting old jobs", self._sweep),
        )
        for work in beside:
            work.start()
        try:
            while True:
                self._wake.clear()
                wait_s = await self._claim()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
        finally:
            await asyncio.gather(*(work.stop() for work in beside))
            await self._give_back()

    async def _claim(self) -> float:
        """Start as many items as there is room for; returns how long to wait for more."""
        room = self._at_once - len(self._tasks)
        if self._is_failing or self._failures:
            if self._tasks:  # they will say how the model is
                return self._idle_s
            await self._pause()
            room = 1
        if room <= 0:
            return self._idle_s
        try:
            items = await self._jobs.claim(room, lease_s=LEASE_S)
        except StoreDown as error:
            log.error("jobs cannot be read", extra={"reason": str(error)})  # noqa: TRY400  # the reason says it
            return STORE_RETRY_S
        for item in items:
            task = asyncio.create_task(self._do(item), name=f"job {item.job_id}/{item.number}")
            self._tasks[item.job_id, item.number] = (item, task)
            task.add_done_callback(partial(self._ended, (item.job_id, item.number)))
        return self._idle_s

    async def _pause(self) -> None:
        """Wait while the model does not answer: longer each time, and then one item at a time."""
        if self._is_failing:
            self._failures += 1
            self._is_failing = False
        await asyncio.sleep(PAUSES_S[min(self._failures, len(PAUSES_S)) - 1])

    def _ended(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        if key in self._tasks and self._tasks[key][1] is task:  # else it was given back, and claimed again
            del self._tasks[key]
        self._wake.set()

    async def _do(self, item: Item) -> None:
        try:
            await self._answer(item)
        except StoreDown as error:  # its lease ends, and it is done again
            log.error("an item could not be recorded", extra={"request": _name(item), "reason": str(error)})  # noqa: TRY400
        except Exception:
            log.exception("an item broke", extra={"request": _name(item)})
            with contextlib.suppress(StoreDown):
                await self._fail(item, "internal_error", "An error on our side; it is in the operator's log.")

    async def _answer(self, item: Item) -> None:
        if item.crashes >= CRASHES:
            await self._fail(item, "internal_error", "The process died too often with it in hand.")
            return
        if await self._is_spent(item.key_id):
            await self._jobs.again([item], after_s=SPENT_S)
            return
        wanted = Wanted.read(item.ask)
        inquiry = wanted.inquiry(_image(item.jpeg), request=_name(item), key_id=item.key_id)
        try:
            with self._metrics.stages("job") as stages:
                stages.note(request=inquiry.id)
                answered = await self._inquiries.draft(inquiry, stages)
        except PromptTooLong:
            await self._fail(item, "context_length_exceeded", "It does not fit into the model's context.")
            return
        except Unavailable as error:
            self._is_failing = True
            log.warning("a job waits for the model", extra={"request": _name(item), "reason": str(error)})
            await self._jobs.again([item], after_s=0)
            return
        self._failures, self._is_failing = 0, False
        result = json.dumps(result_of(wanted, answered), ensure_ascii=False)
        await self._jobs.finish(
            item, result, chat=inquiry.chat, record=answered.reply.record, tokens=answered.tokens
        )
        self._metrics.api("job", answered.finish)

    async def _fail(self, item: Item, code: str, message: str) -> None:
        failure = failure_of(Wanted.read(item.ask).name, code, message)
        await self._jobs.fail(item, json.dumps(failure, ensure_ascii=False))
        self._metrics.api("job", code)

    async def _renew(self) -> None:
        """Renew the leases; stop items that are no longer ours because their job was cancelled."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            held = [item for item, _ in self._tasks.values()]
            try:
                renewed = await self._jobs.renew(held, lease_s=LEASE_S)
            except StoreDown as error:
                log.warning("leases of jobs could not be renewed", extra={"reason": str(error)})
                continue
            ours = {(item.job_id, item.number) for item in renewed}
            for item in held:
                running = self._tasks.get((item.job_id, item.number))
                if running is not None and (item.job_id, item.number) not in ours:
                    running[1].cancel()

    async def _sweep(self) -> None:
        while True:
            try:
                await self._jobs.sweep()
            except StoreDown as error:
                log.warning("old jobs could not be deleted", extra={"reason": str(error)})
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _give_back(self) -> None:
        """Stop the running items and leave them to the next start."""
        held = list(self._tasks.values())
        for _, task in held:
            task.cancel()
        await asyncio.gather(*(task for _, task in held), return_exceptions=True)
        with contextlib.suppress(StoreDown):
            await self._jobs.again([item for item, _ in held], after_s=0)


def _name(item: Item) -> str:
    return f"{item.job_id}/{item.number}"


def _image(jpeg: bytes) -> PromptImage:
    ours = strip(jpeg)
    return PromptImage(Photo(hashlib.sha256(jpeg).hexdigest(), ours.width, ours.height, 1), jpeg)
