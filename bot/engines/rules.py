"""Reads the rules, which support staff edit, into a `RuleBook`, and says what is wrong with them.

The files are in `prompts/rules/`: `vocabulary.yaml` (what is understood), `frame.yaml` (the sentences
around every answer), and rules in all other files; `faults.yaml` explains the format.  `lint_rules`
finds every mistake at once and is what `prompts lint` calls.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from bot.engines.clues import Phrases, Vocabulary, code_key
from bot.engines.labels import FIELDS, Labels
from bot.engines.rulebook import Rule, RuleBook, When
from bot.errors import BadConfiguration
from context.turns import LANGUAGES, Language

RULES = Path(__file__).resolve().parents[2] / "prompts" / "rules"
MAX_SENTENCE = 600

_FRAME: Mapping[str, frozenset[str]] = {
    "read": frozenset({"codes"}),
    "read_on_photos": frozenset({"codes"}),
    "seen_in_clip": frozenset({"codes"}),
    "read_text": frozenset({"text"}),
    "nothing_read": frozenset(),
    "nothing_in_clip": frozenset(),
    "cannot_look": frozenset(),
    "count_blinks": frozenset(),
    "too_dark": frozenset(),
    "too_blurred": frozenset(),
    "too_small": frozenset(),
    "screenshot": frozenset(),
    "blinks": frozenset({"light", "count"}),
    "changed": frozenset({"before", "now"}),
    "changed_since": frozenset({"first", "before", "second", "now"}),
    "earlier": frozenset({"before"}),
    "ask_photo": frozenset(),
    "ask_model": frozenset({"codes"}),
    "model_known": frozenset({"codes", "model"}),
    "preliminary": frozenset(),
}
"""Sentences of `frame.yaml`, and what each may fill in."""
_FILLED = frozenset({"codes", "light", "model"})
_PLACE = re.compile(r"\{(\w*)\}")
_FOLDED = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef]) (?=[\u3000-\u9fff\uff00-\uffef])")
"""The space that YAML puts where a Chinese sentence goes on in the next line."""
_PROMISES = re.compile(
    r"refund|money back|compensat|reimburse|free of charge|for free|free (repair|replacement|visit)|guarantee"
    r"|we promise|退款|退钱|赔偿|补偿|赔付|免费|保证|承诺|包换|包赔",
    re.IGNORECASE,
)
"""Decisions of a person.  A rule that makes one is refused."""
_CONTACT = re.compile(r"https?:|www\.|@\w|\d[\d -]{5,}\d", re.IGNORECASE)


def load_rules(directory: Path = RULES) -> RuleBook:
    """Read the rules in a folder, once.  Raises `BadConfiguration` with everything that is wrong in them."""
    return _read_once(directory)


@lru_cache(maxsize=4)  # of a function without defaults: `f()` and `f(RULES)` are two keys
def _read_once(directory: Path) -> RuleBook:
    book, problems = _load(directory)
    if book is None or problems:
        raise BadConfiguration(problems)
    return book


def lint_rules(directory: Path = RULES) -> list[str]:
    """Everything that is wrong with the rules, one line each: file, rule, and what to change."""
    return _load(directory)[1]


def _load(directory: Path) -> tuple[RuleBook | None, list[str]]:
    problems: list[str] = []
    files: dict[str, Any] = {}
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.yaml")):
        try:
            source = path.read_text(encoding="utf-8")
            files[path.name] = _parse(source)
        except (OSError, ValueError) as error:
            problems.append(f"{path.name}: {error}")
        else:
            digest.update(source.encode())
    words, frame = files.pop("vocabulary.yaml", None), files.pop("frame.yaml", None)
    for name, content in (("vocabulary.yaml", words), ("frame.yaml", frame)):
        if not isinstance(content, dict):
            problems.append(f"{name}: missing, or not a list of `name: value`")
    if not isinstance(words, dict) or not isinstance(frame, dict):
        return None, problems
    reader = _Reader(words, problems)
    reader.check_vocabulary()
    reader.check_frame(frame)
    rules = [rule for name, content in files.items() for rule in reader.rules(name, content)]
    if not any(rule.about == "general" and rule.when == When() for rule in rules):
        problems.append("a rule about `general` with `when: {}` is needed: something must always match")
    if problems:
        return None, problems
    rules.sort(key=lambda rule: -rule.priority)
    vocabulary = Vocabulary(
        light=words["light"],
        colours=words["colours"],
        states=words["states"],
        code_prefixes=words["code_prefixes"],
        known=[*words["known_codes"], *(code for rule in rules for code in rule.when.codes)],
    )
    frame = {name: _unfolded(sentences) for name, sentences in frame.items()}
    labels = Labels.of(vocabulary, words["label"], words["brands"])
    version = f"rules@{digest.hexdigest()[:8]}"
    return RuleBook(tuple(rules), vocabulary, labels, frame, words["names"], version), []


def _parse(source: str) -> object:
    """YAML that refuses the same key twice, which plain YAML drops silently.

    Raises ValueError naming the line.
    """
    import yaml  # noqa: PLC0415 - only where rules are read

    from bot.yaml_files import SafeLoader  # noqa: PLC0415

    class Loader(SafeLoader):  # type: ignore[misc]  # one of two
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - yaml's own signature
            keys = [key.value for key, _ in node.value]
            if twice := [key for key in keys if keys.count(key) > 1]:
                raise ValueError(f"line {node.start_mark.line + 1}: `{twice[0]}` is there twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(source, Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        raise ValueError(f"line {line}: {error.problem}") from None


class _Reader:
    """Turns what YAML gives into rules, and writes down what is wrong with it."""

    def __init__(self, words: Mapping[str, Any], problems: list[str]) -> None:
        self._words = words
        self._problems = problems
        self._ids: set[str] = set()

    def check_vocabulary(self) -> None:
        where = "vocabulary.yaml"
        for key in ("light", "code_prefixes", "known_codes"):
            self._phrases(self._words.get(key), f"{where}: {key}")
        for key in ("colours", "states", "label", "brands"):
            groups = self._words.get(key)
            if not isinstance(groups, dict) or not groups:
                self._wrong(f"{where}: {key}", "must hold a list of phrases for each name")
                continue
            for name, phrases in groups.items():
                self._phrases(phrases, f"{where}: {key}: {name}")
        if set(self._names_of("label")) != set(FIELDS):
            self._wrong(f"{where}: label", f"must name {', '.join(FIELDS)}, and nothing else")
        names = self._words.get("names")
        for name in ("light", *FIELDS, *self._names_of("colours"), *self._names_of("states")):
            self._sentences(
                names.get(name) if isinstance(names, dict) else None, f"{where}: names: {name}", frozenset()
            )

    def check_frame(self, frame: Mapping[str, Any]) -> None:
        for name in frame.keys() - _FRAME.keys():
            self._wrong(f"frame.yaml: {name}", "is not a sentence that the bot uses")
        for name, places in _FRAME.items():
            self._sentences(frame.get(name), f"frame.yaml: {name}", places)
        for language, text in self._texts(frame.get("preliminary")):
            if "/human" not in text:
                self._wrong(f"frame.yaml: preliminary: {language}", "must say how to reach a person: /human")

    def rules(self, file: str, content: object) -> Iterable[Rule]:
        if not isinstance(content, list):
            self._wrong(file, "must be a list of rules, each beginning with `- id:`")
            return
        for number, entry in enumerate(content, 1):
            name = str(entry.get("id") or f"rule {number}") if isinstance(entry, dict) else f"rule {number}"
            if (rule := self._rule(entry, f"{file}: {name}")) is not None:
                yield rule

    def _rule(self, entry: object, where: str) -> Rule | None:
        if not isinstance(entry, dict):
            self._wrong(where, "must begin with `- id:`")
            return None
        before = len(self._problems)
        self._no_others(entry, {"id", "about", "priority", "first", "brief", "when", "say"}, where)
        rule_id, about, priority = entry.get("id"), entry.get("about"), entry.get("priority")
        if not isinstance(rule_id, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", rule_id):
            self._wrong(where, "needs an `id` of small letters, digits and -")
        elif rule_id in self._ids:
            self._wrong(where, "has the id of another rule")
        else:
            self._ids.add(rule_id)
        if not isinstance(about, str) or not about:
            self._wrong(where, "needs `about`, its topic")
        if not isinstance(priority, int) or isinstance(priority, bool):
            self._wrong(where, "needs `priority`, a whole number")
        flags = {name: entry.get(name, False) for name in ("first", "brief")}
        for name, flag in flags.items():
            if not isinstance(flag, bool):
                self._wrong(where, f"`{name}` must be true or false")
        self._sentences(entry.get("say"), f"{where}: say", _FILLED)
        when = self._when(entry.get("when"), f"{where}: when", inside=False)
        if len(self._problems) > before:
            return None
        say = _unfolded(entry["say"])
        return Rule(str(rule_id), str(about), int(str(priority)), when, say, **flags)

    def _when(self, entry: object, where: str, *, inside: bool) -> When:
        if not isinstance(entry, dict):
            self._wrong(where, "must hold conditions, or {} for always")
            return When()
        self._no_others(
            entry,
            {"words", "only", "codes", "light"} | (set() if inside else {"photo", "model", "before"}),
            where,
        )
        words = entry.get("words")
        if words is not None:
            self._phrases(words, f"{where}: words")
        photo, model, only = entry.get("photo"), entry.get("model"), entry.get("only")
        for name, value in (("photo", photo), ("model", model), ("only", only)):
            if value is not None and not isinstance(value, bool):
                self._wrong(f"{where}: {name}", "must be true or false")
        codes, any_code = self._codes(entry.get("codes"), f"{where}: codes")
        colour, state, blinks = self._light(entry.get("light"), f"{where}: light")
        return When(
            words=Phrases({"words": words}) if isinstance(words, list) and _is_phrases(words) else None,
            only=bool(only),
            codes=codes,
            any_code=any_code,
            colour=colour,
            state=state,
            blinks=blinks,
            photo=photo,
            model=model,
            before=self._when(entry["before"], f"{where}: before", inside=True)
            if "before" in entry
            else None,
        )

    def _codes(self, codes: object, where: str) -> tuple[frozenset[str], bool]:
        if codes is None:
            return frozenset(), False
        if codes == ["any"]:
            return frozenset(), True
        self._phrases(codes, where)
        keys = [code_key(str(code)) for code in codes] if isinstance(codes, list) else []
        if not all(keys):
            self._wrong(where, "a code is one or two letters and up to three digits, such as E4; or [any]")
        return frozenset(keys), False

    def _light(self, light: object, where: str) -> tuple[str, str, int]:
        if light is None:
            return "", "", 0
        if not isinstance(light, dict) or not light.keys() & {"colour", "state"}:
            self._wrong(where, "must hold `colour`, `state` or both")
            return "", "", 0
        self._no_others(light, {"colour", "state", "blinks"}, where)
        for key, names in (("colour", self._names_of("colours")), ("state", self._names_of("states"))):
            if key in light and light[key] not in names:
                self._wrong(f"{where}: {key}", f"must be one of {', '.join(names)} (vocabulary.yaml)")
        blinks = light.get("blinks", 0)
        if blinks == "any":
            blinks = -1
        elif not isinstance(blinks, int) or not 0 <= blinks < 10:  # noqa: PLR2004
            self._wrong(f"{where}: blinks", "must be a number from 1 to 9, or any")
            blinks = 0
        return str(light.get("colour", "")), str(light.get("state", "")), blinks

    def _phrases(self, phrases: object, where: str) -> None:
        if not _is_phrases(phrases):
            self._wrong(where, "must be a list of phrases (put quotes around on, off, yes, no and numbers)")

    def _sentences(self, sentences: object, where: str, places: frozenset[str]) -> None:
        if not isinstance(sentences, dict) or set(sentences) != set(LANGUAGES):
            self._wrong(where, f"needs a sentence for each of {', '.join(LANGUAGES)}, and no more")
        for language, text in self._texts(sentences):
            at = f"{where}: {language}"
            if not text.strip() or len(text) > MAX_SENTENCE:
                self._wrong(at, f"must have between 1 and {MAX_SENTENCE} letters")
            for place in _PLACE.findall(text):
                if place not in places:
                    self._wrong(at, f"{{{place}}} cannot be filled in here")
            if promise := _PROMISES.search(text):
                self._wrong(at, f"promises something that only a person may: `{promise[0]}`")
            if contact := _CONTACT.search(text):
                self._wrong(at, f"holds a link or a number to call: `{contact[0]}`")

    def _texts(self, sentences: object) -> list[tuple[str, str]]:
        pairs = sentences.items() if isinstance(sentences, dict) else ()
        return [(str(language), str(text)) for language, text in pairs]

    def _no_others(self, entry: Mapping[Any, Any], allowed: set[str], where: str) -> None:
        for key in entry.keys() - allowed:
            self._wrong(where, f"`{key}` is none of {', '.join(sorted(allowed))}")

    def _names_of(self, key: str) -> list[str]:
        groups = self._words.get(key)
        return [str(name) for name in groups] if isinstance(groups, dict) else []

    def _wrong(self, where: str, what: str) -> None:
        self._problems.append(f"{where}: {what}")


def _unfolded(sentences: Mapping[Language, str]) -> dict[Language, str]:
    return {language: _FOLDED.sub("", text).strip() for language, text in sentences.items()}


def _is_phrases(phrases: object) -> bool:
    return (
        isinstance(phrases, list)
        and bool(phrases)
        and all(isinstance(p, str) and p.strip(" *") for p in phrases)
    )
