"""`/v1/jobs`: many pictures at a time.  Submitted together, described one by one, returned as JSON lines."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Collection
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from bot.inquiries.inquiries import Inquiries
from bot.inquiries.jobs import Runner, Wanted, failure_of
from bot.inquiries.pictures import BadPicture
from bot.web.api.bodies import READ_S, Bodies, Held, parsed
from bot.web.api.describe import read_item
from bot.web.api.keyring import Keyring
from bot.web.api.refusal import ApiError, refusal_of
from context.api.jobs import JobGone, Jobs, NewItem, Progress
from context.api.keys import ApiKey

MAX_ITEMS = 10_000
_PAGE = 200
_LINES = {"application/jsonl", "application/x-ndjson"}
_ONCE = re.compile(r"[\x21-\x7e]{1,200}")
_BATCH = 8
_FAULT = 500


class JobDesk:
    """Accepts jobs, reports their progress, returns results, cancels jobs."""

    def __init__(
        self,
        inquiries: Inquiries,
        *,
        jobs: Jobs,
        runner: Runner,
        keyring: Keyring,
        bodies: Bodies,
        styles: Collection[str],
    ) -> None:
        self._inquiries = inquiries
        self._jobs = jobs
        self._runner = runner
        self._keyring = keyring
        self._bodies = bodies
        self._styles = styles

    async def submit(self, request: Request) -> Response:
        """Accept a job: JSON lines, or `{"items": [...]}`.  The same `Idempotency-Key` twice is one job."""
        key = await self._keyring.who(request)
        once = request.headers.get("idempotency-key")
        if once is not None and not _ONCE.fullmatch(once):
            raise ApiError(400, "Idempotency-Key must be 1 to 200 visible characters.", code="invalid_value")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        with self._keyring.enter(key):
            job_id = f"job-{secrets.token_hex(12)}"
            begun = await self._jobs.begin(job_id, key.id, once=once)
            if begun != job_id:
                return await self._shown(key, begun, 200)
            try:
                if kind in _LINES:
                    await self._receive(job_id, self._lines(request))
                else:
                    await self._receive(job_id, self._listed(request))
            except BaseException as error:
                await asyncio.shield(self._jobs.drop(job_id))
                if isinstance(error, JobGone):
                    raise ApiError(409, "The same job came again meanwhile.", code="conflict") from None
                raise
        self._runner.wake()
        return await self._shown(key, job_id, 202)

    async def _receive(self, job_id: str, items: AsyncIterator[tuple[int, dict[str, Any]]]) -> None:
        """Check and store each picture, a few at a time; a bad one becomes a failed item."""
        count, fresh = 0, []
        async for number, body in items:
            count = number
            if count > MAX_ITEMS:
                raise ApiError(413, f"A job may have {MAX_ITEMS} pictures.", code="too_many_items")
            fresh.append(await self._item(number, body))
            if len(fresh) >= _BATCH:
                await self._jobs.add(job_id, fresh)
                fresh = []
        if not count:
            raise ApiError(400, "A job needs at least one item.", code="invalid_value")
        await self._jobs.add(job_id, fresh)
        await self._jobs.close(job_id, count)

    async def _item(self, number: int, body: dict[str, Any]) -> NewItem:
        path = f"items[{number - 1}]."
        name = str(body.get("id") or "")[:200]
        try:
            wanted, data = await asyncio.to_thread(read_item, body, self._styles, path=path)
            image = await self._inquiries.pictures.look(data)
        except (ApiError, BadPicture) as error:
            refusal = refusal_of(error, param=f"{path}image")
            if refusal.status >= _FAULT:
                raise refusal from None
            failed = failure_of(name, refusal.code or "", refusal.message, refusal.param)
            return NewItem(number, Wanted(name=name).written(), None, _dump(failed))
        return NewItem(number, wanted.written(), image.jpeg)

    async def _listed(self, request: Request) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        async with self._bodies.json(request) as body:
            items = body.get("items")
            if set(body) != {"items"} or not isinstance(items, list):
                raise ApiError(
                    400, 'Send {"items": [...]}, or JSON lines.', param="items", code="invalid_type"
                )
            for number, item in enumerate(items, 1):
                if not isinstance(item, dict):
                    raise ApiError(
                        400, "Must be an object.", param=f"items[{number - 1}]", code="invalid_type"
                    )
                yield number, item

    async def _lines(self, request: Request) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """The lines, one by one as they come: never more than one in memory."""
        held = Held(self._bodies)
        number, rest = 0, bytearray()
        try:
            stream = aiter(request.stream())
            while (chunk := await _next(stream)) is not None:
                *lines, last = chunk.split(b"\n")
                for line in lines:
                    rest += line
                    if rest.strip():
                        number += 1
                        yield number, await _line(bytes(rest), number)
                    rest.clear()
                    held.release()
                held.add(len(last))
                rest += last
            if rest.strip():
                yield number + 1, await _line(bytes(rest), number + 1)
        finally:
            held.release()

    async def show(self, request: Request) -> Response:
        """The progress of a job."""
        key = await self._keyring.who(request)
        return await self._shown(key, request.path_params["job"], 200)

    async def every(self, request: Request) -> Response:
        """The key's newest jobs."""
        key = await self._keyring.who(request)
        jobs = await self._jobs.newest(key.id)
        return JSONResponse({"object": "list", "data": [_card(job) for job in jobs]})

    async def results(self, request: Request) -> Response:
        """Finished items, as JSON lines in the order of the items; `?after=` continues after an index."""
        key = await self._keyring.who(request)
        job = await self._known(key, request.path_params["job"])
        after = request.query_params.get("after", "-1")
        if not re.fullmatch(r"-1|\d{1,9}", after):
            raise ApiError(400, "after must be an index.", param="after", code="invalid_value")
        return StreamingResponse(self._pages(job.id, int(after)), media_type="application/jsonl")

    async def _pages(self, job_id: str, after: int) -> AsyncIterator[bytes]:
        last = after + 1
        while page := await self._jobs.results(job_id, after=last, limit=_PAGE):
            yield b"".join(
                _dump({"index": n - 1} | json.loads(result)).encode() + b"\n" for n, result in page
            )
            last = page[-1][0]

    async def cancel(self, request: Request) -> Response:
        """Cancel a job: finished items stay, running ones are stopped."""
        key = await self._keyring.who(request)
        job = await self._known(key, request.path_params["job"])
        if await self._jobs.cancel(key.id, job.id):
            self._runner.drop(job.id)
        return await self._shown(key, job.id, 200)

    async def _shown(self, key: ApiKey, job_id: str, status: int) -> Response:
        return JSONResponse(_card(await self._known(key, job_id)), status)

    async def _known(self, key: ApiKey, job_id: str) -> Progress:
        job = await self._jobs.progress(key.id, job_id)
        if job is None:
            raise ApiError(404, "This key has no such job.", param="job", code="job_not_found")
        return job


async def _line(line: bytes, number: int) -> dict[str, Any]:
    """One item.  Raises `ApiError` that names it."""
    try:
        return await parsed(line)
    except ApiError as error:
        message = f"Item {number}: {error.message} Each line holds one item."
        raise ApiError(error.status, message, param=f"items[{number - 1}]", code=error.code) from None


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    """The next bytes; None at the end.  Each wait is limited, the total time is not: a job may be long."""
    try:
        async with asyncio.timeout(READ_S):
            return await anext(stream, None)
    except TimeoutError:
        raise ApiError(408, f"Nothing more came within {READ_S:g} s.", code="timeout") from None
    except ClientDisconnect:
        raise ApiError(400, "The client hung up.", code="disconnected") from None


def _card(job: Progress) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "job",
        "status": job.state,
        "total": job.total,
        "done": job.done,
        "failed": job.failed,
        "created_at": int(job.created_at),
        "ended_at": int(job.ended_at) if job.ended_at else None,
    }


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
