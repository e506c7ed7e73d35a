"""The policy: terms, allow-lists, limits and each rule's action, from YAML files that staff may edit.

The files that come with the bot are always read; an operator's own files add to them.  If a file is wrong,
the whole policy is refused, with every problem named, and a running guard keeps the policy that it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bot.errors import BadConfiguration
from bot.guard.terms import Term, Terms
from bot.guard.verdict import Action
from bot.yaml_files import parse

BUNDLED = (Path(__file__).parent / "terms.yaml", Path(__file__).parent / "policy.yaml")
_ALLOW_KINDS = ("hosts", "local_hosts", "names", "phones", "emails", "handles")
_KEYS = frozenset({"version", "lists", "phrases", "allow", "actions", "shadow", "second", "limits"})
_LIMITS = {"max_chars": 6000}


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that the guard is configured with, as one value: replaced as a whole at a reload."""

    terms: Terms
    allow: Mapping[str, frozenset[str]]
    """Our own `hosts`, `phones`, `emails` and `handles`; `local_hosts` of devices; `names` that only look
    like hosts."""
    actions: Mapping[str, Action]
    """By rule (`promise.refund`) or family (`promise`); others have the rule's own default."""
    shadow: frozenset[str]
    """Rules on trial: only recorded, without effect."""
    second: Mapping[str, Action]
    """By the guard model's category or label, in lower case."""
    max_chars: int
    version: str
    """`<version in the files>+<hash of their contents>`."""
    stamps: tuple[tuple[Path, float], ...] = field(default=(), compare=False)
    """When each file was last changed, as of reading; 0 for one that does not exist yet."""

    def action(self, rule: str, default: Action) -> Action:
        """The action of a rule under this policy."""
        return self.actions.get(rule) or self.actions.get(rule.partition(".")[0]) or default

    def on_trial(self, rule: str) -> bool:
        """Whether a rule is only recorded at the moment."""
        return rule in self.shadow or rule.partition(".")[0] in self.shadow

    def is_stale(self) -> bool:
        """Whether one of its files has changed, appeared or gone since it was read."""
        return any(_changed(path) != at for path, at in self.stamps)


def load_policy(*extra: Path) -> Policy:
    """Read the bundled files and the operator's.

    An extra file that does not exist yet is skipped; `is_stale` notices when it appears.
    Raises BadConfiguration with every problem, naming file and entry.
    """
    paths = (*BUNDLED, *extra)
    stamps = tuple((path, _changed(path)) for path in paths)
    reader = _Reader()
    for path in paths:
        if path in BUNDLED or path.exists():
            reader.read(path)
    if reader.problems:
        raise BadConfiguration(reader.problems)
    return reader.policy(stamps)


def policy_of(
    terms: Iterable[Term] = (),
    *,
    allow: Mapping[str, Iterable[str]] | None = None,
    actions: Mapping[str, Action] | None = None,
    shadow: Iterable[str] = (),
    second: Mapping[str, Action] | None = None,
    version: str = "inline",
) -> Policy:
    """A policy from values instead of files: for large generated lists, trials and tests."""
    return Policy(
        terms=Terms(tuple(terms)),
        allow={kind: frozenset((allow or {}).get(kind, ())) for kind in _ALLOW_KINDS},
        actions=dict(actions or {}),
        shadow=frozenset(shadow),
        second=dict(second or {}),
        max_chars=_LIMITS["max_chars"],
        version=version,
    )


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


