"""The window against the simplest model there is, a list, in any order of events that hypothesis can find."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from fakeredis import FakeAsyncRedis, FakeServer
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from context import keys
from context.turns import Chat, Turn
from context.window import ContextWindow
from tests.clock import Clock

CHATS = st.sampled_from([Chat("telegram", "1"), Chat("telegram", "1", 2)])
WORKERS = st.integers(0, 1)


class Story(RuleBasedStateMachine):
    """Two workers, two chats, one Redis that may lose keys or go away, and SQL, which is the list."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.Runner()
        self.clock = Clock()
        self.redis = FakeServer()
        self.client = FakeAsyncRedis(server=self.redis)
        self.sql: dict[str, list[Turn]] = {}
        self.ever: dict[str, list[Turn]] = {}
        self.before: dict[int, int] = {}
        self.ids = 0

        async def refill(chat: Chat, limit: int) -> Sequence[Turn]:
            return self.sql[chat.key][-limit:]

        self.workers = [
            ContextWindow(self.client, refill=refill, namespace="bot", turns=3, clock=self.clock)
            for _ in range(2)
        ]

    def run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return self.loop.run(awaited())

    def of(self, chat: Chat) -> list[Turn]:
        return self.sql.setdefault(chat.key, [])

    def newest(self, chat: Chat) -> int:
        return self.of(chat)[-1].id if self.of(chat) else 0

    def close(self, chat: Chat) -> Turn:
        self.ids += 1
        self.before[self.ids] = self.newest(chat)
        turn = Turn(self.ids, f"question {self.ids}", "answer")
        self.of(chat).append(turn)
        self.ever.setdefault(chat.key, []).append(turn)
        return turn

    def push(self, worker: int, chat: Chat, turn: Turn) -> None:
        self.run(self.workers[worker].push(chat, turn, after=self.before[turn.id]))

    @rule(chat=CHATS, worker=WORKERS, pushes=st.integers(0, 2))
    def take_a_turn(self, chat: Chat, worker: int, pushes: int) -> None:
        self.run(self.workers[worker].last(chat, newest=self.newest(chat)))
        turn = self.close(chat)
        for _ in range(pushes):
            self.push(worker, chat, turn)

    @rule(chat=CHATS, worker=WORKERS, knows_its_place=st.booleans())
    def finish_a_turn_that_another_began(self, chat: Chat, worker: int, *, knows_its_place: bool) -> None:
        turn = self.close(chat)
        if knows_its_place:
            self.push(worker, chat, turn)
        else:
            self.run(self.workers[worker].push(chat, turn))

    @rule(chat=CHATS, worker=WORKERS)
    def read_without_answering(self, chat: Chat, worker: int) -> None:
        self.run(self.workers[worker].last(chat, newest=self.newest(chat)))

    @rule(chat=CHATS, worker=WORKERS, back=st.integers(1, 6))
    def push_an_old_turn_again(self, chat: Chat, worker: int, back: int) -> None:
        if old := self.ever.get(chat.key, [])[-back:]:
            self.push(worker, chat, old[0])

    @rule(chat=CHATS, worker=WORKERS)
    def answer_after_redis_evicted(self, chat: Chat, worker: int) -> None:
        self.run(self.workers[worker].last(chat, newest=self.newest(chat)))
        self.redis_evicts(chat)
        self.push(worker, chat, self.close(chat))

    @rule(chat=CHATS)
    def reset(self, chat: Chat) -> None:
        self.of(chat).clear()

    @rule(chat=CHATS, worker=WORKERS)
    def forget(self, chat: Chat, worker: int) -> None:
        self.of(chat).clear()
        self.run(
            self.workers[worker].forget(chat, self.ever[chat.key][-1].id if self.ever.get(chat.key) else 0)
        )

    @rule(chat=CHATS)
    def redis_evicts(self, chat: Chat) -> None:
        if self.redis.connected:
            self.run(self.client.delete(keys.window("bot", chat)))

    @rule()
    def redis_goes(self) -> None:
        self.redis.connected = False

    @rule(rested=st.sampled_from([0.1, 60.0]))
    def redis_comes_back(self, rested: float) -> None:
        self.redis.connected = True
        self.clock.move(rested)

    @rule(chat=CHATS, worker=WORKERS)
    def the_window_is_what_sql_says(self, chat: Chat, worker: int) -> None:
        seen = self.run(self.workers[worker].last(chat, newest=self.newest(chat)))
        assert list(seen) == self.of(chat)[-3:]

    @invariant()
    def redis_holds_no_more_than_it_should(self) -> None:
        if getattr(self, "redis", None) and self.redis.connected:
            for key in self.run(self.client.keys("ctx:*")):
                assert self.run(self.client.llen(key)) <= 3
                assert self.run(self.client.pttl(key)) > 0

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(self.client.aclose())
            self.loop.close()


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
