"""Bring a checkpoint into memory, or say in one sentence why it cannot be used and what to do."""

from __future__ import annotations

import copy
import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoProcessor, AutoTokenizer, PretrainedConfig, Qwen3VLProcessor
from transformers.models.auto import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin

from bot.engines.local import checkpoint, kernels, sizes
from bot.engines.local.choices import (
    choose_attention,
    choose_device,
    choose_quantisation,
    choose_runner,
    choose_steps,
)
from bot.engines.local.progress import OnProgress, reported
from bot.engines.local.wire import Choice, Wish
from bot.errors import EngineUnavailable

BLIND = "it cannot see photos: it is told only that there was one"
ELSEWHERE = "serve it with another program, such as vLLM, and set MODEL_URL"
SMALLER = "set MODEL_QUANTIZATION=4bit, or MODEL to a smaller model"
# Tokens that stand for photos: a model can sample them, and the next step would look for a photo.
PLACEHOLDERS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run, and what is needed to talk to it."""

    model: Any
    """A causal language model of transformers, with or without a vision tower, in evaluation mode."""
    processor: Any
    """None for a text-only model."""
    tokenizer: Any
    voice: Any
    """The tokenizer's core, a copy that only decodes: answers are written while other threads encode."""
    chat_template: str
    """In Jinja, the model's own."""
    stop_ids: frozenset[int]
    """Tokens that end a reply."""
    banned_ids: tuple[int, ...]
    """Tokens that are never drawn."""
    image_token_id: int | None
    """One of these stands in the prompt for each token of a photo; None if the model cannot see."""
    choice: Choice


def load(wish: Wish, *, on_progress: OnProgress) -> Loaded:
    """Load model and processor.  Takes seconds to minutes; blocks.

    Raises EngineUnavailable with one sentence: which model, what is wrong with it, and what to do.
    """
    try:
        with reported(on_progress):
            on_progress("files", 0.0)
            return _load(wish)
    except EngineUnavailable as fault:
        raise EngineUnavailable(f"MODEL={wish.model}: {fault}") from fault
    except torch.AcceleratorError:
        raise  # the GPU, not the model
    except Exception as fault:  # whatever a checkpoint makes the libraries raise
        raise EngineUnavailable(f"MODEL={wish.model}: {reason_of(fault)}") from fault


def _load(wish: Wish) -> Loaded:
    device, dtype, reasons = choose_device(wish.device)
    quantisation, quantising = choose_quantisation(wish, dtype)
    attention, why = choose_attention(device, dtype)
    reasons = (*reasons, *why, *quantising.reasons)
    config, auto = read_config(wish)
    if device == "cpu":
        needed = sizes.weights_bytes(blank(config, auto, dtype), dtype.itemsize, quantisation)
        if needed > (memory := sizes.machine_bytes()):
            raise EngineUnavailable(f"{in_gb(needed)} of weights, {in_gb(memory)} of memory: {SMALLER}")
    processor, tokenizer = load_processor(wish, config)
    if processor is None:
        reasons = (*reasons, BLIND)
    chat_template = chat_template_of(processor, tokenizer)
    voice = voice_of(tokenizer)
    model, found = auto.from_pretrained(
        wish.model,
        revision=wish.revision,
        trust_remote_code=False,
        dtype=dtype,
        device_map="auto" if device == "cuda" else device,
        attn_implementation=attention if len(attention) > 1 else attention[""],
        ignore_mismatched_sizes=True,  # so that they are named below, like those that are missing
        output_loading_info=True,
        **quantising.arguments,
    )
    _refuse_half(found)
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
        model=model.eval(),
        processor=processor,
        tokenizer=tokenizer,
        voice=voice,
        chat_template=chat_template,
        stop_ids=stop_ids_of(model, tokenizer),
        banned_ids=tuple(
            found for mark in PLACEHOLDERS if (found := tokenizer.get_vocab().get(mark)) is not None
        ),
        image_token_id=getattr(config, "image_token_id", None),
        choice=choice,
    )


