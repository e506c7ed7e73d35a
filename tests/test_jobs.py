"""Jobs: pictures in bulk, described once each, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from context.api.jobs import CRASHES, KEPT_S, JobGone, Jobs, NewItem
from context.api.keys import Allowance, ApiKeys
from context.api.ledger import ApiLedger
from context.db import Database
from context.turns import Chat
from context.verdicts import Verdicts
from tests.api_world import KEY, RED, ApiWorld, api_world, data_url, have_broken_off
from tests.clock import Clock
from tests.model_server import Fault, ModelServer, Received
from tests.until import PROCESS_S, until
from tests.web_world import browse
from tests.world import picture

RECORD: dict[str, object] = {"verdict": {"action": "allow"}, "model": "m"}
CHAT = Chat("api", "k1")


# --- The store, on both databases


class Store:
    def __init__(self, db: Database) -> None:
        self.verdicts = Verdicts(db, key=b"k" * 32)
        self.jobs = Jobs(db, ledger=ApiLedger(db, verdicts=self.verdicts))
        self.keys = ApiKeys(db)

    async def submit(self, job_id: str, count: int, *, once: str | None = None) -> None:
        assert await self.jobs.begin(job_id, "k1", once=once) == job_id
        await self.jobs.add(job_id, [NewItem(n, "{}", b"jpeg") for n in range(1, count + 1)])
        await self.jobs.close(job_id, count)

    async def state(self, job_id: str) -> tuple[str, int, int, int]:
        job = await self.jobs.progress("k1", job_id)
        assert job is not None
        return job.state, job.total, job.done, job.failed


@pytest.fixture
def store(db: Database) -> Store:
    return Store(db)


async def test_a_job_takes_part_once_it_is_whole(store: Store) -> None:
    await store.jobs.begin("a", "k1", once=None)
    await store.jobs.add("a", [NewItem(1, "{}", b"jpeg")])
    assert await store.jobs.claim(5, lease_s=10) == []
    await store.jobs.close("a", 1)
    (item,) = await store.jobs.claim(5, lease_s=10)
    assert (item.jpeg, item.key_id) == (b"jpeg", "k1")
    with pytest.raises(JobGone):
        await store.jobs.add("a", [NewItem(2, "{}", b"jpeg")])


async def test_several_workers_claim_each_item_once(store: Store) -> None:
    await store.submit("a", 20)
    claims = await asyncio.gather(*(store.jobs.claim(5, lease_s=10) for _ in range(6)))
    numbers = [item.number for claimed in claims for item in claimed]
    assert sorted(numbers) == list(range(1, 21))


async def test_the_last_two_items_end_the_job_whoever_ends_them(store: Store) -> None:
    await store.submit("a", 8)
    items = await store.jobs.claim(8, lease_s=10)
    finish = store.jobs.finish
    await asyncio.gather(*(finish(item, "{}", chat=CHAT, record=RECORD, tokens=1) for item in items))
    assert await store.state("a") == ("done", 8, 8, 0)
    await store.verdicts.seal()
    assert await store.verdicts.verify() == (8, [])


async def test_a_result_its_verdict_and_its_tokens_are_written_once(store: Store, clock: Clock) -> None:
    await store.submit("a", 1)
    (late,) = await store.jobs.claim(1, lease_s=10)
    clock.now += 11
    (again,) = await store.jobs.claim(1, lease_s=10)
    assert await store.jobs.finish(again, '{"text":"2"}', chat=CHAT, record=RECORD, tokens=7)
    assert not await store.jobs.finish(late, '{"text":"1"}', chat=CHAT, record=RECORD, tokens=7)
    assert not await store.jobs.finish(again, '{"text":"3"}', chat=CHAT, record=RECORD, tokens=7)
    assert await store.jobs.results("a", after=0, limit=9) == [(1, '{"text":"2"}')]
    await store.verdicts.seal()
    assert await store.verdicts.verify() == (1, [])
    assert (await store.keys.used(["k1"]))["k1"].tokens == 7
    assert await store.state("a") == ("done", 1, 1, 0)


async def test_an_item_that_kills_every_process_comes_to_an_end(store: Store, clock: Clock) -> None:
    await store.submit("a", 1)
    for crashes in range(CRASHES + 1):
        (item,) = await store.jobs.claim(1, lease_s=10)
        assert item.crashes == crashes
        clock.now += 11
    assert item.crashes >= CRASHES


async def test_a_cancelled_job_leaves_what_is_done(store: Store) -> None:
    await store.submit("a", 3)
    one, two = await store.jobs.claim(2, lease_s=10)
    assert await store.jobs.finish(one, "{}", chat=CHAT, record=RECORD, tokens=1)
    assert not await store.jobs.cancel("k2", "a"), "it is another key's"
    assert await store.jobs.cancel("k1", "a")
    assert not await store.jobs.cancel("k1", "a")
    assert await store.jobs.renew([two], lease_s=10) == []
    assert not await store.jobs.finish(two, "{}", chat=CHAT, record=RECORD, tokens=1)
    assert await store.jobs.claim(5, lease_s=10) == []
    assert await store.state("a") == ("cancelled", 3, 1, 0)


async def test_the_same_job_sent_again_is_the_same_job(store: Store) -> None:
    await store.jobs.begin("broken", "k1", once="mine")
    await store.submit("a", 1, once="mine")
    assert await store.jobs.progress("k1", "broken") is None
    assert await store.jobs.begin("b", "k1", once="mine") == "a"
    assert await store.jobs.begin("c", "k2", once="mine") == "c", "another key's word is another word"


async def test_results_are_kept_for_a_week(store: Store, clock: Clock) -> None:
    await store.submit("a", 1)
    (item,) = await store.jobs.claim(1, lease_s=10)
    await store.jobs.fail(item, "{}")
    assert await store.jobs.sweep() == 0
    clock.now += KEPT_S + 1
    assert await store.jobs.sweep() == 1
    assert await store.jobs.newest("k1") == []


async def test_with_its_key_a_job_ends(store: Store) -> None:
    made, _ = await store.keys.add("app", Allowance())
    await store.jobs.begin("a", made.id, once=None)
    await store.jobs.add("a", [NewItem(1, "{}", b"jpeg")])
    await store.jobs.close("a", 1)
    assert await store.keys.revoke(made.id)
    assert await store.jobs.claim(5, lease_s=10) == []
    (job,) = await store.jobs.newest(made.id)
    assert job.state == "cancelled"


# --- By the public door


def seen(request: Received) -> str:
    return f"Seen: {re.findall('item [0-9]+', request.last_text)[-1]}."


def lines(*items: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(item).encode() for item in items)


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"n{number}", "image": data_url(), "prompt": f"What is item {number}?"} | more


async def until_done(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(PROCESS_S):  # a dead process's lease ends first
        while True:
            job: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}")).json()
            if job["status"] != "waiting":
                return job
            await asyncio.sleep(0.05)


async def results(client: httpx.AsyncClient, job_id: str, after: int = -1) -> list[dict[str, Any]]:
    read = await client.get(f"/v1/jobs/{job_id}/results", params={"after": after})
    return [json.loads(line) for line in read.text.splitlines()]


async def submit(client: httpx.AsyncClient, *items: dict[str, Any], **headers: str) -> dict[str, Any]:
    kind = {"content-type": "application/jsonl"} | {k.replace("_", "-"): v for k, v in headers.items()}
    taken = await client.post("/v1/jobs", content=lines(*items), headers=kind)
    assert taken.status_code in {200, 202}, taken.text
    job: dict[str, Any] = taken.json()
    return job


@asynccontextmanager
async def jobs_world(folder: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(folder, model=ModelServer(answer=seen)) as opened:
        yield opened


async def test_a_job_is_taken_in_done_and_read_in_order(tmp_path: Path) -> None:
    async with jobs_world(tmp_path) as a:
        bad = item(3, image="data:image/jpeg;base64,AAAA")
        odd = item(4, surprise=1)
        job = await submit(a.client, item(1), item(2), bad, odd, item(5), idempotency_key="x1")
        same = await submit(a.client, item(1), idempotency_key="x1")
        assert same["id"] == job["id"]
        assert (job["total"], job["failed"]) == (5, 2)
        job = await until_done(a.client, job["id"])
        assert (job["status"], job["done"], job["failed"]) == ("done", 3, 2)
        told = await results(a.client, job["id"])
        assert [each["index"] for each in told] == [0, 1, 2, 3, 4]
        assert [each.get("text") for each in told if "text" in each] == [
            f"Seen: item {n}." for n in (1, 2, 5)
        ]
        assert [each["error"]["code"] for each in told if "error" in each] == [
            "invalid_image",
            "unknown_parameter",
        ]
        assert [each["id"] for each in await results(a.client, job["id"], after=2)] == ["n4", "n5"]
        assert (await a.client.get("/v1/jobs")).json()["data"][0]["id"] == job["id"]
        await a.w.app.stores.verdicts.seal()
        assert await a.w.app.stores.verdicts.verify() == (3, [])
        _, plain = await ApiKeys(a.w.app.stores.db).add("other", Allowance())
        await asyncio.sleep(0)
        async with browse(a.w.app.url, authorization=f"Bearer {plain}") as other:
            assert (await other.get(f"/v1/jobs/{job['id']}")).status_code in {401, 404}


async def test_a_job_waits_while_the_model_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.inquiries.jobs.PAUSES_S", (0.05, 0.05))
    async with jobs_world(tmp_path) as a:
        a.w.model.fail(*[Fault.BAD_KEY] * 2)
        job = await submit(a.client, item(1), item(2))
        assert (await until_done(a.client, job["id"]))["done"] == 2


async def test_cancelling_stops_what_is_being_made(tmp_path: Path) -> None:
    async def slow(request: Received) -> str:
        await asyncio.Event().wait()
        return seen(request)

    async with api_world(tmp_path, model=ModelServer(answer=slow)) as a:
        job = await submit(a.client, *[item(n) for n in range(10)])
        await a.w.model.until(lambda server: server.in_flight == 8)
        cancelled = await a.client.post(f"/v1/jobs/{job['id']}/cancel")
        assert cancelled.json()["status"] == "cancelled"
        await a.w.model.until(lambda server: server.in_flight == 0)
        await until(lambda: have_broken_off(a.w, 8))  # what they have cost is on record


async def test_a_job_that_is_not_sent_whole_is_not_taken_in(tmp_path: Path) -> None:
    async with jobs_world(tmp_path) as a:

        async def broken() -> AsyncIterator[bytes]:
            yield lines(item(1)) + b"\n{"

        kind = {"content-type": "application/jsonl"}
        refused = await a.client.post("/v1/jobs", content=broken(), headers=kind)
        assert refused.json()["error"]["code"] == "invalid_json"
        assert refused.json()["error"]["param"] == "items[1]"
        assert (await a.client.get("/v1/jobs")).json()["data"] == []
        empty = await a.client.post("/v1/jobs", json={"items": []})
        assert empty.status_code == 400


@asynccontextmanager
async def bot_process(
    data: Path, model: ModelServer
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A bot in a process of its own, and the address that it prints."""
    given = {"DATA_DIR": str(data), "HTTP_PORT": "0", "MODEL_URL": model.url, "MODEL": "stub-model"}
    given |= {"API_KEYS": KEY, "API_AT_ONCE": "8", "LOG_FORMAT": "text"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "run"),
        env=os.environ | given,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PROCESS_S):
            async for line in process.stdout:
                if found := re.search(rb"chat page: (http://[\d.:]+)/", line):
                    break
        assert found
        yield process, found[1].decode()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.communicate()


