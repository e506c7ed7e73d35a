"""House styles: how a picture is described, in templates that editors find in `prompts/styles/`.

A style has one file per language.  Two frames shared by all styles add the rules that always apply and the
line below the picture.  Earlier output of the model is only inserted as an escaped (`neutral`) value.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound, meta
from jinja2.sandbox import SandboxedEnvironment

from context.turns import LANGUAGES, Language
from prompts.neutral import neutral
from prompts.prompt import Manner, Prompt, PromptImage, PromptMessage

FOLDER = Path(__file__).parent / "styles"
MAX_EXAMPLE_CHARS = 1_500
"""Longest example; no style of ours asks for so much text."""
_FRAMES = {"_frame": {"words", "canary"}, "_ask": {"example"}}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VARIABLES = re.compile(r"\A\{#- variables: ([\w, ]+) -#\}\n")
_ONE_VOICE = "one voice"
_HEAD = re.compile(
    rf"\A\{{#- title: (?P<title>[^\n]+?) -#\}}\n\{{#- series: (?P<series>{_ONE_VOICE}|each alone) -#\}}\n"
)


class HouseStyles:
    """The styles in `folder`, by name.  A changed file takes effect at the next start."""

    def __init__(self, *, folder: Path = FOLDER) -> None:
        self._folder = folder
        # Plain text for a model: escaping would only disfigure it.
        self._templates = SandboxedEnvironment(
            loader=FileSystemLoader(folder), undefined=StrictUndefined, autoescape=False, auto_reload=False
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All styles with a file in at least one language, in alphabetical order."""
        files = {path.name.partition(".")[0] for path in self._folder.glob("*.j2")}
        return tuple(sorted(name for name in files if _NAME.fullmatch(name)))

    def title(self, name: str, language: Language) -> str:
        """The title of the style in lists."""
        head = _HEAD.match(self._source(name, language))
        return head["title"] if head else name

    def version(self, name: str) -> str:
        """`food@<hash>`: a hash of the style's templates in all languages, and of the frames."""
        digest = hashlib.sha256()
        for part in (name, *sorted(_FRAMES)):
            for language in LANGUAGES:
                digest.update(self._source(part, language).encode())
        return f"{name}@{digest.hexdigest()[:10]}"

    def keeps_series(self, name: str) -> bool:
        """Whether pictures of a series should have the same tone; otherwise each is described by itself."""
        return self._series(name) == {_ONE_VOICE}

    def assemble(
        self,
        name: str,
        language: Language,
        image: PromptImage,
        *,
        example: str = "",
        canary: str = "",
        manner: Manner | None = None,
    ) -> Prompt:
        """The prompt that asks for a text about one picture.

        `example` is the text of another picture of the same series.  It stands in the user's message:
        the guard takes an answer that repeats the system's for a leak.  Raises LookupError for a style
        that there is not.
        """
        if name not in self.names:
            raise LookupError(f"no style is called {name!r}; there are {', '.join(self.names)}")
        quoted = neutral(example, max_chars=MAX_EXAMPLE_CHARS).strip()
        words = self._render(name, language)
        return Prompt(
            messages=(
                PromptMessage("system", self._render("_frame", language, words=words, canary=canary)),
                PromptMessage("user", self._render("_ask", language, example=quoted), (image,)),
            ),
            language=language,
            version=self.version(name),
            question="",
            photos_shown=(image.photo.sha256,),
            canary=canary,
            manner=manner or Manner(),
        )

    def lint(self) -> list[str]:
        """What is wrong with the files, one line each; empty if they are correct."""
        problems = []
        for language in LANGUAGES:
            for name, variables in _FRAMES.items():
                problems += self._lint(name, language, variables)
            for name in self.names:
                problems += self._lint(name, language, set())
        if not problems:
            mixed = [name for name in self.names if len(self._series(name)) > 1]
            problems += [f"styles/{name}: its series differs by language" for name in mixed]
        strangers = {path.name for path in self._folder.glob("*.j2")} - {
            f"{name}.{language}.j2" for name in (*self.names, *_FRAMES) for language in LANGUAGES
        }
        return problems + [f"styles/{stranger}: belongs to no style" for stranger in sorted(strangers)]

    def _lint(self, name: str, language: Language, variables: set[str]) -> list[str]:
        file = f"styles/{name}.{language}.j2"
        try:
            source = self._source(name, language)
            used = meta.find_undeclared_variables(self._templates.parse(source))
        except (TemplateError, UnicodeDecodeError) as error:
            line = getattr(error, "lineno", None)
            return [f"{file}{f' line {line}' if line else ''}: {_said(error)}"]
        problems = [f"{file}: nobody gives it {extra!r}" for extra in sorted(used - variables)]
        problems += [f"{file}: never says {lacking!r}" for lacking in sorted(variables - used)]
        problems += _lint_head(file, source, variables)
        return problems or self._lint_words(name, language, file, variables)

    def _lint_words(self, name: str, language: Language, file: str, variables: set[str]) -> list[str]:
        try:
            words = self._render(name, language, **dict.fromkeys(variables, "x"))
        except (TemplateError, TypeError, ValueError) as error:
            return [f"{file}: {_said(error)}"]
        return [] if words else [f"{file}: says nothing"]

    def _series(self, name: str) -> set[str]:
        heads = [_HEAD.match(self._source(name, language)) for language in LANGUAGES]
        return {head["series"] for head in heads if head}

    def _render(self, name: str, language: Language, **values: str) -> str:
        return self._templates.get_template(f"{name}.{language}.j2").render(**values).strip()

    def _source(self, name: str, language: Language) -> str:
        assert self._templates.loader is not None
        return self._templates.loader.get_source(self._templates, f"{name}.{language}.j2")[0]


def _lint_head(file: str, source: str, variables: set[str]) -> list[str]:
    """What is wrong with the header lines of a template."""
    if not variables:
        if _HEAD.match(source):
            return []
        return [
            f"{file}: should begin with {{#- title: ... -#}} and {{#- series: one voice -#}}, a line each"
        ]
    declared = _VARIABLES.match(source)
    if declared and set(declared[1].split(", ")) == variables:
        return []
    return [f"{file}: its first line should be {{#- variables: {', '.join(sorted(variables))} -#}}"]


def _said(error: Exception) -> str:
    if isinstance(error, TemplateNotFound):
        return "there is no such file"
    return str(error) or type(error).__name__
