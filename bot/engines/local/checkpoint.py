"""The files of a model folder: what is missing, cut short or of another kind, found before loading.

Libraries report such faults late, after minutes of loading, and in words about themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LFS = b"version https://git-lfs.github.com/spec"
HEADER_BYTES = 100_000_000
"""No header of a safetensors file is longer: https://github.com/huggingface/safetensors#format"""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
AGAIN = "download the model again"


def fault_in(folder: Path) -> str:
    """What is wrong with the files of a model, and how to fix it; empty if nothing is found.

    Reads the small files and the headers of the large ones: milliseconds, also for hundreds of gigabytes.
    """
    try:
        return _fault_in(folder)
    except OSError as fault:
        return f"{fault.filename or folder} cannot be read ({fault.strerror}): check its owner and mode"


def _fault_in(folder: Path) -> str:
    if not folder.is_dir():
        return "it is a file: set MODEL to the folder that contains it"
    if not (folder / "config.json").is_file():
        return _other_kind(folder)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_file() and not isinstance(_json(folder / name), dict):
            return f"{name} is damaged: {AGAIN}"
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return f"there is no tokenizer.json: {AGAIN}"
    if "vision_config" in _json(folder / "config.json") and not any(
        (folder / name).is_file() for name in PROCESSORS
    ):
        return f"there is no preprocessor_config.json: {AGAIN}"
    return _fault_in_weights(folder)


def _other_kind(folder: Path) -> str:
    """A folder without config.json may be a model all the same, for other programs."""
    if any(folder.glob("*.gguf")):
        return (
            "GGUF files are not read here: serve them with llama.cpp or Ollama and set MODEL_URL, "
            "or set MODEL to a folder with safetensors files"
        )
    if (folder / "adapter_config.json").is_file():
        return "an adapter is no whole model: merge it into its base model, and set MODEL to the result"
    return "there is no config.json: set MODEL to the folder into which a whole model was downloaded"


def _fault_in_weights(folder: Path) -> str:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        names = ["model.safetensors"]
    elif index.is_file():
        about = _json(index)
        places = about.get("weight_map") if isinstance(about, dict) else None
        if not isinstance(places, dict) or not places:
            return f"{index.name} is damaged: {AGAIN}"
        names = sorted({str(name) for name in places.values()})
    elif any(folder.glob("pytorch_model*.bin")):
        return ""  # an older format, without sizes that could be compared
    else:
        return f"there are no weights (model.safetensors): {AGAIN}"
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        return f"{missing[0]} is missing, {len(missing)} of {len(names)} files in all: {AGAIN}"
    return next((fault for name in names if (fault := _fault_in_file(folder / name))), "")


def _fault_in_file(path: Path) -> str:
    """Compare a safetensors file with its own header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(LFS))
        if head == LFS:
            return f"{path.name} is a Git LFS pointer, not the weights: run `git lfs pull` in the folder"
        length = int.from_bytes(head[:8], "little")
        if size < 8 or length > min(size, HEADER_BYTES):  # noqa: PLR2004  # a header's length is 8 bytes
            return f"{path.name} is no safetensors file, or cut short: {AGAIN}"
        file.seek(8)
        header = _parsed(file.read(length))
    if not isinstance(header, dict):
        return f"{path.name} is damaged: {AGAIN}"
    ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
    if (expected := 8 + length + max(ends, default=0)) != size:
        return f"{path.name} has {size:,} bytes instead of {expected:,}: {AGAIN}"
    return ""


def _json(path: Path) -> Any:
    return _parsed(path.read_bytes())


def _parsed(text: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None
