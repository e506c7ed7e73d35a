"""Sizes in bytes: of weights, of a token's keys and values, and of the memory of this machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch

from bot.engines.local.choices import SEEING
from bot.engines.local.wire import Quantisation

MIB = 2**20
RESERVE_BYTES = 2048 * MIB
"""Kept free on a GPU: for activations of a piece of prompt and of the largest photo, and fragmentation."""
CGROUP = Path("/sys/fs/cgroup/memory.max")


def weights_bytes(model: Any, width: int, quantisation: Quantisation) -> int:
    """Of all weights at `width` bytes each; if quantised, the vision and output parts stay at full width."""
    narrow = {"none": float(width), "8bit": 1.0, "4bit": 0.55}[quantisation]
    whole = (*SEEING, "lm_head")
    total, tied = 0.0, set()
    for name, weight in model.named_parameters():
        if id(weight) in tied:
            continue
        tied.add(id(weight))
        is_whole = weight.ndim < 2 or "embed" in name or name.startswith(whole)  # noqa: PLR2004  # norms are vectors
        total += weight.numel() * (width if is_whole else narrow)
    return int(total)


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Of the keys and values of one token, in all layers, with a text model's `config`."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * dtype.itemsize)


def free_bytes(device: str) -> int:
    """Free on all GPUs together, less a reserve; of a CPU's memory an eighth, since others need it too."""
    if not device.startswith("cuda"):
        return max(2048 * MIB, min(16_384 * MIB, machine_bytes() // 8))
    numbers = range(torch.cuda.device_count()) if device == "cuda" else [torch.device(device).index]
    free = (torch.cuda.mem_get_info(number)[0] for number in numbers)
    return sum(max(0, int(left * 0.95) - RESERVE_BYTES) for left in free)


def machine_bytes() -> int:
    """Main memory that this process may use: the machine's, or less if its container is given less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no control group, or "max"
        memory = min(memory, int(CGROUP.read_text("ascii")))
    return memory
