"""What is chosen for a model on this machine, and why: device, number format, quantisation, attention."""

from __future__ import annotations

import importlib.util
import inspect
import logging
from dataclasses import dataclass
from typing import Any

import torch
from transformers import BitsAndBytesConfig, DynamicCache
from transformers.cache_utils import DynamicLayer

from bot.engines.local import kernels
from bot.engines.local.wire import Quantisation, RunnerKind, StepKind, Wish
from bot.errors import EngineUnavailable

# Where the usual families keep what sees: 4 and 8 bits hurt it first, and it is small.  bitsandbytes
# matches whole paths: "visual" alone silently protects nothing in Qwen3-VL.
SEEING = (
    "model.visual",
    "model.vision_tower",
    "model.vision_model",
    "model.multi_modal_projector",
    "model.connector",
)


def choose_device(wanted: str) -> tuple[str, Any, tuple[str, ...]]:
    """Device, number format, reasons.  bf16 where the device computes in it, fp32 on a CPU."""
    if wanted == "auto":
        if torch.cuda.is_available():
            wanted = "cuda"
        else:
            wanted = "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted.startswith("cuda"):
        if not torch.cuda.is_available():
            raise EngineUnavailable(f"{wanted} was asked for, but torch finds no CUDA device")
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return wanted, torch.bfloat16, ()
        return wanted, torch.float16, ("this GPU has no bfloat16: float16",)
    if wanted == "mps":
        return wanted, torch.bfloat16, ()
    return "cpu", torch.float32, ("no GPU was found: answers take long",)


@dataclass(frozen=True, slots=True)
class _Quantising:
    arguments: dict[str, Any]
    reasons: tuple[str, ...] = ()


def choose_quantisation(wish: Wish, dtype: Any) -> tuple[Quantisation, _Quantising]:
    """Arguments for `from_pretrained`.  The parts that see keep their full width."""
    if wish.quantisation == "none":
        return "none", _Quantising({})
    if importlib.util.find_spec("bitsandbytes") is None:
        raise EngineUnavailable(
            f"MODEL_QUANTIZATION={wish.quantisation} needs bitsandbytes: pip install 'bitsandbytes>=0.50'"
        )
    # With 8 bits it logs one line per layer and step.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    config = BitsAndBytesConfig(
        load_in_4bit=wish.quantisation == "4bit",
        load_in_8bit=wish.quantisation == "8bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=["lm_head", *SEEING],
    )
    return wish.quantisation, _Quantising(
        {"quantization_config": config}, (f"{wish.quantisation} weights, vision tower and head kept whole",)
    )


def choose_attention(device: str, dtype: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """Attention by part of the model.

    The text part runs rows of different lengths under a mask, which only SDPA takes.  The vision
    tower gains from FlashAttention: one call for all photos instead of a Python loop over them.
    """
    half = str(dtype) in {"torch.bfloat16", "torch.float16"}
    if device.startswith("cuda") and half and importlib.util.find_spec("flash_attn") is not None:
        return {"": "sdpa", "vision_config": "flash_attention_2"}, ()
    why = "vision tower by sdpa: flash_attn is not installed"
    return {"": "sdpa"}, ((why,) if device.startswith("cuda") else ())


def choose_runner(model: Any) -> tuple[RunnerKind, tuple[str, ...]]:
    """Whether rows can be batched one by one (`rows`) or only as whole left-padded batches."""
    cache = DynamicCache(config=model.config.get_text_config())
    if not cache.is_croppable or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return "batches", ("its cache cannot be cut or merged row by row: static batches",)
    if "vision_config" in model.config:
        positions = getattr(model.model, "get_rope_index", None)
        if positions is None or "mm_token_type_ids" not in inspect.signature(positions).parameters:
            return "batches", ("its photo positions are not known to us: static batches",)
    return "rows", ()


def choose_steps(
    model: Any, runner: RunnerKind, parts: dict[str, Any], quantisation: Quantisation
) -> tuple[bool, StepKind, tuple[str, ...]]:
    """Give the model the kernels that work here.  Whether it has FlashAttention, how steps run, and why."""
    if runner != "rows" or model.device.type != "cuda":
        return False, "eager", ()
    is_flash, reasons = kernels.install(model)
    if not is_flash:
        return False, "eager", reasons
    if len(set(parts.values())) > 1:
        return True, "eager", (*reasons, "layers on several devices: steps are not recorded")
    if quantisation != "none":
        return True, "eager", (*reasons, "quantised weights: steps are not recorded")
    return True, "recorded", reasons
