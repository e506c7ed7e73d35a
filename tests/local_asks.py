"""Asks for a local model, and what stock `generate` answers to them."""

from __future__ import annotations

from typing import Any

from bot.engines.local.wire import Ask
from bot.engines.sampling import Sampling
from context.turns import Photo
from prompts.prompt import PromptImage, PromptMessage
from tests.tiny_model import drawing

GREEDY = Sampling(temperature=0, repetition_penalty=1, max_tokens=12)


def user(text: str, *seeds: int, size: tuple[int, int] = (96, 96)) -> PromptMessage:
    pictures = (drawing(seed, width=size[0], height=size[1]) for seed in seeds)
    return PromptMessage("user", text, tuple(PromptImage(Photo("", *size), jpeg) for jpeg in pictures))


def ask(number: int, *messages: PromptMessage, sampling: Sampling = GREEDY) -> Ask:
    system = PromptMessage("system", "You help customers with their machines. Answer in one sentence.")
    return Ask(number, (system, *messages), sampling, deadline_s=60)


def mixed_asks() -> list[Ask]:
    said = PromptMessage("assistant", "The red light blinks.")
    return [
        ask(1, user("Which light is on?", 1)),
        ask(2, user("你好，红灯闪烁，怎么办？")),
        ask(3, user("Which light is on?", 2, 3), said, user("And now?", 4, size=(160, 96))),
        ask(4, user("E4", 5), said, user("Thank you! What next?")),
        ask(5, user("Hello"), said, user("Look", 6, size=(64, 128))),
    ]


def by_generate(loaded: Any, one: Ask) -> tuple[list[int], Any]:
    """What stock transformers says to the same ask: tokens, and logits of the first."""
    tokens, logits = steps_of_generate(loaded, one)
    return [token for token in tokens if token not in loaded.stop_ids], logits[0]


def steps_of_generate(loaded: Any, one: Ask) -> tuple[list[int], list[Any]]:
    """What stock transformers says to the same ask: every token, and the logits of each."""
    import torch

    from bot.engines.local.encoding import conversation_of

    speaker = loaded.processor or loaded.tokenizer
    conversation = conversation_of(one)
    if loaded.processor is None:
        conversation = [
            {"role": said["role"], "content": said["content"][-1]["text"]} for said in conversation
        ]
    inputs = speaker.apply_chat_template(
        conversation,
        chat_template=loaded.chat_template,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        sanitize_control_tokens=True,
    )
    with torch.inference_mode():
        out = loaded.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=one.sampling.max_tokens,
            min_new_tokens=1,
            suppress_tokens=list(loaded.banned_ids),
            output_logits=True,
            return_dict_in_generate=True,
        )
    tokens = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    return tokens, [logits[0] for logits in out.logits]


def text_of(loaded: Any, tokens: list[int]) -> str:
    return str(loaded.tokenizer.decode(tokens, skip_special_tokens=True)).removesuffix("\ufffd")
