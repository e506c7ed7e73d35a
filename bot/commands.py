"""Commands that a customer may send on any channel, and what each does."""

from __future__ import annotations

from context.handoffs import Handoffs
from context.transcripts import Transcripts
from context.turns import LANGUAGES, Language, Message, Reply
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


class Commands:
    """Obeys `/start /help /reset /human /language /privacy`.  Obeying twice does no more than once."""

    def __init__(self, *, prompts: Prompts, transcripts: Transcripts, handoffs: Handoffs) -> None:
        self._prompts = prompts
        self._transcripts = transcripts
        self._handoffs = handoffs

    async def obey(self, message: Message) -> Reply:
        """Do what the command says and answer it; an unknown one is answered with the list."""
        match message.command:
            case "start" | "help" | "privacy" as name:
                return self._say(name, message.language)
            case "reset" | "new":
                await self._transcripts.reset(message.chat)
                return self._say("reset_done", message.language)
            case "human":
                waiting = await self._handoffs.current(message.chat)
                if waiting is not None:
                    return self._say("human_waiting", message.language)
                return self._say("human_asked", message.language, handoff="asked")
            case "language":
                return await self._choose_language(message)
            case _:
                return self._say("unknown_command", message.language)

    async def _choose_language(self, message: Message) -> Reply:
        asked = message.text.split()[:1]
        language = _LANGUAGE_NAMES.get(asked[0].casefold()) if asked else None
        if not asked:  # without a name it switches: there are two
            language = next(other for other in LANGUAGES if other != message.language)
        if language is None:
            return self._say("language_choose", message.language)
        await self._transcripts.choose_language(message.chat, language)
        return self._say("language_set", language)

    def _say(self, name: str, language: Language, *, handoff: str = "") -> Reply:
        text = self._prompts.notice(name, language)
        return Reply(text, language, f"notice:{name}", handoff=handoff, remembered=False)
