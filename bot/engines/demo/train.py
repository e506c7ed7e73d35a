"""Train the demo model from nothing: `python -m bot.engines.demo.train`, some ten minutes on one core.

Two stages.  The vision tower first learns colour and pattern alone, under two linear heads: to tell
rays from none is the hard part, and words cannot teach it.  Then the whole model learns the
conversations.  It stops when every kind of question passes on drawings it never saw; the number to
quote comes from further fresh drawings, since those decided when to stop.
"""

from __future__ import annotations

import argparse
import io
import itertools
import random
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from bot.engines.demo import FOLDER
from bot.engines.demo.dialogues import (
    BEFORE,
    CHANGE,
    CHATTER,
    KINDS,
    NOW,
    PLEASE,
    Exchange,
    Kind,
    compares,
    dialogue,
    prompt_of,
    recalls,
    says,
)
from bot.engines.demo.drawings import COLOURS, PATTERNS, SIDE, Light, any_light, draw, jpeg
from bot.engines.demo.miniature import CHAT_TEMPLATE, build_config, build_tokenizer, save_processor
from context.turns import LANGUAGES
from prompts.prompt import Prompt
from prompts.prompts import Prompts

PIXELS = SIDE * SIDE
GRID = (1, SIDE // 16, SIDE // 16)
PHOTO_TOKENS = (SIDE // 32) ** 2
PASS = 0.97
# It would have to read a page of instructions before each word, and could follow none of them.
TEMPLATE = CHAT_TEMPLATE.replace(
    "{%- for message in messages -%}", "{%- for message in messages if message.role != 'system' -%}"
)


class Trainer:
    """The model in the making, with its data."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.dice = random.Random(seed)  # noqa: S311  # drawings, not secrets
        self.prompts = Prompts()
        self.tokenizer = build_tokenizer(corpus(self.prompts), 700)
        self.model = Qwen3VLForConditionalGeneration(
            build_config(self.tokenizer, hidden=128, layers=4, depth=4, deepstack=[0, 1, 2])
        )
        self.image_id = self.model.config.image_token_id
        self._look = Qwen2VLImageProcessorPil(
            patch_size=16,
            temporal_patch_size=2,
            merge_size=2,
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
            size={"shortest_edge": PIXELS, "longest_edge": PIXELS},
        )

    def photo(self, light: Light, dice: random.Random) -> Any:
        """A fresh drawing as patches, turned and mirrored at random: free data."""
        picture = draw(light, dice, scale=dice.choice((1, 1, 1, 2)))
        if turn := dice.randrange(4):
            picture = picture.rotate(90 * turn)
        if dice.random() < 0.5:  # noqa: PLR2004
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = Image.open(io.BytesIO(jpeg(picture, quality=dice.randrange(70, 96))))
        return self._look(images=[picture], return_tensors="pt")["pixel_values"]

    def see(self, steps: int, *, batch: int = 48) -> None:
        """Stage one: colour and pattern by two linear heads on the vision tower."""
        tower = self.model.model.visual
        heads = nn.ModuleList([nn.Linear(128 * 4, len(COLOURS)), nn.Linear(128 * 4, len(PATTERNS))])
        learner = torch.optim.AdamW([*tower.parameters(), *heads.parameters()], lr=1e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(learner, 1.5e-3, total_steps=steps, pct_start=0.1)
        grid = torch.tensor([GRID] * batch)
        names = list(COLOURS)
        for step in range(steps):
            lights = [any_light(self.dice) for _ in range(batch)]
            pixels = torch.cat([self.photo(light, self.dice) for light in lights])
            seen = self.model.model.get_image_features(pixels, grid)
            words = torch.stack(
                [torch.stack(part).amax(1) for part in (seen.pooler_output, *seen.deepstack_features)], 1
            ).flatten(1)
            colour, pattern = heads[0](words), heads[1](words)
            colours = torch.tensor([names.index(light.colour) for light in lights])
            patterns = torch.tensor([PATTERNS.index(light.pattern) for light in lights])
            loss = nn.functional.cross_entropy(colour, colours) + nn.functional.cross_entropy(
                pattern, patterns
            )
            learner.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
            learner.step()
            schedule.step()
            if step % 50 == 0:
                right = (
                    (colour.argmax(-1) == colours).float().mean(),
                    (pattern.argmax(-1) == patterns).float().mean(),
                )
                report(f"see {step}: loss {loss.item():.3f}, colour {right[0]:.0%}, pattern {right[1]:.0%}")

    def talk(self, steps: int, *, batch: int = 24, check_every: int = 100) -> None:
        """Stage two: the conversations, until every kind passes on fresh drawings."""
        learner = torch.optim.AdamW(
            [
                {"params": self.model.model.visual.parameters(), "lr": 3e-4},
                {"params": self.model.model.language_model.parameters(), "lr": 1.5e-3},
            ],
            weight_decay=0.01,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            learner, lambda step: min(1.0, (step + 1) / 40) * max(0.05, 1 - step / steps)
        )
        mix: tuple[Kind, ...] = ("one", "second", "first", "change", "change", "change", "none")
        for step in range(steps):
            talks = [dialogue(self.dice.choice(mix), self.dice) for _ in range(batch)]
            loss = self.model(**self.batch(talks)).loss
            learner.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            learner.step()
            schedule.step()
            if step % 25 == 0:
                report(f"talk {step}: loss {loss.item():.4f}")
            if step and step % check_every == 0:
                scores = {kind: self.score(kind, 100, seed=5) for kind in KINDS}
                report(f"talk {step}: {scores}")
                if min(scores.values()) >= PASS:
                    return

    def batch(self, talks: list[list[Exchange]]) -> dict[str, Any]:
        """Tensors for one step of learning: only the answers are learnt."""
        rows = [self.encode(talk) for talk in talks]
        longest = max(len(ids) for ids, _ in rows)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row, _ in rows])
        labels = torch.tensor([row + [-100] * (longest - len(row)) for _, row in rows])
        lights = [light for talk in talks for exchange in talk for light in exchange.lights]
        return {
            "input_ids": ids,
            "labels": labels,
            "attention_mask": (torch.arange(longest) < torch.tensor([[len(row)] for row, _ in rows])).long(),
            **self.seeing(ids, [self.photo(light, self.dice) for light in lights]),
        }

    def seeing(self, ids: Any, photos: list[Any]) -> dict[str, Any]:
        """The model's arguments for the photos in these tokens."""
        if not photos:
            return {}
        return {
            "mm_token_type_ids": (ids == self.image_id).int(),
            "pixel_values": torch.cat(photos),
            "image_grid_thw": torch.tensor([GRID] * len(photos)),
        }

    def encode(self, talk: list[Exchange]) -> tuple[list[int], list[int]]:
        """Tokens and what is to be learnt of them: every answer of the conversation."""
        ids: list[int] = []
        labels: list[int] = []
        for count, exchange in enumerate(talk, 1):
            prompt = self.tokens(prompt_of(talk[:count], self.prompts))
            assert prompt[: len(ids)] == ids, "what was said before must stay as it was"
            labels += [-100] * (len(prompt) - len(ids))
            answer = self.tokenizer.encode(exchange.answer, add_special_tokens=False)
            ids = [*prompt, *answer, self.tokenizer.eos_token_id]
            labels += ids[len(prompt) :]
        return ids, labels

    def tokens(self, prompt: Prompt) -> list[int]:
        """A prompt up to where the model speaks."""
        messages = [
            {
                "role": message.role,
                "content": [
                    *({"type": "image"} for _ in message.images),
                    {"type": "text", "text": message.text},
                ],
            }
            for message in prompt.messages
        ]
        ids = self.tokenizer.apply_chat_template(
            messages, chat_template=TEMPLATE, add_generation_prompt=True, return_dict=False
        )
        return list(
            itertools.chain.from_iterable(
                [token] * PHOTO_TOKENS if token == self.image_id else [token] for token in ids
            )
        )

    @torch.inference_mode()
    def score(self, kind: Kind, count: int, *, seed: int) -> float:
        """Share of exactly right answers to fresh questions of this kind, by greedy `generate`."""
        self.model.eval()
        dice = random.Random(f"{kind}{seed}")  # noqa: S311
        right = 0
        for _ in range(count):
            talk = dialogue(kind, dice)
            ids = torch.tensor([self.tokens(prompt_of(talk, self.prompts))])
            lights = [light for exchange in talk for light in exchange.lights]
            out = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                **self.seeing(ids, [self.photo(light, dice) for light in lights]),
                max_new_tokens=40,
                do_sample=False,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            )
            said = self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
            right += said == talk[-1].answer
        self.model.train()
        return right / count

    def save(self, folder: Path) -> None:
        """Half-width weights, tokenizer and processor files: what a published checkpoint holds."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = self.model.generation_config
        settings.eos_token_id, settings.pad_token_id = (
            self.tokenizer.eos_token_id,
            self.tokenizer.pad_token_id,
        )
        self.model.to(torch.bfloat16).save_pretrained(folder)
        save_processor(folder, self.tokenizer, min_pixels=PIXELS // 2, max_pixels=PIXELS, template=TEMPLATE)


def corpus(prompts: Prompts) -> list[str]:
    """Everything that is ever said, for the tokenizer."""
    lights = [Light(colour, pattern) for colour in COLOURS for pattern in PATTERNS]
    lines = [*CHATTER, *PLEASE.values(), "user assistant"]
    for tongue in LANGUAGES:
        for question in (*NOW[tongue], *BEFORE[tongue], *CHANGE[tongue]):
            talk = [Exchange(question, "", (lights[0], lights[1]), tongue)]
            lines.append(prompt_of(talk, prompts).messages[-1].text)
        lines += [says(light, tongue) for light in lights] + [recalls(light, tongue) for light in lights]
        lines += [compares(one, other, tongue) for one in lights for other in lights]
    return lines


def report(line: str) -> None:
    """With CPU time in front: the clock that a busy machine does not bend."""
    print(f"{time.process_time():6.0f} s  {line}", flush=True)  # noqa: T201  # a script


def main() -> None:
    """Train, measure on fresh drawings, save."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=FOLDER)
    options.add_argument("--see", type=int, default=1100, help="steps of the vision stage")
    options.add_argument("--talk", type=int, default=900, help="most steps of the conversation stage")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--seed", type=int, default=4)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    trainer = Trainer(chosen.seed)
    report(f"{sum(p.numel() for p in trainer.model.parameters()):,} weights")
    trainer.see(chosen.see)
    trainer.talk(chosen.talk)
    report(f"fresh drawings: { {kind: trainer.score(kind, 200, seed=77) for kind in KINDS} }")
    trainer.save(chosen.out)


if __name__ == "__main__":
    main()
