"""On a GPU: recorded steps and FlashAttention say what the plain road says.  Skipped where there is none."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

from bot.engines.demo import FOLDER
from bot.engines.demo.dialogues import KINDS, dialogue
from bot.engines.local.wire import Ask, Done, Event, Limits, Wish
from bot.engines.sampling import Sampling
from prompts.prompt import PromptMessage
from tests.local_asks import ask, user
from tests.test_demo import exam

pytestmark = pytest.mark.skipif(
    find_spec("torch") is None or not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg"))),
    reason="no CUDA device",
)

GREEDY = Sampling(temperature=0, repetition_penalty=1, max_tokens=24)
LIMITS = Limits(rows=16, context=2048, piece=64, kv_bytes=2**28)


@pytest.fixture(scope="module", autouse=True)
def _a_device_that_torch_can_use() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(scope="module")
def demo() -> Any:
    from bot.engines.local.loading import load

    return load(Wish(str(FOLDER)), on_progress=lambda _stage, _done: None)


def plain(loaded: Any) -> Any:
    """The same model by stock SDPA under a mask, kernel by kernel."""
    from bot.engines.local.loading import load

    other = load(Wish(str(FOLDER)), on_progress=lambda _stage, _done: None)
    other.model.config.get_text_config()._attn_implementation = "sdpa"
    return replace(other, choice=replace(loaded.choice, is_flash=False, steps="eager"))


def test_a_gpu_gets_flash_attention_and_recorded_steps(demo: Any) -> None:
    assert (demo.choice.is_flash, demo.choice.steps) == (True, "recorded"), demo.choice


@pytest.mark.parametrize("width", [32, 64, 128])
def test_flash_attention_is_that_of_float32(width: int) -> None:
    import torch

    from bot.engines.local.kernels import TOLERANCE, try_flash

    assert try_flash("cuda", torch.bfloat16, 32, 8, width) < TOLERANCE


def test_recorded_steps_give_the_logits_of_plain_ones(demo: Any) -> None:
    """Row by row over a whole life: rows come, the slots grow, rows leave from the middle."""
    other = plain(demo)
    asks = [
        ask(
            number,
            user("word " * (3 * number) + "which light?", number),
            sampling=replace(GREEDY, max_tokens=6 + number),
        )
        for number in range(1, 12)
    ]
    recorded, eager = (logits_of(which, asks) for which in (demo, other))
    assert recorded.keys() == eager.keys()
    worst = 0.0
    for key in recorded.keys() & eager.keys():
        scale = eager[key].std()
        worst = max(worst, float((recorded[key] - eager[key]).abs().max() / scale))
    assert worst < 0.15, f"bf16 explains some hundredths of the spread, not {worst}"


def logits_of(loaded: Any, asks: list[Ask]) -> dict[tuple[int, int], Any]:
    """Logits by ask and place, every row being made to say the same words whatever it would choose."""
    import torch

    from bot.engines.local.loop import Loop

    events: list[Event] = []
    loop = Loop(loaded, LIMITS, emit=events.append)
    found: dict[tuple[int, int], Any] = {}
    run = loop._decoder.run

    def watched() -> Any:
        logits = run()
        forced = torch.full_like(logits, -1e4)
        for slot, row in enumerate(loop._writing):
            found[row.ask.id, len(row.said)] = logits[slot].float().clone()
            forced[slot, 40 + (7 * row.ask.id + len(row.said)) % 200] = 0
        return forced

    loop._decoder.run = watched  # type: ignore[method-assign]
    for one in asks:
        loop.read(one)()
    finish(loop)
    assert sum(isinstance(event, Done) for event in events) == len(asks), events[-1]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_demo_reads_fresh_drawings_through_recorded_steps(demo: Any, kind: Any) -> None:
    dice = random.Random(f"fresh {kind}")
    assert exam(demo, [dialogue(kind, dice) for _ in range(40)]) >= 0.9


def test_steps_recorded_beforehand_are_those_used(demo: Any) -> None:
    from bot.engines.local.loop import Loop

    events: list[Event] = []
    loop = Loop(demo, LIMITS, emit=events.append)
    loop.read(Ask(1, (PromptMessage("user", "Hello"),), GREEDY, 60))()
    finish(loop)
    loop.warm_up()
    steps = dict(loop._decoder._recorded)
    assert set(steps) == {1, 2, 4, 8, 16}
    for number in range(2, 12):
        loop.read(ask(number, user("Which light is on?", number)))()
    finish(loop)
    assert loop._decoder._recorded == steps, "nothing moved, nothing was recorded twice"
    assert sum(isinstance(event, Done) for event in events) == 11


def finish(loop: Any) -> None:
    for _ in range(1000):
        if not (loop.running or loop.waiting):
            return
        loop.step()
    raise AssertionError("the loop must come to its end")
