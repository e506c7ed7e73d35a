"""A real Qwen3-VL in miniature: random weights from a config, saved in the hub's format.

Everything downstream (processor, template, loader, engine) takes the same road as with a published
checkpoint.  Random weights at the usual scale are nearly blind to positions and photos, so that any
mix-up would go unnoticed; these are sharpened until every one of them shows in the logits.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

VERSION = 5
CACHE = Path(__file__).parent / ".cache"
CORPUS = (
    "The light on the heater is red and blinks twice. Which light is on now? Press the reset button for",
    "five seconds and wait until the green light is steady. The display shows E4: clean the air filter.",
    "Is the water tank full? Close the valve, then switch the machine off and on again. Thank you!",
    "空调显示错误代码，红灯闪烁。请按住复位键五秒钟，等待绿灯常亮。水箱是否已满？谢谢！",
)


def tiny_model() -> str:
    """Folder of the tiny model, built once per version of it and of its libraries (about five seconds)."""
    folder = folder_of("qwen3-vl")
    if not (folder / "config.json").exists():
        CACHE.mkdir(exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE))
        save_tiny(fresh)
        with contextlib.suppress(OSError):  # another test run may have finished first; theirs is the same
            fresh.replace(folder)
        shutil.rmtree(fresh, ignore_errors=True)
    return str(folder)


def folder_of(kind: str) -> Path:
    """Where it is kept; found without loading any of the libraries."""
    return CACHE / f"{kind}-{VERSION}-torch{version('torch')}-transformers{version('transformers')}"


def save_tiny(folder: Path, *, hidden: int = 64, layers: int = 4, depth: int = 3) -> None:
    """Write model, tokenizer and processor files as a published checkpoint has them."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    from bot.engines.demo.miniature import build_config, build_tokenizer, save_processor

    tokenizer = build_tokenizer(CORPUS, 600)
    torch.manual_seed(20)
    config = build_config(tokenizer, hidden=hidden, layers=layers, depth=depth, deepstack=[0, 1])
    model = Qwen3VLForConditionalGeneration(config).eval()
    sharpen(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    save_processor(folder, tokenizer, min_pixels=64 * 64, max_pixels=512 * 512)


def sharpen(model: Any) -> None:
    """Make attention look somewhere in particular, so that a wrong position or photo changes the answer."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "q_norm" in name or "k_norm" in name:
                weight.mul_(2.5)
            if "visual" in name and name.endswith(("linear_fc2.weight", "proj.weight")):
                weight.mul_(2.0)


def drawing(seed: int, *, width: int = 96, height: int = 96) -> bytes:
    """A JPEG that no other seed makes: coloured shapes on a coloured ground."""
    import io
    import random

    from PIL import Image, ImageDraw

    dice = random.Random(seed)
    picture = Image.new("RGB", (width, height), tuple(dice.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y = dice.randrange(width), dice.randrange(height)
        size = dice.randrange(10, 40)
        pen.ellipse((x, y, x + size, y + size), fill=tuple(dice.randrange(256) for _ in range(3)))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=92)
    return out.getvalue()


def tiny_text_model(kind: str) -> str:
    """A model without eyes: `qwen3` keeps every token, `mistral` only the last sixteen."""
    folder = folder_of(kind)
    if (folder / "config.json").exists():
        return str(folder)

    import torch
    import transformers

    from bot.engines.demo.miniature import CHAT_TEMPLATE, build_tokenizer

    CACHE.mkdir(exist_ok=True)
    tokenizer = build_tokenizer(CORPUS, 600)
    tokenizer.chat_template = CHAT_TEMPLATE
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "initializer_range": 0.3,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    torch.manual_seed(21)
    model = (
        transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape))
        if kind == "qwen3"
        else transformers.MistralForCausalLM(transformers.MistralConfig(**shape, sliding_window=16))
    ).eval()
    fresh = Path(tempfile.mkdtemp(dir=CACHE))
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    with contextlib.suppress(OSError):
        fresh.replace(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    return str(folder)