def read_config(wish: Wish) -> tuple[Any, Any]:
    """Configuration, and the class of transformers that loads such a model.

    Raises EngineUnavailable for a folder with broken files, and for a kind of model that cannot be run here.
    """
    folder = Path(wish.model)
    if folder.exists() and (fault := checkpoint.fault_in(folder)):
        raise EngineUnavailable(fault)
    about, _ = PretrainedConfig.get_config_dict(wish.model, revision=wish.revision)
    kind = about.get("model_type", "unknown")
    if kind not in CONFIG_MAPPING:
        if "auto_map" in about:
            raise EngineUnavailable(
                f"{kind} brings program code of its own, which is never run here: {ELSEWHERE}"
            )
        raise EngineUnavailable(
            f"transformers {transformers.__version__} does not know {kind}: "
            f"pip install -U transformers, if there is a newer one, or {ELSEWHERE}"
        )
    config = AutoConfig.from_pretrained(wish.model, revision=wish.revision, trust_remote_code=False)
    if "vision_config" in config:
        kinds, auto = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, transformers.AutoModelForImageTextToText
    else:
        kinds, auto = MODEL_FOR_CAUSAL_LM_MAPPING, transformers.AutoModelForCausalLM
    if type(config) not in kinds:
        raise EngineUnavailable(f"{kind} does not answer in words: set MODEL to a chat model")
    return config, auto


def blank(config: Any, auto: Any, dtype: Any) -> Any:
    """The model without its weights: names and shapes only, in about a second."""
    with torch.device("meta"):
        return auto.from_config(config, dtype=dtype, trust_remote_code=False)


def _refuse_half(found: dict[str, Any]) -> None:
    """The library fills weights that it does not find with random numbers, and only warns."""
    for fault, names in (
        ("missing", found["missing_keys"]),
        ("of another shape than config.json says", found["mismatched_keys"]),
    ):
        if names:
            first = min(name if isinstance(name, str) else name[0] for name in names)
            raise EngineUnavailable(f"{len(names)} weights are {fault}, such as {first}: {checkpoint.AGAIN}")


def reason_of(fault: Exception) -> str:
    """What a library's error means for the operator, in one sentence."""
    words = f"{type(fault).__name__}: {str(fault).strip().partition(chr(10))[0]}"
    match fault:
        case torch.OutOfMemoryError():
            reason = f"it does not fit this GPU: {SMALLER}"
        case MemoryError():
            reason = f"it does not fit the memory of this machine: {SMALLER}"
        case RuntimeError() if "can't allocate memory" in words:
            reason = f"it does not fit the memory of this machine: {SMALLER}"
        case OSError(errno=errno.ENOSPC):
            reason = "the disk is full: free some space, or set HF_HOME to a folder on a larger disk"
        case OSError() if "gated repo" in words or "401 Client Error" in words:
            reason = f"Hugging Face wants to know who asks for it: set HF_TOKEN ({words})"
        case OSError():
            reason = f"check MODEL, and for a download the network and HF_ENDPOINT ({words})"
        case ImportError():
            reason = f"a package is missing: install it, or set MODEL to another one ({words})"
        case _:
            reason = f"it cannot be loaded: {checkpoint.AGAIN}, or set MODEL to another one ({words})"
    return reason


def in_gb(size: int) -> str:
    """Bytes as gigabytes, for a sentence."""
    return f"{size / 1e9:.1f} GB"


def load_processor(wish: Wish, config: Any) -> tuple[Any, Any]:
    """Processor and tokenizer, with the pixel budget set; the processor is None for text-only models."""
    if "vision_config" not in config:
        return None, AutoTokenizer.from_pretrained(
            wish.model, revision=wish.revision, trust_remote_code=False
        )
    auto: Any = AutoProcessor
    if PROCESSOR_MAPPING_NAMES.get(config.model_type) == "Qwen3VLProcessor":
        auto = image_only_processor()
    processor = auto.from_pretrained(
        wish.model, revision=wish.revision, backend="pil", trust_remote_code=False
    )
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


def chat_template_of(processor: Any, tokenizer: Any) -> str:
    """The model's own chat template (Jinja).  Raises EngineUnavailable if it has none."""
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise EngineUnavailable("it has no chat template: set MODEL to a chat model (often named Instruct)")
    return str(template)


def voice_of(tokenizer: Any) -> Any:
    """A copy of the tokenizer's core (`tokenizers.Tokenizer`).  Raises EngineUnavailable if it has none."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        raise EngineUnavailable("it has no tokenizer.json, which streaming needs: set MODEL to one that has")
    return copy.deepcopy(core)


def stop_ids_of(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a reply."""
    ends = model.generation_config.eos_token_id
    found = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id}
    return frozenset(int(token) for token in found if token is not None)
