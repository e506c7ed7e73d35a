"""Prompt, engine, guard: the only place where a model's words become a reply.

Turns get their answers here (`Answerer.answer`), and so does everything else that needs the model: the API,
batch jobs, staff.  Callers with a prompt of their own use `Answerer.speak`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence

from bot.condensing import Condenser
from bot.engines import Draft, Engine
from bot.errors import Unavailable
from bot.guard import Action, Guard, Opinion, Verdict
from bot.metrics import Metrics
from bot.photos.mentions import photos_mentioned
from bot.photos.reading import CaseReading
from bot.reveal import OnWords, Reveals
from bot.screen import Screen
from bot.spent import spent
from bot.stages import Stages
from context.photos import Photos
from context.turns import Message, Reply, Turn
from prompts.prompt import Prompt
from prompts.prompts import Prompts

log = logging.getLogger(__name__)


class Answerer:
    """Drafts an answer, has it checked, and makes a reply of it; if it does not pass, of fixed words."""

    def __init__(
        self,
        *,
        prompts: Prompts,
        photos: Photos,
        engine: Engine,
        guard: Guard,
        metrics: Metrics,
        screen: Screen | None = None,
        reading: CaseReading | None = None,
        condenser: Condenser | None = None,
    ) -> None:
        """`reading` knows the text on a case's photos; without it the model has to read it itself.

        `condenser` summarises turns that do not fit into the prompt; with None, rules do.
        """
        self.prompts = prompts
        self.condenser = condenser
        self._photos = photos
        self._engine = engine
        self._guard = guard
        self._screen = screen or Screen(guard)
        self._reveals = Reveals(guard)
        self._reading = reading or CaseReading()
        self._metrics = metrics
        self.canary = secrets.token_hex(6)  # one per process: it is in the shared beginning of every prompt

    @property
    def model(self) -> str:
        """Name of the model that is asked first."""
        return self._engine.model

    async def answer(
        self, message: Message, turns: Sequence[Turn], stages: Stages, *, show: OnWords | None = None
    ) -> Reply:
        """Answer a message, given the last turns.  If everything else fails, the reply says so."""
        with stages("plan"):
            planned = self.prompts.plan(message, turns)
            images = {
                view.photo.sha256: await self._photos.read(view.photo.sha256, longest=view.longest)
                for view in planned.views
            }
            shown = {sha256: jpeg for sha256, jpeg in images.items() if jpeg is not None}
        with stages("read"):
            read = await self._reading.of(message, planned, shown)
        with stages("prompt"):
            gists = await self.condenser.known(planned.condensed) if self.condenser else {}
            prompt = self.prompts.assemble(
                message,
                planned,
                shown,
                canary=self.canary,
                read=read.lines,
                facts=read.facts,
                gists=gists,
            )
        reply = await self.speak(message, prompt, stages, show=show)
        if self.condenser and (without_room := len(planned.condensed)):
            # The oldest that still has room is the next that has none.
            self.condenser.begin(message.chat, turns[: without_room + 1])
        return reply

    async def speak(
        self, message: Message, prompt: Prompt, stages: Stages, *, show: OnWords | None = None
    ) -> Reply:
        """Draft and check an answer, for callers with a prompt of their own that contains `canary`.

        While it is written, `show` gets the sentences that have passed already (`bot.reveal`).  If no engine
        answers or the guard refuses, `Reply.origin` is `notice:<name>`.  For a prompt that only the model may
        answer, `Unavailable` is raised instead if there is no model.
        """
        said = stages.said = self._reveals.of(message, prompt, canary=self.canary, show=show)
        try:
            with stages("model"):
                draft, seen = await self._screen.beside(
                    message.text, prompt.messages[-1].images, self._engine.draft(prompt, on_text=said.hear)
                )
        except Unavailable as error:
            if prompt.manner.by_model:
                raise
            log.warning("no engine answers", extra={"chat": message.chat.key, "reason": str(error)})
            lead = self._guard.inspect(message.text).notices
            return self._notice("engine_down", message, lead, {"error": type(error).__name__})
        if draft is None and seen.opinion is not None:
            return self._refuse(message, prompt, seen.opinion, said.raw)
        assert draft is not None
        self._reveals.learn(said, draft)
        with stages("guard"):
            verdict = await self._guard.judge(
                draft.text,
                asked=message.text,
                language=message.language,
                system=prompt.secret,
                canary=self.canary,
                photo_text=seen.photo_text,
                screened=seen.opinion,
            )
        return self._reply(message, prompt, draft, verdict)

    def instead(self, name: str, message: Message) -> Reply:
        """Fixed words instead of an answer, and a person only if the customer's words call for one."""
        signals = self._guard.inspect(message.text)
        text = self._led_by(signals.notices, self.prompts.notice(name, message.language), message)
        return Reply(text, message.language, f"notice:{name}", handoff=signals.handoff, remembered=False)

    def _reply(self, message: Message, prompt: Prompt, draft: Draft, verdict: Verdict) -> Reply:
        self._metrics.verdict(verdict.action.value)
        usage = draft.usage
        self._metrics.tokens(draft.engine, prompt=usage.prompt_tokens, completion=usage.completion_tokens)
        if draft.preliminary:
            self._metrics.fallback()
        record = _record(prompt, draft, verdict)
        if verdict.action is Action.ALLOW:
            text = self._led_by(verdict.lead, verdict.text, message)
            return Reply(text, message.language, draft.engine, handoff=verdict.handoff, record=record)
        name = "held" if verdict.action is Action.HOLD else "blocked"
        record["draft"] = draft.text
        if verdict.text not in {"", draft.text}:
            record["mended"] = verdict.text
        return self._notice(name, message, verdict.lead, record, verdict.handoff)

    def _refuse(self, message: Message, prompt: Prompt, opinion: Opinion, said: str) -> Reply:
        """For a question that the second check calls unsafe: no words of the model's, and a person.

        `said` is what the model had written when it was stopped.
        """
        verdict = self._guard.refuse(message.text, opinion, language=message.language)
        self._metrics.verdict(verdict.action.value)
        record: dict[str, object] = {
            "prompt": prompt.version,
            "model": self.model,
            "tokens": list(spent(prompt, said)),
            "verdict": verdict.record(),
        }
        return self._notice("blocked", message, verdict.lead, record, verdict.handoff)

    def _notice(
        self, name: str, message: Message, lead: Sequence[str], record: dict[str, object], handoff: str = ""
    ) -> Reply:
        """Our own fixed words instead of the model's, and a person."""
        text = self._led_by(lead, self.prompts.notice(name, message.language), message)
        return Reply(
            text,
            message.language,
            f"notice:{name}",
            handoff=handoff or name,
            remembered=False,
            record=record,
        )

    def _led_by(self, lead: Sequence[str], text: str, message: Message) -> str:
        """The text with the safety sentences `lead` above it."""
        return "\n\n".join([*(self.prompts.notice(name, message.language) for name in lead), text])


def _record(prompt: Prompt, draft: Draft, verdict: Verdict) -> dict[str, object]:
    """The record of how an answer was made, for the transcript."""
    record: dict[str, object] = {
        "prompt": prompt.version,
        "digest": prompt.digest,
        "turns": list(prompt.turns_used),
        "photos": list(prompt.photos_shown),
        "cites": list(photos_mentioned(draft.text, has_own=True, most=20)),
        "engine": draft.engine,
        "model": draft.model,
        "finish": draft.finish,
        "tokens": [draft.usage.prompt_tokens, draft.usage.completion_tokens],
        "verdict": verdict.record(),
    }
    if prompt.condensed:
        record["condensed"] = list(prompt.condensed)
        record["gists"] = {str(turn): picked.record() for turn, picked in prompt.gists.items()}
    if prompt.read:
        record["read"] = {sha256: list(lines) for sha256, lines in prompt.read.items()}
    if prompt.facts:
        record["facts"] = [[number, fact.kind, fact.value] for number, fact in prompt.facts]
    if prompt.split is not None:
        record["split"] = prompt.split.record()
    if draft.cache_key:
        record["cache"] = draft.cache_key
    return record