class _Reader:
    """Collects entries and problems from several files; later files override earlier ones."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._terms: list[Term] = []
        self._allow: dict[str, set[str]] = {kind: set() for kind in _ALLOW_KINDS}
        self._actions: dict[str, Action] = {}
        self._shadow: set[str] = set()
        self._second: dict[str, Action] = {}
        self._limits = dict(_LIMITS)
        self._version = "0"
        self._hash = hashlib.sha256()
        self._file = ""

    def read(self, path: Path) -> None:
        """Read one file."""
        self._file = path.name
        try:
            content = path.read_bytes()
            tree = parse(content)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            self._wrong("", f"cannot be read: {' '.join(str(error).split())[:200]}")
            return
        if not isinstance(tree, dict):
            self._wrong("", "must be a mapping at the top")
            return
        self._hash.update(content)
        for key in tree.keys() - _KEYS:
            self._wrong(str(key), f"is not known; use one of {', '.join(sorted(_KEYS))}")
        self._version = str(tree.get("version", self._version))
        for number, group in enumerate(self._rows(tree, "lists"), 1):
            self._group(f"lists[{number}]", group)
        for phrase in self._rows(tree, "phrases"):
            self._terms.append(Term(str(phrase), "allowed", Action.ALLOW, allow=True))
        self._read_allow(self._table(tree, "allow"))
        self._actions |= self._read_actions("actions", self._table(tree, "actions"))
        self._second |= self._read_actions("second", self._table(tree, "second"))
        self._shadow |= {str(rule) for rule in self._rows(tree, "shadow")}
        for name, value in self._table(tree, "limits").items():
            if name in _LIMITS and isinstance(value, int) and value > 0:
                self._limits[name] = value
            else:
                self._wrong(f"limits.{name}", "must be a positive number of " + ", ".join(_LIMITS))

    def policy(self, stamps: tuple[tuple[Path, float], ...]) -> Policy:
        """What was read, as a value."""
        return Policy(
            terms=Terms(tuple(self._terms)),
            allow={kind: frozenset(values) for kind, values in self._allow.items()},
            actions=self._actions,
            shadow=frozenset(self._shadow),
            second=self._second,
            max_chars=self._limits["max_chars"],
            version=f"{self._version}+{self._hash.hexdigest()[:10]}",
            stamps=stamps,
        )

    def _group(self, where: str, group: Any) -> None:
        if not isinstance(group, dict) or "category" not in group or "terms" not in group:
            self._wrong(where, "needs `category`, `action` and `terms`")
            return
        for number, entry in enumerate(self._rows(group, "terms"), 1):
            own = entry if isinstance(entry, dict) else {"text": entry}
            merged = {**group, **own}
            text = str(merged.get("text") or "").strip()
            action = self._action(f"{where}.terms[{number}]", merged.get("action"))
            match = merged.get("match", "word")
            if not text or match not in {"word", "substring"}:
                self._wrong(f"{where}.terms[{number}]", "needs `text`, and `match` as word or substring")
            elif action is not None:
                self._terms.append(
                    Term(
                        text,
                        str(group["category"]),
                        action,
                        match=match,
                        language=str(merged.get("language", "")),
                        note=str(merged.get("note", "")),
                        shadow=bool(merged.get("shadow", False)),
                    )
                )

    def _read_allow(self, table: Mapping[str, Any]) -> None:
        for kind, values in table.items():
            if kind not in _ALLOW_KINDS or not isinstance(values, list):
                self._wrong(f"allow.{kind}", f"must be a list under one of {', '.join(_ALLOW_KINDS)}")
                continue
            self._allow[kind] |= {str(value).strip().lower() for value in values}

    def _read_actions(self, where: str, table: Mapping[str, Any]) -> dict[str, Action]:
        read = {str(rule).lower(): self._action(f"{where}.{rule}", value) for rule, value in table.items()}
        return {rule: action for rule, action in read.items() if action is not None}

    def _action(self, where: str, value: Any) -> Action | None:
        try:
            return Action(value)
        except ValueError:
            self._wrong(where, "needs an action: allow, hold or block")
            return None

    def _rows(self, tree: Mapping[str, Any], key: str) -> Sequence[Any]:
        value = tree.get(key) or []
        if isinstance(value, list):
            return value
        self._wrong(key, "must be a list")
        return []

    def _table(self, tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = tree.get(key) or {}
        if isinstance(value, dict):
            return value
        self._wrong(key, "must be a mapping")
        return {}

    def _wrong(self, where: str, problem: str) -> None:
        self.problems.append(f"{self._file}: {where + ' ' if where else ''}{problem}")
