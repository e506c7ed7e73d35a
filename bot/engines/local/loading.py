"""Bring a checkpoint into memory: which device, number format, quantisation and attention, and why."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
    DynamicCache,
    Qwen3VLProcessor,
)
from transformers.cache_utils import DynamicLayer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin
from transformers.utils import logging as bars

from bot.engines.local import kernels
from bot.engines.local.wire import Choice, Quantisation, RunnerKind, StepKind, Wish
from bot.errors import EngineUnavailable

OnProgress = Callable[[str, float], None]

# Where the usual families keep what sees: 4 and 8 bits hurt it first, and it is small.  bitsandbytes
# matches whole paths: "visual" alone silently protects nothing in Qwen3-VL.
SEEING = (
    "model.visual",
    "model.vision_tower",
    "model.vision_model",
    "model.multi_modal_projector",
    "model.connector",
)
# Tokens that stand for photos: a model can sample them, and the next step would look for a photo.
PLACEHOLDERS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run, and what is needed to talk to it."""

    model: Any
    processor: Any
    """None for a text-only model."""
    tokenizer: Any
    voice: Any
    """The tokenizer's core, a copy that only decodes: the model speaks while other threads encode."""
    chat_template: str
    stop_ids: frozenset[int]
    banned_ids: tuple[int, ...]
    image_token_id: int | None
    choice: Choice


def load(wish: Wish, *, on_progress: OnProgress) -> Loaded:
    """Load model and processor.  Takes seconds to minutes; blocks.

    Raises EngineUnavailable with what is missing and what mends it.
    """
    device, dtype, reasons = choose_device(wish.device)
    quantisation, quantising = choose_quantisation(wish, dtype)
    attention, why = choose_attention(device, dtype)
    reasons = (*reasons, *why, *quantising.reasons)
    watch_progress(on_progress)
    try:
        on_progress("files", 0.0)
        config = AutoConfig.from_pretrained(wish.model, revision=wish.revision)
        processor, tokenizer = load_processor(wish, config)
        if "vision_config" not in config:
            auto, attention = transformers.AutoModelForCausalLM, {"": attention[""]}
        else:
            auto = transformers.AutoModelForImageTextToText
        model = auto.from_pretrained(
            wish.model,
            revision=wish.revision,
            dtype=dtype,
            device_map="auto" if device == "cuda" else device,
            attn_implementation=attention if len(attention) > 1 else attention[""],
            **quantising.arguments,
        ).eval()
    except (OSError, ValueError, ImportError) as fault:
        first_line = str(fault).strip().partition("\n")[0]
        raise EngineUnavailable(f"cannot load {wish.model}: {first_line}") from fault
    except torch.OutOfMemoryError as full:
        raise EngineUnavailable(
            f"{wish.model} does not fit this GPU: 4 or 8 bits, or a smaller model"
        ) from full
    finally:
        bars.set_tqdm_hook(None)
    parts = getattr(model, "hf_device_map", {"": device})
    if device == "cuda" and {"cpu", "disk"} & {str(place) for place in parts.values()}:
        reasons = (*reasons, "some layers did not fit the GPU and run from main memory: very slow")
    runner, why = choose_runner(model)
    is_flash, steps, because = choose_steps(model, runner, parts, quantisation)
    choice = Choice(
        model=wish.model,
        revision=str(getattr(config, "_commit_hash", None) or wish.revision or "local"),
        device=device,
        dtype=str(dtype).removeprefix("torch."),
        quantisation=quantisation,
        attention=", ".join(
            f"{part or 'text'}: {kernels.FLASH if is_flash and not part else kind}"
            for part, kind in attention.items()
        ),
        runner=runner,
        device_map=", ".join(sorted({str(place) for place in parts.values()})),
        reasons=(*reasons, *why, *because),
        weights_bytes=model.get_memory_footprint(),
        is_flash=is_flash,
        steps=steps,
    )
    return Loaded(
        model=model,
        processor=processor,
        tokenizer=tokenizer,
        voice=voice_of(tokenizer, wish.model),
        chat_template=chat_template_of(processor, tokenizer, wish.model),
        stop_ids=stop_ids_of(model, tokenizer),
        banned_ids=tuple(
            found for mark in PLACEHOLDERS if (found := tokenizer.get_vocab().get(mark)) is not None
        ),
        image_token_id=getattr(config, "image_token_id", None),
        choice=choice,
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
            f"{wish.quantisation} weights need bitsandbytes: pip install 'bitsandbytes>=0.50'"
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


def load_processor(wish: Wish, config: Any) -> tuple[Any, Any]:
    """Processor and tokenizer, with the pixel budget set; the processor is None for text-only models."""
    if "vision_config" not in config:
        return None, AutoTokenizer.from_pretrained(wish.model, revision=wish.revision)
    auto: Any = AutoProcessor
    if PROCESSOR_MAPPING_NAMES.get(config.model_type) == "Qwen3VLProcessor":
        auto = image_only_processor()
    processor = auto.from_pretrained(wish.model, revision=wish.revision, backend="pil")
    size = processor.image_processor.size
    if (longest := size.get("longest_edge")) is not None:
        smallest = min(size.get("shortest_edge") or wish.max_pixels, wish.max_pixels)
        processor.image_processor.size = {
            "shortest_edge": smallest,
            "longest_edge": min(longest, wish.max_pixels),
        }
    processor.tokenizer.padding_side = "left"
    return processor, processor.tokenizer


def image_only_processor() -> Any:
    """Qwen3-VL's processor without its video half.

    The stock class cannot be built without torchvision, whose wheels do not import beside a CPU torch, nor
    with it: its video half has no PIL backend.  We never send a video.
    """

    class ImageOnlyQwen3VLProcessor(Qwen3VLProcessor):  # type: ignore[misc]  # transformers is untyped
        # ProcessorMixin reads which parts to load from this signature.
        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any
        ) -> None:
            for name, mark in (
                ("image", "<|image_pad|>"),
                ("video", "<|video_pad|>"),
                ("vision_start", "<|vision_start|>"),
                ("vision_end", "<|vision_end|>"),
            ):
                setattr(self, f"{name}_token", mark)
                setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(mark))
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    return ImageOnlyQwen3VLProcessor