async def test_a_bot_killed_in_the_middle_of_a_job_does_nothing_twice(tmp_path: Path) -> None:
    count = 24
    async with ModelServer(answer=seen, latency_s=0.15) as model:
        async with (
            bot_process(tmp_path, model) as (process, url),
            browse(url, authorization=f"Bearer {KEY}") as client,
        ):
            job = await submit(client, *[item(n, image=data_url(picture(RED))) for n in range(count)])
            await model.until(lambda server: server.answered >= 10)
            process.kill()
            await process.wait()
        async with (
            bot_process(tmp_path, model) as (_, url),
            browse(url, authorization=f"Bearer {KEY}") as client,
        ):
            done = await until_done(client, job["id"])
            told = await results(client, job["id"])
        assert (done["done"], done["failed"]) == (count, 0)
        assert [each["text"] for each in told] == [f"Seen: item {n}." for n in range(count)]
        asked = Counter(re.findall("item [0-9]+", request.last_text)[-1] for request in model.requests)
        assert max(asked.values()) <= 2
        assert sum(asked.values()) - count <= 4, "only what was in hand was asked again: jobs have 4 places"
    db = Database(f"sqlite:///{tmp_path}/bot.db")
    try:
        key = (tmp_path / "audit.key").read_bytes()
        verdicts = Verdicts(db, key=key)
        await verdicts.seal()
        assert await verdicts.verify() == (count, [])
        used = await db.read(lambda c: c.execute(sa.text("SELECT requests FROM api_usage")).scalar_one())
        assert used == count
    finally:
        await db.close()
