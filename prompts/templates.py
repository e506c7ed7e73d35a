"""The templates that prompts and notices are made of: loaded by name, and checked.

Words are in `*.j2`.  An operator's folder may replace templates by name; `lint` tells whether they fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    DictLoader,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    meta,
    nodes,
)
from jinja2.runtime import Macro
from jinja2.sandbox import SandboxedEnvironment

from context.turns import LANGUAGES, Language

VARIABLES = {
    "system": {"canary"},
    "user": {"shown", "hidden", "missing", "recalled", "unreadable", "measured", "facts", "read", "text"},
    "gist": {"turns", "devices", "codes", "seen", "tried", "said", "advised"},
    "app": {"words"},
    "company": {"words"},
}
"""Templates that prompts for customers' questions are made of, and the values that each of them needs."""
_BESIDE = {"mark": {"question", "answer"}, "condense": {"photos", "text", "reply"}, "plate": {"lines"}}
"""Templates of questions that no customer reads an answer to: no part of a prompt's version."""
_PACKAGE = Path(__file__).parent
_DECLARED = re.compile(r"\A\{#-? variables: ([\w, ]+) -?#\}")
_SAMPLES: dict[str, object] = {
    "code": "empty",
    "number": 1,
    "total": 2,
    "place": 2,
    "weekday": 1,
    "failed": 1,
    "questions": 2,
    "seconds": 40,
}
"""Sample values with which `lint` renders notices; any other parameter is a word."""


class Templates:
    """Templates beside this file, unless `sources` or `folder` has one of that name."""

    def __init__(self, *, folder: Path | None = None, sources: Mapping[str, str] | None = None) -> None:
        loaders: list[BaseLoader] = [DictLoader(sources)] if sources else []
        loaders += [FileSystemLoader(path) for path in ([folder, _PACKAGE] if folder else [_PACKAGE])]
        # Prompts and chat messages are plain text: escaping would only disfigure them.
        self._templates = SandboxedEnvironment(
            loader=ChoiceLoader(loaders),
            undefined=StrictUndefined,
            autoescape=False,
            auto_reload=False,
        )
        self._loaded = lru_cache(maxsize=32)(self._load)

    def of(self, kind: str, language: Language) -> Template:
        """The template of a kind in a language."""
        return self._loaded(f"{kind}.{language}.j2")

    def source(self, kind: str, language: Language) -> str:
        """Its text."""
        return self._source(f"{kind}.{language}.j2")

    def sources(self) -> dict[str, str]:
        """The templates that prompts for customers' questions are made of, by name."""
        names = [f"{kind}.{language}.j2" for kind in sorted(VARIABLES) for language in LANGUAGES]
        return {name: self._source(name) for name in names}

    def notice(self, name: str, language: Language, **values: object) -> str:
        """The bot's own words for an occasion; see `prompts.prompts.Prompts.notice`."""
        macro = getattr(self.of("notices", language).module, name, None)
        if not isinstance(macro, Macro):
            raise LookupError(  # noqa: TRY004  # what is missing is the notice, whatever else has its name
                f"no notice is called {name!r} in {language!r}"
            )
        return str(macro(**values)).strip()

    def lint(self) -> list[str]:
        """What is wrong with the templates, one line each; empty if they are correct."""
        problems = []
        needed = _signatures(self._templates.parse((_PACKAGE / "notices.en.j2").read_text("utf-8")))
        for language in LANGUAGES:
            for kind, variables in (VARIABLES | _BESIDE).items():
                problems += self._lint_template(f"{kind}.{language}.j2", variables)
            problems += self._lint_notices(language, needed)
        return problems

    def _load(self, name: str) -> Template:
        template = self._templates.get_template(name)
        template.globals = dict(
            template.globals
        )  # it is copied for each rendering; a ChainMap takes twice as long
        return template

    def _source(self, name: str) -> str:
        assert self._templates.loader is not None
        return self._templates.loader.get_source(self._templates, name)[0]

    def _lint_template(self, name: str, variables: set[str]) -> list[str]:
        try:
            source = self._source(name)
            used = meta.find_undeclared_variables(self._templates.parse(source))
        except TemplateError as error:
            return [_complaint(name, error)]
        declared = _DECLARED.match(source)
        return [
            *(f"{name}: nobody gives it {extra!r}" for extra in sorted(used - variables)),
            *(f"{name}: never says {lacking!r}" for lacking in sorted(variables - used)),
            *(
                [f"{name}: its first line should be {{#- variables: {', '.join(sorted(variables))} -#}}"]
                if declared is None or set(declared[1].split(", ")) != variables
                else []
            ),
        ]

    def _lint_notices(self, language: Language, needed: Mapping[str, tuple[str, ...]]) -> list[str]:
        name = f"notices.{language}.j2"
        try:
            words = vars(self.of("notices", language).module)  # compiled once: parsing it again took 10 ms
        except TemplateError as error:
            return [_complaint(name, error)]
        there = {notice: tuple(said.arguments) for notice, said in words.items() if isinstance(said, Macro)}
        problems = [f"{name}: lacks {lacking!r}" for lacking in needed if lacking not in there]
        for notice, parameters in there.items():
            if notice not in needed:
                problems.append(f"{name}: nobody asks for {notice!r}")
            elif parameters != needed[notice]:
                problems.append(f"{name}: {notice} takes ({', '.join(needed[notice])})")
            else:
                problems += self._lint_notice(name, notice, language, parameters)
        return problems

    def _lint_notice(
        self, name: str, notice: str, language: Language, parameters: Sequence[str]
    ) -> list[str]:
        try:
            words = self.notice(notice, language, **{key: _SAMPLES.get(key, "x") for key in parameters})
        except (TemplateError, TypeError, LookupError, ValueError) as error:
            return [f"{name}: {notice}: {error}"]
        return [] if words else [f"{name}: {notice} says nothing"]


def _signatures(template: nodes.Template) -> dict[str, tuple[str, ...]]:
    return {
        macro.name: tuple(argument.name for argument in macro.args)
        for macro in template.find_all(nodes.Macro)
    }


def _complaint(name: str, error: TemplateError) -> str:
    line = getattr(error, "lineno", None)
    return f"{name}{f' line {line}' if line else ''}: {error.message or type(error).__name__}"