def watch_progress(on_progress: OnProgress) -> None:
    """Report the library's own progress bars (download, loading weights) as stage and fraction."""

    def hook(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        stage = str(kwargs.get("desc") or "files").lower()
        bar = factory(*args, **{**kwargs, "disable": True})
        total = kwargs.get("total") or (len(args[0]) if args and hasattr(args[0], "__len__") else 0)
        return _Reported(bar, args[0] if args else (), stage, total, on_progress)

    bars.set_tqdm_hook(hook)


class _Reported:
    """Stands in for a progress bar: passes everything on and tells how far it is."""

    def __init__(self, bar: Any, items: Any, stage: str, total: int, on_progress: OnProgress) -> None:
        self._bar, self._items, self._stage, self._total = bar, items, stage, total
        self._on_progress = on_progress
        self._done = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            yield item
            self.update(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bar, name)

    def update(self, count: int = 1) -> None:
        before, self._done = self._done, self._done + count
        if self._total and before * 20 // self._total != self._done * 20 // self._total:
            self._on_progress(self._stage, min(1.0, self._done / self._total))


def chat_template_of(processor: Any, tokenizer: Any, model: str) -> str:
    """The model's own chat template.  Raises EngineUnavailable where it has none."""
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise EngineUnavailable(f"{model} has no chat template: it is no chat model")
    return str(template)


def voice_of(tokenizer: Any, model: str) -> Any:
    """A copy of the tokenizer's core.  Raises EngineUnavailable where it has none to stream with."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        raise EngineUnavailable(f"{model} has no tokenizer.json: its words cannot be streamed")
    return copy.deepcopy(core)


def stop_ids_of(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a reply."""
    ends = model.generation_config.eos_token_id
    found = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id}
    return frozenset(int(token) for token in found if token is not None)
