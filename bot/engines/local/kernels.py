"""What a GPU runs in place of two stock parts: torch's own FlashAttention and its fused norm.

Stock SDPA needs a mask where rows have different lengths, and reads all of every slot.  FlashAttention is
told each row's length instead, so that a decode step has one shape whatever the lengths are, and can be
recorded (`decoding`).  Each part is held against plain arithmetic before it is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

FLASH = "flash_by_rows"
PLAIN = frozenset(
    {"llama", "qwen2", "qwen2_5_vl_text", "qwen2_vl_text", "qwen3", "qwen3_vl_text", "qwen3_vl_moe_text"}
)
"""Text models whose attention is a plain softmax over everything before: no sinks, no caps, no windows."""
TOLERANCE = 0.02
"""Largest difference from float32 that half precision explains, on values around 1."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far each row of a decode step looks back, on the GPU."""

    lengths: Any
    """Tokens, the newest one included (rows,), int32."""
    queries: Any
    """0, 1, 2, ... (rows + 1,), int32."""
    slots: Any
    """Where each row's slot begins among all tokens, and where the last ends (rows + 1,), int32."""

    def to(self, device: Any, **_: Any) -> Reach:
        """The same on another GPU: accelerate asks for it where a model's layers lie on several."""
        return Reach(self.lengths.to(device), self.queries.to(device), self.slots.to(device))


def flash_attention(
    _module: Any,
    query: Any,
    key: Any,
    value: Any,
    _mask: Any,
    *,
    scaling: float | None = None,
    reach: Reach | None = None,
    **_: Any,
) -> tuple[Any, None]:
    """Attention as transformers calls it: all (rows, heads, tokens, width), out (rows, tokens, heads, width).

    Without `reach` the queries are the newest tokens of one row, and each sees all before itself.
    """
    count, room = query.shape[2], key.shape[2]
    if reach is None and count == room:  # from the start: torch picks the fastest of several kernels
        out = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return out.transpose(1, 2), None
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    if reach is None:
        out = _flash(query, key, value, None, None, count, room, 0.0, True, False, scale=scaling)[0]
        return out, None
    out = _flash(
        query.flatten(0, 1),
        key.flatten(0, 1),  # a view: a slot's tokens lie behind those of the one before
        value.flatten(0, 1),
        reach.queries,
        reach.slots,
        1,
        room,
        0.0,
        False,
        False,
        scale=scaling,
        seqused_k=reach.lengths,
    )[0]
    return out[:, None], None


def _flash(*args: Any, **kwargs: Any) -> Any:
    return torch.ops.aten._flash_attention_forward(*args, **kwargs)  # noqa: SLF001  # torch's own, under varlen_attn


def install(model: Any) -> tuple[bool, tuple[str, ...]]:
    """Give a loaded model what works here.  Returns whether it has FlashAttention now, and reasons."""
    config = model.config.get_text_config()
    reasons = []
    if model.device.type == "cuda" and (fused := fuse_norms(model)):
        reasons.append(f"{fused} norms fused")
    if reason := why_no_flash(model.device.type, model.dtype, config):
        return False, (*reasons, reason)
    AttentionInterface.register(FLASH, flash_attention)
    config._attn_implementation = FLASH  # noqa: SLF001  # every layer reads it there
    return True, tuple(reasons)


def why_no_flash(device: str, dtype: Any, config: Any) -> str:
    """What stands against FlashAttention by rows, with a text model's `config`; empty if nothing does."""
    instead = "steps under a mask, not recorded"
    if not device.startswith("cuda") or torch.version.cuda is None:
        return f"{instead}: {device}"
    if dtype not in {torch.bfloat16, torch.float16}:
        return f"{instead}: {dtype}"
    if config.model_type not in PLAIN:
        return f"{instead}: attention of {config.model_type} is not known to be plain"
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    try:
        worst = try_flash(device, dtype, heads, config.num_key_value_heads or heads, width)
    except (AttributeError, RuntimeError, TypeError) as fault:
        return f"{instead}: torch's FlashAttention fails here: {type(fault).__name__}"
    if not worst < TOLERANCE:
        return f"{instead}: torch's FlashAttention is off by {worst:.3f} here"
    return ""


def try_flash(device: str, dtype: Any, heads: int, key_heads: int, width: int) -> float:
    """Largest difference from float32 arithmetic: a piece of prompt behind a beginning, and uneven rows."""
    shape: dict[str, Any] = {"device": device, "dtype": dtype}
    query = torch.randn(1, heads, 5, width, **shape)
    key, value = (torch.randn(1, 37, key_heads, width, **shape).transpose(1, 2) for _ in range(2))
    scaling = width**-0.5
    seen = torch.ones(5, 37, dtype=torch.bool, device=device).tril(37 - 5)
    got = flash_attention(None, query, key, value, None, scaling=scaling)[0]
    worst = _difference(got, query, key, value, seen)

    query = torch.randn(3, heads, 1, width, **shape)
    key, value = (torch.randn(3, 64, key_heads, width, **shape).transpose(1, 2) for _ in range(2))
    lengths = torch.tensor([1, 64, 33], dtype=torch.int32, device=device)
    numbers = torch.arange(4, dtype=torch.int32, device=device)
    got = flash_attention(
        None, query, key, value, None, scaling=scaling, reach=Reach(lengths, numbers, numbers * 64)
    )[0]
    seen = (torch.arange(64, device=device) < lengths[:, None])[:, None, None]
    return max(worst, _difference(got, query, key, value, seen))


def _difference(got: Any, query: Any, key: Any, value: Any, seen: Any) -> float:
    plain = functional.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), attn_mask=seen, enable_gqa=True
    )
    return float((got.float() - plain.transpose(1, 2)).abs().max())


def fuse_norms(model: Any) -> int:
    """Let RMS norms run as one kernel instead of seven.  Returns how many do."""
    trusted: dict[type, bool] = {}
    count = 0
    for part in model.modules():
        kind = type(part)
        if not kind.__name__.endswith("RMSNorm") or not hasattr(part, "variance_epsilon"):
            continue
        if kind not in trusted:
            trusted[kind] = _is_plain(part)
        if trusted[kind]:
            # Of a model on several GPUs, `forward` is accelerate's: it moves the input, then calls the other.
            setattr(part, "_old_forward" if hasattr(part, "_hf_hook") else "forward", _Fused(part))
            count += 1
    return count


class _Fused:
    """One norm's `forward`, by torch's own kernel."""

    def __init__(self, norm: Any) -> None:
        self._shape = tuple(norm.weight.shape)
        self._norm = norm

    def __call__(self, hidden_states: Any) -> Any:
        norm = self._norm
        return functional.rms_norm(hidden_states, self._shape, norm.weight, norm.variance_epsilon)


@torch.inference_mode()
def _is_plain(norm: Any) -> bool:
    """Whether this norm computes what torch's does: some families add 1 to their weights."""
    sample = torch.randn(4, *norm.weight.shape, device=norm.weight.device, dtype=norm.weight.dtype)
    difference = (norm(sample).float() - _Fused(norm)(sample).float()).abs().max()
    return bool(difference < TOLERANCE * norm.weight.float().abs().max().clamp_min(1))
