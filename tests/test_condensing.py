"""Turns that have no room in a prompt are condensed by the model, in their own words, behind the answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.condensing import SCHEMA
from context.turns import Chat
from tests.model_server import ModelServer, Received, text_of
from tests.test_scene import is_retraced
from tests.until import until
from tests.world import World, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = "Nothing else is to be said of it. " * 40
"""Some 340 tokens: two of them have no room."""
PICKED = {
    "devices": ["robot mower"],
    "seen": [],
    "tried": ["I swapped the blades"],
    "said": ["it hums all night long", "it burns my house down"],
    "advised": ["Lift the cover"],
}


class Model:
    """Answers, and picks as written."""

    def __init__(self) -> None:
        self.condensed: list[Received] = []

    def __call__(self, request: Received) -> str:
        if '"advised"' in request.last_text:
            self.condensed.append(request)
            return json.dumps(PICKED if "robot mower" in request.last_text else "no idea")
        return "Lift the cover and have a look."


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def w(tmp_path_factory: pytest.TempPathFactory, model: Model) -> AsyncIterator[World]:
    server = ModelServer(answer=model, dialect="vllm")
    async with world(tmp_path_factory.mktemp("world"), model=server, context_tokens=600) as made:
        yield made


def told(w: World, question: str) -> str:
    """What the prompt of a question holds of the turns that had no room."""
    (request,) = (one for one in w.model.requests if question in one.last_text and len(one.messages) > 1)
    return text_of(request.messages[1])


async def test_the_model_picks_facts_behind_the_answer_and_the_next_prompt_has_them(
    w: World, model: Model
) -> None:
    li = w.telegram.customer(62_001)
    li.says(f"My robot mower stops. I swapped the blades and it hums all night long. {LONG}")
    await w.telegram.replies(li.room.id)
    li.says(f"Still. {LONG}")
    await w.telegram.replies(li.room.id)
    assert not model.condensed, "nothing was too long yet"

    li.says("And now?")
    await w.telegram.replies(li.room.id)
    by_rules = told(w, "And now?")
    assert "robot mower" in by_rules, "the first words stand in it by rule"
    assert "hums all night" not in by_rules
    await until(lambda: len(model.condensed) >= 2)
    asked = model.condensed[0]
    assert asked.body["response_format"]["json_schema"]["schema"] == json.loads(SCHEMA)
    assert "customer_words" in asked.last_text

    li.says("Anything else?")
    await w.telegram.replies(li.room.id)
    picked = told(w, "Anything else?")
    assert "Device: robot mower" in picked
    assert "(tried) I swapped the blades" in picked
    assert "it hums all night long" in picked
    assert "Already advised: Lift the cover" in picked
    assert "burns my house down" not in picked, "nobody said that"
    still = [request for request in model.condensed if "Still." in request.last_text]
    assert len(still) == 2, "a second time where the first gave nothing, and not with every answer"
    assert await is_retraced(w.app, Chat("telegram", str(li.room.id)))


async def test_what_was_picked_is_erased_with_the_chat(w: World) -> None:
    redis = w.app.stores.redis.client
    kept = [await redis.get(key) async for key in redis.scan_iter("draft:*")]
    assert "blades" in str(kept)
    await w.app.stores.erasure.forget(Chat("telegram", "62001"), wish="operator")
    assert [key async for key in redis.scan_iter("draft*")] == []
