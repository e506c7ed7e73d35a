"""A real Qwen3-VL in miniature: random weights from a config, saved in the hub's format.

Everything downstream (processor, template, loader, engine) takes the same road as with a published
checkpoint.  Random weights at the usual scale are nearly blind to positions and photos, so that any
mix-up would go unnoticed; these are sharpened until every one of them shows in the logits.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

VERSION = 3
CACHE = Path(__file__).parent / ".cache"
MARKERS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message.role }}\n"
    "{%- if message.content is string -%}{{ message.content }}{%- else -%}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif 'text' in part -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}<|im_end|>\n{% endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}"
)
CORPUS = (
    "The light on the heater is red and blinks twice. Which light is on now? Press the reset button for",
    "five seconds and wait until the green light is steady. The display shows E4: clean the air filter.",
    "Is the water tank full? Close the valve, then switch the machine off and on again. Thank you!",
    "空调显示错误代码，红灯闪烁。请按住复位键五秒钟，等待绿灯常亮。水箱是否已满？谢谢！",
)


def tiny_model() -> str:
    """Folder of the tiny model, built once per version of it and of its libraries (about five seconds)."""
    import torch
    import transformers

    folder = CACHE / f"qwen3-vl-{VERSION}-torch{torch.__version__}-transformers{transformers.__version__}"
    if not (folder / "config.json").exists():
        CACHE.mkdir(exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE))
        save_tiny(fresh)
        with contextlib.suppress(OSError):  # another test run may have finished first; theirs is the same
            fresh.replace(folder)
        shutil.rmtree(fresh, ignore_errors=True)
    return str(folder)


def save_tiny(folder: Path, *, hidden: int = 64, layers: int = 4, depth: int = 3, words: int = 600) -> None:
    """Write model, tokenizer and processor files as a published checkpoint has them."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    tokenizer = build_tokenizer(words)
    torch.manual_seed(20)
    model = Qwen3VLForConditionalGeneration(
        build_config(tokenizer, hidden=hidden, layers=layers, depth=depth)
    ).eval()
    sharpen(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    save_processor(folder, tokenizer)


def build_tokenizer(words: int = 600) -> Any:
    """Byte-level BPE with Qwen's pre-tokenization and control tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    split = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    bpe = Tokenizer(models.BPE(unk_token=None, byte_fallback=False))
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=words,
            special_tokens=list(MARKERS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        additional_special_tokens=[mark for mark in MARKERS if mark not in {"<|im_end|>", "<|endoftext|>"}],
        clean_up_tokenization_spaces=False,
    )


def build_config(tokenizer: Any, *, hidden: int = 64, layers: int = 4, depth: int = 3) -> Any:
    """Qwen3-VL's own architecture: interleaved mrope, grouped heads, deepstack."""
    from transformers import Qwen3VLConfig

    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKERS}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": hidden * 3,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 32768,
            "initializer_range": 0.08,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": depth,
            "hidden_size": hidden,
            "intermediate_size": hidden * 2,
            "num_heads": 2,
            "out_hidden_size": hidden,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": 0.08,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def sharpen(model: Any) -> None:
    """Make attention look somewhere in particular, so that a wrong position or photo changes the answer."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "q_norm" in name or "k_norm" in name:
                weight.mul_(2.5)
            if "visual" in name and name.endswith(("linear_fc2.weight", "proj.weight")):
                weight.mul_(2.0)


def save_processor(folder: Path, tokenizer: Any, *, max_pixels: int = 512 * 512) -> None:
    """The processor's files in the published layout: they name the stock class, which needs torchvision."""
    tokenizer.save_pretrained(folder)
    edges = {"shortest_edge": 64 * 64, "longest_edge": max_pixels}
    preprocessor = {
        "size": edges,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
        "image_processor_type": "Qwen2VLImageProcessorFast",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}), encoding="utf-8")


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
