"""Loading a model: what is wrong with a folder is said in one sentence, with the setting and what to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from bot.engines.local.wire import Limits, Wish
from bot.errors import EngineUnavailable
from tests.tiny_model import tiny_model, tiny_text_model

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")

Spoil = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model, to be spoilt."""
    return Path(shutil.copytree(tiny_model(), tmp_path / "model"))


def refusal(folder: Path) -> str:
    """What loading says."""
    from bot.engines.local.loading import load

    with pytest.raises(EngineUnavailable) as refused:
        load(Wish(str(folder)), on_progress=lambda _stage, _done: None)
    said = str(refused.value)
    assert said.startswith(f"MODEL={folder}: ")
    assert "\n" not in said
    return said.removeprefix(f"MODEL={folder}: ")


def without(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return spoil


def configured(**changes: object) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def half_of_two_shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def only(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / name).write_bytes(b"{}")

    return spoil


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
NEWER = "transformers [0-9.]+ does not know qwen9_vl: pip install -U transformers"
SPOILT: dict[str, tuple[Spoil, str]] = {
    "empty": (only("README.md"), "no config.json: set MODEL to the folder"),
    "gguf": (only("model.gguf"), "GGUF files are not read here: .*set MODEL_URL"),
    "adapter": (only("adapter_config.json"), "an adapter is no whole model: merge it"),
    "config cut": (holding("config.json", b'{"model_type":'), "config.json is damaged: download"),
    "tokenizer cut": (holding("tokenizer.json", b'{"version":'), "tokenizer.json is damaged: download"),
    "no tokenizer": (without("tokenizer.json"), "no tokenizer.json: download"),
    "no processor": (without("preprocessor_config.json"), "no preprocessor_config.json: download"),
    "no template": (without("chat_template.json"), "no chat template: set MODEL to a chat model"),
    "no weights": (without("model.safetensors"), r"no weights \(model.safetensors\): download"),
    "weights cut": (cut, r"model.safetensors has [\d,]+ bytes instead of [\d,]+: download"),
    "a web page": (holding("model.safetensors", b"<html>" * 99), "no safetensors file, or cut short"),
    "a pointer": (holding("model.safetensors", POINTER), "Git LFS pointer, .*: run `git lfs pull`"),
    "a shard missing": (half_of_two_shards, "model-00002-of-00002.safetensors is missing, 1 of 2"),
    "newer": (configured(model_type="qwen9_vl"), NEWER),
    "with code": (configured(model_type="own", auto_map={}), "program code of its own, .*set MODEL_URL"),
    "another kind": (
        holding("config.json", b'{"model_type": "clip"}'),
        "clip does not answer in words: set MODEL",
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_folder_is_refused_with_what_mends_it(folder: Path, kind: str) -> None:
    from bot.engines.local.outlook import measure

    spoil, reason = SPOILT[kind]
    spoil(folder)
    assert re.search(reason, refusal(folder))
    with pytest.raises(EngineUnavailable, match=reason):
        measure(Wish(str(folder)), Limits())


def test_weights_that_are_missing_or_of_another_shape_are_not_made_up(folder: Path) -> None:
    """The library fills them with random numbers and goes on: the bot would answer nonsense."""
    from safetensors.torch import load_file, save_file

    weights, path = load_file(folder / "model.safetensors"), folder / "model.safetensors"
    fewer = {name: weight for name, weight in weights.items() if ".layers.2." not in name}
    save_file(fewer, path, metadata={"format": "pt"})
    assert re.search(r"\d+ weights are missing, such as \S+layers.2.\S+: download", refusal(folder))
    save_file(weights, path, metadata={"format": "pt"})
    about = json.loads((folder / "config.json").read_text())
    about["text_config"]["intermediate_size"] = 96
    (folder / "config.json").write_text(json.dumps(about))
    assert re.search(r"\d+ weights are of another shape than config.json says", refusal(folder))


def test_a_model_larger_than_the_memory_is_refused_before_it_fills_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from bot.engines.local import sizes
    from bot.engines.local.loading import reason_of
    from bot.engines.local.outlook import measure

    assert measure(Wish(str(folder)), Limits())["fits"] is True
    monkeypatch.setattr(sizes, "machine_bytes", lambda: 1_000_000)
    assert measure(Wish(str(folder)), Limits())["fits"] is False
    assert re.search("GB of weights, .* GB of memory: set MODEL_QUANTIZATION=4bit", refusal(folder))
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**50, dtype=torch.uint8)
    assert "does not fit the memory of this machine" in reason_of(full.value)


def test_a_download_that_fills_the_disk_names_the_folder_to_move() -> None:
    from bot.engines.local.loading import reason_of

    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError) as raised:
        full.write(b"model")
    assert re.search("the disk is full: .*HF_HOME", reason_of(raised.value))


def test_a_model_without_eyes_says_so_before_it_is_loaded() -> None:
    from bot.engines.local.outlook import measure

    assert "it cannot see photos" in str(measure(Wish(tiny_text_model("qwen3")), Limits())["reasons"])
