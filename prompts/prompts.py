"""Prompts from templates: what the model is told, and what the bot says without one.

Words are in `*.j2` (`prompts.templates`), roles are here.  What a customer or the model wrote is only ever
a value, made `neutral` on its way in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

from context.turns import Fact, Language, Message, Photo, Turn
from prompts.counts import Counts, Formula, tokens
from prompts.gist import Gist, gist
from prompts.neutral import MAX_CHARS, neutral
from prompts.plan import Plan, Room, View, plan
from prompts.prompt import Manner, Prompt, PromptImage, PromptMessage, Split
from prompts.templates import VARIABLES, Templates

__all__ = ["Prompts", "tokens"]

COMPANY = "company.md"
"""Name, among the sources of a version, of what the operator wrote about the company."""
_LONGEST_FACT = 40
_SILENT = "…"
"""Placeholder where a turn needs an answer and had none."""


class Prompts:
    """Assembles prompts and says notices, from the templates beside this file or in `folder`.

    `context_tokens` bounds the words of earlier turns, as `counts` counts them; what does not fit is
    condensed into a few lines of facts within it.  The photos that are being asked about are always shown;
    earlier ones, newest first and smaller, up to `max_photos` and `photo_tokens` with them.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        sources: Mapping[str, str] | None = None,
        company: str = "",
        context_tokens: int = 2048,
        max_photos: int = 4,
        photo_tokens: int = 4096,
        counts: Counts | None = None,
    ) -> None:
        """`sources` are prompt templates by name, as returned by `Prompts.sources`.

        `company` is what the model is told about the company and its products, in any language.
        """
        self._templates = Templates(folder=folder, sources=sources)
        self._company = company.strip()
        self._room = Room(context_tokens, photo_tokens, max_photos)
        self._counts = counts or Formula()
        self._system = lru_cache(maxsize=16)(self._render_system)
        self._about = lru_cache(maxsize=16)(self._render_company)

    def worded(self, sources: Mapping[str, str], *, company: str | None = None) -> Prompts:
        """The same limits and counting, with other templates, and if it is given with another company."""
        return Prompts(
            sources=sources,
            company=self._company if company is None else company,
            context_tokens=self._room.words,
            max_photos=self._room.most_photos,
            photo_tokens=self._room.photos,
            counts=self._counts,
        )

    @cached_property
    def version(self) -> str:
        """`support@<hash of the prompt templates' sources and of what is said about the company>`."""
        digest = hashlib.sha256()
        for source in self.sources.values():
            digest.update(source.encode())
        return f"support@{digest.hexdigest()[:10]}"

    @cached_property
    def sources(self) -> dict[str, str]:
        """The prompt templates by name: everything needed to rebuild prompts of this version."""
        return self._templates.sources() | ({COMPANY: self._company} if self._company else {})

    def plan(self, message: Message, turns: Sequence[Turn], *, condensed: Sequence[Turn] = ()) -> Plan:
        """What to put into the prompt for a message in the light of the last turns, oldest first.

        `condensed` are turns before those of which only the facts are wanted.
        """
        return plan(message, turns, room=self._room, counts=self._counts, condensed=condensed)

    def assemble(
        self,
        message: Message,
        turns: Sequence[Turn] | Plan,
        images: Mapping[str, bytes],
        *,
        canary: str = "",
        app: str = "",
        read: Mapping[str, Sequence[str]] | None = None,
        gists: Mapping[int, Gist] | None = None,
        facts: Sequence[tuple[int, Fact]] = (),
        manner: Manner | None = None,
    ) -> Prompt:
        """The prompt for a message in the light of the last turns, oldest first, or as it was planned.

        `images` holds JPEG bytes by sha256; a photo that is not in it is mentioned by its number only.
        `canary` is a mark that must never come back in an answer.  `app` is what the developer of the
        app that asks says about it.  `read` is what text recognition found on photos, by sha256; `facts` is
        what is known of the photos of the case, with their numbers; `gists` are facts of condensed turns
        that were picked before, by turn.
        """
        planned = turns if isinstance(turns, Plan) else self.plan(message, turns)
        *earlier, own = (
            [view for view in views if view.photo.sha256 in images]
            for views in (*planned.earlier, planned.own)
        )
        company = self._about(message.language)
        system = PromptMessage("system", self._system(message.language, canary) + company)
        picked = {turn.id: gists[turn.id] for turn in planned.condensed if gists and turn.id in gists}
        messages = [system, *self._gist(message.language, planned.condensed, picked)]
        for turn, shown in zip(planned.turns, earlier, strict=True):
            pictures = _pictures(shown, images)
            messages.append(self._user(message.language, turn.text, pictures, hidden=turn.photos))
            messages.append(PromptMessage("assistant", neutral(turn.reply) or _SILENT))
        question = self._user(
            message.language,
            message.text,
            _pictures(own, images),
            missing=message.photos,
            recalled=message.recalled,
            unreadable=[rejection.number for rejection in message.rejections],
            facts=facts,
            read=read or {},
        )
        if app:
            question = replace(question, text=self._told(message.language, app) + question.text)
        messages.append(question)
        return Prompt(
            messages=tuple(messages),
            language=message.language,
            version=self.version,
            question=message.text,
            affinity=message.chat.alias,
            turns_used=tuple(turn.id for turn in planned.turns),
            condensed=tuple(turn.id for turn in planned.condensed),
            gists=picked,
            photos_shown=tuple(image.photo.sha256 for said in messages for image in said.images),
            read=read or {},
            facts=tuple(facts),
            split=self._split(messages, planned, [view for views in (*earlier, own) for view in views]),
            canary=canary,
            company=company,
            manner=manner or Manner(),
        )

    def mark(self, message: Message, answer: str, image: PromptImage, *, manner: Manner) -> Prompt:
        """Asks for the place on a photo that an answer points to."""
        prompt = self._beside("mark", message.language, question=message.text, answer=answer)
        return replace(
            prompt,
            messages=(replace(prompt.messages[0], images=(image,)),),
            question=message.text,
            affinity=message.chat.alias,
            photos_shown=(image.photo.sha256,),
            manner=manner,
        )

    def condense(self, turn: Turn, *, affinity: str, manner: Manner) -> Prompt:
        """Asks for what of a turn is worth keeping."""
        photos = [photo.number for photo in turn.photos]
        prompt = self._beside("condense", turn.language, photos=photos, text=turn.text, reply=turn.reply)
        return replace(prompt, question=turn.text, affinity=affinity, turns_used=(turn.id,), manner=manner)

    def plate(
        self, lines: Sequence[str], image: PromptImage, language: Language, *, manner: Manner
    ) -> Prompt:
        """Asks which of the lines that were read on a photo are brand, model and serial number."""
        prompt = self._beside("plate", language, lines=[neutral(line) for line in lines])
        return replace(
            prompt,
            messages=(replace(prompt.messages[0], images=(image,)),),
            photos_shown=(image.photo.sha256,),
            manner=manner,
        )

    def notice(self, name: str, language: Language, **values: object) -> str:
        """The bot's own words for an occasion.

        Raises LookupError for an occasion without words, and TypeError or jinja2's UndefinedError when
        the values are not those that the words need.
        """
        return self._templates.notice(name, language, **values)

    def lint(self) -> list[str]:
        """What is wrong with the templates, one line each; empty if they are correct."""
        return self._templates.lint()

    def _beside(self, kind: str, language: Language, **values: str | list[int] | list[str]) -> Prompt:
        """A question whose answer is read by us alone."""
        words = self._templates.of(kind, language).render(
            {
                key: neutral(value).strip() if isinstance(value, str) else value
                for key, value in values.items()
            }
        )
        digest = hashlib.sha256(self._templates.source(kind, language).encode()).hexdigest()[:10]
        return Prompt((PromptMessage("user", words),), language, version=f"{kind}@{digest}", question="")

    def _gist(
        self, language: Language, turns: Sequence[Turn], picked: Mapping[int, Gist]
    ) -> list[PromptMessage]:
        """The facts of turns that are left out, as an exchange of their own; nothing for none."""
        if not turns:
            return []
        template = self._templates.of("gist", language)

        def said(facts: Gist) -> str:
            return template.render({name: getattr(facts, name) for name in VARIABLES["gist"]})

        facts = gist(turns, fits=lambda some: self._counts.text(said(some)) <= self._room.gist, known=picked)
        if facts is None:
            return []
        return [PromptMessage("user", said(facts)), PromptMessage("assistant", _SILENT)]

    def _split(self, messages: Sequence[PromptMessage], planned: Plan, shown: Sequence[View]) -> Split:
        system, *earlier, question = (self._counts.text(message.text) for message in messages)
        gist_messages = len(earlier) - 2 * len(planned.turns)
        seen = {view.photo.sha256 for view in shown}
        photos = {
            photo.number
            for turn in (*planned.condensed, *planned.turns)
            for photo in turn.photos
            if photo.sha256 not in seen
        }
        return Split(
            system,
            sum(earlier[gist_messages:]),
            sum(earlier[:gist_messages]),
            question,
            tuple((view.photo.number, view.longest, view.tokens) for view in shown),
            tuple(sorted(photos)),
            self._counts.exact,
        )

    def _user(
        self,
        language: Language,
        text: str,
        shown: Sequence[PromptImage],
        *,
        hidden: Sequence[Photo] = (),
        missing: Sequence[Photo] = (),
        recalled: Sequence[Photo] = (),
        unreadable: Sequence[int] = (),
        facts: Sequence[tuple[int, Fact]] = (),
        read: Mapping[str, Sequence[str]] | None = None,
    ) -> PromptMessage:
        """One message of the customer's; of `hidden` and `missing` those that are not shown."""
        seen = {image.photo.sha256 for image in shown}
        words = self._templates.of("user", language).render(
            shown=[image.photo.number for image in shown],
            hidden=[photo.number for photo in hidden if photo.sha256 not in seen],
            missing=[photo.number for photo in (*recalled, *missing) if photo.sha256 not in seen],
            recalled=[photo.number for photo in recalled if photo.sha256 in seen],
            unreadable=unreadable,
            measured=[photo for photo in _all(shown, hidden, missing, recalled) if photo.clip or photo.flaw],
            facts=[
                (number, fact.kind, neutral(fact.value, max_chars=_LONGEST_FACT)) for number, fact in facts
            ],
            read=[
                (image.photo.number, [neutral(line) for line in read[image.photo.sha256]])
                for image in shown
                if read and image.photo.sha256 in read
            ],
            text=neutral(text).strip(),
        )
        return PromptMessage("user", words, tuple(shown))

    def _told(self, language: Language, app: str) -> str:
        """What an app says of itself, to stand in the user's message.

        An answer may repeat it, which of the system's words the guard would take for a leak.
        """
        return self._templates.of("app", language).render(words=neutral(app).strip()) + "\n"

    def _render_company(self, language: Language) -> str:
        """What is added to the system message about the company; nothing if nothing was written."""
        if not self._company:
            return ""
        words = neutral(self._company, max_chars=4 * MAX_CHARS)
        return "\n\n" + self._templates.of("company", language).render(words=words)

    def _render_system(self, language: Language, canary: str) -> str:
        return self._templates.of("system", language).render(canary=canary)


def _pictures(views: Sequence[View], images: Mapping[str, bytes]) -> list[PromptImage]:
    return [
        PromptImage(
            view.photo,
            images[view.photo.sha256],
            view.longest if max(view.photo.width, view.photo.height) > view.longest else 0,
        )
        for view in views
    ]


def _all(shown: Sequence[PromptImage], *others: Sequence[Photo]) -> list[Photo]:
    """Every photo of a message once, by number."""
    photos = {image.photo.sha256: image.photo for image in shown}
    photos |= {photo.sha256: photo for some in others for photo in some}
    return sorted(photos.values(), key=lambda photo: photo.number)
