"""Tokens are counted with the local model's own files, as its real processor counts them."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from bot.engines.demo import FOLDER
from bot.engines.local.counting import ModelCounts
from prompts.counts import Formula
from tests.until import PROCESS_S

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")

TEXTS = ("", "The AC shows E4.", "空调红灯闪三下 🔴", "<|im_start|>x", "\ud800 lone", "é" * 50)


async def loaded(folder: Path) -> ModelCounts:
    counts = ModelCounts(str(folder))
    await asyncio.wait_for(counts.load(), PROCESS_S)
    return counts


@pytest.fixture(params=[(4608, 9216), (65_536, 16_777_216)], ids=["demo", "as published for Qwen3-VL"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The demo model's files, with those bounds for a photo's area."""
    for name in FOLDER.glob("*.json"):
        shutil.copy(name, tmp_path)
    about = json.loads((tmp_path / "preprocessor_config.json").read_text())
    about["size"] = dict(zip(("shortest_edge", "longest_edge"), request.param, strict=True))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    return tmp_path


async def test_words_and_photos_count_as_the_real_processor_counts_them(checkpoint: Path) -> None:
    from transformers import AutoConfig

    from bot.engines.local.loading import load_processor
    from bot.engines.local.wire import Wish

    counts = await loaded(checkpoint)
    assert counts.exact
    config = AutoConfig.from_pretrained(checkpoint)
    processor, tokenizer = load_processor(Wish(str(checkpoint)), config)
    for text in TEXTS:
        sound = text.encode("utf-8", "replace").decode()
        assert counts.text(text) == len(tokenizer(sound, add_special_tokens=False)["input_ids"])
    look = processor.image_processor
    dice = random.Random(1)
    for width, height in [(1024, 768), (640, 480), (16, 16), (1024, 40), (33, 1000)] + [
        (dice.randint(16, 1024), dice.randint(16, 1024)) for _ in range(12)
    ]:
        grid = look(images=[Image.new("RGB", (width, height))], return_tensors="pt")["image_grid_thw"][0]
        assert counts.photo(width, height) == int(grid.prod()) // look.merge_size**2, (width, height)


async def test_until_the_files_are_there_the_formula_counts(tmp_path: Path) -> None:
    counts = ModelCounts(str(tmp_path))
    looking = asyncio.create_task(counts.load())
    await asyncio.sleep(0.05)
    assert not counts.exact
    assert counts.text("The AC") == Formula().text("The AC")
    assert counts.photo(1024, 768) == Formula().photo(1024, 768) == 768
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


async def test_a_processor_of_another_kind_is_counted_by_the_formula(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "tokenizer.json", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": 448}')
    counts = await loaded(tmp_path)
    assert counts.photo(1024, 768) == 768
    assert counts.text("E4") > 0
