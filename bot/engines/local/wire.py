"""The messages between the bot and its model worker: small frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bot.engines.sampling import Sampling
from context.turns import Language
from prompts.prompt import PromptMessage

Quantisation = Literal["none", "8bit", "4bit"]
RunnerKind = Literal["rows", "batches"]
StepKind = Literal["eager", "recorded"]
Fault = Literal["too_long", "overloaded", "timeout", "unavailable"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator asked for."""

    model: str
    """Hugging Face id or folder."""
    revision: str | None = None
    device: str = "auto"
    """`auto`, `cuda`, `cuda:1`, `mps` or `cpu`."""
    quantisation: Quantisation = "none"
    max_pixels: int = 1_048_576
    """A photo's area is shrunk to this before the model sees it: 1,024 tokens for Qwen3-VL."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for this machine, for `check` and the log."""

    model: str
    revision: str
    """The commit of a downloaded model; `local` for a folder."""
    device: str
    dtype: str
    """Number format of weights, keys and values: `bfloat16`, `float16` or `float32`."""
    quantisation: Quantisation
    attention: str
    """By part of the model: `text: sdpa, vision_config: flash_attention_2`."""
    runner: RunnerKind
    """`rows` come and go one by one; `batches` begin and end together."""
    device_map: str
    """The devices that hold layers: more than one if a GPU is too small."""
    reasons: tuple[str, ...] = ()
    """Why it was not the best that there is, in words."""
    weights_bytes: int = 0
    is_flash: bool = False
    """The text part attends by FlashAttention, without a mask."""
    steps: StepKind = "eager"
    """How a decode step runs: kernel by kernel, or as one recorded CUDA graph."""


@dataclass(frozen=True, slots=True)
class Order:
    """Bot -> worker, once, at its start: what to load and how much to take on."""

    wish: Wish
    limits: Limits
    threads: int | None = None
    """CPU threads of the model; None leaves it to torch."""
    seed: int | None = None
    """For tests and benchmarks; None draws afresh each time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on at once.  Tokens, unless named otherwise."""

    rows: int = 64
    """Answers written at the same time."""
    context: int = 16_384
    """Prompt and reply of one answer together."""
    piece: int = 2048
    """Prompt tokens read in one step: running answers wait that long for their next word."""
    kv_bytes: int | None = None
    """Memory for the running answers' keys and values; None takes what is free."""
    prefix_bytes: int | None = None
    """Memory for earlier answers' keys and values, used again when their chat goes on."""
    feature_bytes: int | None = None
    """Memory for photos as the vision tower saw them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Bot -> worker: please answer this."""

    id: int
    messages: tuple[PromptMessage, ...]
    sampling: Sampling
    deadline_s: float
    """Seconds from now; the two processes' clocks are not compared."""
    language: Language = "en"
    said: tuple[int, ...] = ()
    """Tokens of the reply that an earlier worker had already given: go on from there."""
    schema: str = ""
    """JSON schema that constrains the answer; empty for an answer in words."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Bot -> worker: this answer is no longer wanted."""

    id: int


@dataclass(frozen=True, slots=True)
class Said:
    """Worker -> bot: the next words of an answer, and the tokens they were made from."""

    id: int
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """Worker -> bot: the whole answer."""

    id: int
    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    reused_tokens: int = 0
    """How many of the prompt's tokens were known from earlier prompts and answers that begin the same way."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker -> bot: there will be no answer."""

    id: int
    fault: Fault
    reason: str


Event = Said | Done | Failed


@dataclass(frozen=True, slots=True)
class Loading:
    """Worker -> bot: how far the start is."""

    stage: str
    """`files`, `loading weights`, `warm-up`, or as the library calls it."""
    done: float
    """0 to 1."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker -> bot: warmed up; the first real answer has been given."""

    choice: dict[str, object] = field(default_factory=dict)
    """`Choice` and `memory.Memory.describe` as JSON values."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Worker -> bot: alive, and how busy."""

    running: int = 0
    """Answers being read or written."""
    waiting: int = 0
    """Answers not begun."""
    steps: int = 0
    """Since the start."""
    faults: int = 0
    """Times that memory ran out and the service went on."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Worker -> bot: the worker cannot serve, as it says, and ends now."""

    reason: str
