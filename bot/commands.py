"""The commands that a customer may send on any channel, such as `/human`, and what each does."""

from __future__ import annotations

from context.handoffs import Handoffs
from context.transcripts import Transcripts
from context.turns import LANGUAGES, Language, Message, Reply
from context.upkeep.erasure import Erasure
from prompts.prompts import Prompts

_LANGUAGE_NAMES: dict[str, Language] = {
    "zh": "zh",
    "cn": "zh",
    "中文": "zh",
    "chinese": "zh",
    "en": "en",
    "英文": "en",
    "english": "en",
}


WISHES = frozenset({"forgetme", "forgetme_yes"})
"""Commands that also work while a person has the chat: customers decide about their own data."""
_YES = frozenset({"yes", "y", "ok", "是", "是的", "确认", "确定"})


class Commands:
    """Carries out `/start /help /reset /human /language /privacy /forgetme`.  Repeating one is harmless."""

    def __init__(
        self, *, prompts: Prompts, transcripts: Transcripts, handoffs: Handoffs, erasure: Erasure
    ) -> None:
        self._prompts = prompts
        self._transcripts = transcripts
        self._handoffs = handoffs
        self._erasure = erasure

    async def obey(self, message: Message) -> Reply:
        """Carry out the command and return the answer to it; an unknown one is answered with the list."""
        match message.command:
            case "start" | "help" | "privacy" as name:
                return self._say(name, message.language)
            case "reset" | "new":
                await self._transcripts.reset(message.chat)
                return self._say("reset_done", message.language)
            case "human":
                return await self._ask_for_person(message)
            case name if name in WISHES:
                return await self._forget(message)
            case "language":
                return await self._choose_language(message)
            case _:
                return self._say("unknown_command", message.language)

    async def _ask_for_person(self, message: Message) -> Reply:
        if await self._handoffs.current(message.chat) is not None:
            return self._say("human_waiting", message.language)
        return self._say("human_asked", message.language, handoff="asked")

    async def _choose_language(self, message: Message) -> Reply:
        asked = message.text.split()[:1]
        language = _LANGUAGE_NAMES.get(asked[0].casefold()) if asked else None
        if not asked:  # without a name it switches: there are two
            language = next(other for other in LANGUAGES if other != message.language)
        if language is None:
            return self._say("language_choose", message.language)
        await self._transcripts.choose_language(message.chat, language)
        return self._say("language_set", language)

    async def _forget(self, message: Message) -> Reply:
        """Ask for confirmation first; when it comes, erase everything and say how much that was."""
        if message.chat.is_group:
            return self._say("forget_in_group", message.language)
        is_sure = message.command == "forgetme_yes" or message.text.strip().casefold() in _YES
        if not is_sure or not await self._erasure.is_confirmed(message.chat):
            return self._say("forget_ask", message.language)
        receipt = await self._erasure.forget(message.chat, wish="customer")
        self._handoffs.note(message.chat, held=False)  # nothing is left to hold
        return self._say("forget_done", message.language, messages=receipt.messages, photos=receipt.photos)

    def _say(self, name: str, language: Language, *, handoff: str = "", **values: object) -> Reply:
        text = self._prompts.notice(name, language, **values)
        return Reply(text, language, f"notice:{name}", handoff=handoff, remembered=False)
