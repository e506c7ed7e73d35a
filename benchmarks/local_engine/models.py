"""Models with random weights: Qwen3-VL in three sizes, as the loader would hand them over."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from benchmarks.local_engine.asks import WORDS
from bot.engines.demo.miniature import build_config, build_tokenizer, save_processor
from bot.engines.local.choices import choose_attention
from bot.engines.local.loading import Loaded, load_processor
from bot.engines.local.wire import Choice, Wish


def random_model(
    config_of: Callable[[Any], Any], device: str, dtype: torch.dtype, *, max_pixels: int
) -> Loaded:
    """A model that was never trained, as the loader would hand it over; it never ends an answer itself."""
    tokenizer = build_tokenizer([" ".join(WORDS)], 600)
    config = config_of(tokenizer)
    attention, _ = choose_attention(device, dtype)
    config._attn_implementation = attention if len(attention) > 1 else attention[""]  # noqa: SLF001  # no other way
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = Qwen3VLForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    with tempfile.TemporaryDirectory() as folder:
        save_processor(Path(folder), tokenizer, min_pixels=64 * 64, max_pixels=max_pixels)
        config.save_pretrained(folder)
        processor, tokenizer = load_processor(Wish(folder, max_pixels=max_pixels), config)
    choice = Choice("random", "local", device, str(dtype), "none", str(attention), "rows", device)
    return Loaded(
        model=model,
        processor=processor,
        tokenizer=tokenizer,
        voice=tokenizer.backend_tokenizer,
        chat_template=processor.chat_template,
        stop_ids=frozenset(),
        # What the tokenizer cannot spell must not be said; half of the vocabulary would not decode.
        banned_ids=tuple(range(3, 8)),
        image_token_id=config.image_token_id,
        choice=choice,
    )


def tiny_config(tokenizer: Any) -> Any:
    """Large enough to try a script."""
    return build_config(tokenizer, hidden=64, layers=4, depth=3, deepstack=[0, 1])


def small_config(tokenizer: Any) -> Any:
    """The 8B's proportions at 100 million weights: the vision tower is a seventh of the whole."""
    config = build_config(tokenizer, hidden=640, layers=14, depth=8, deepstack=[3])
    config.text_config.update(
        {
            "vocab_size": 32_000,
            "intermediate_size": 1920,
            "num_attention_heads": 10,
            "num_key_value_heads": 2,
            "head_dim": 64,
        }
    )
    config.text_config.rope_parameters["mrope_section"] = [12, 10, 10]
    config.vision_config.update({"hidden_size": 320, "intermediate_size": 1280, "num_heads": 5})
    return config


def large_config(tokenizer: Any) -> Any:
    """Qwen3-VL-8B-Instruct's published configuration, with this tokenizer's marks."""
    marks = build_config(tokenizer, hidden=64, layers=1, depth=1, deepstack=[])
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 4096,
            "intermediate_size": 12_288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "out_hidden_size": 4096,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        image_token_id=marks.image_token_id,
        video_token_id=marks.video_token_id,
        vision_start_token_id=marks.vision_start_token_id,
        vision_end_token_id=marks.vision_end_token_id,
    )


def save(loaded: Loaded, folder: Path) -> None:
    """As a published checkpoint has it."""
    size = loaded.processor.image_processor.size
    loaded.model.save_pretrained(folder)
    save_processor(
        folder, loaded.tokenizer, min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"]
    )


def roomiest(loaded: Loaded) -> str | None:
    """The folder in memory where it holds the weights twice over: a slow disk would take minutes."""
    weights = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    memory = Path("/dev/shm")  # a fresh folder is made in it
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 2 * weights else None
