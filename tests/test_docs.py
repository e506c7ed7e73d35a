"""The documents say what is there: settings, commands, routes, dependencies, the map, links."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml

from bot.__main__ import COMMANDS
from bot.cli.arguments import parser
from bot.settings import NAMES
from tests.house_map import BLOCK, DOCUMENT, house_map
from tests.until import PROCESS_S

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked() -> list[str]:
    """The files of the project, as git knows them; all that lie there where it is no checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.splitlines()
    if listed.returncode:
        hidden = re.compile(r"(^|/)(\.venv|\.[a-z]+_cache|__pycache__|data)/")
        names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]
        names = [name for name in names if not hidden.search(name)]
    return [name for name in names if (ROOT / name).is_file()]


# --- Settings


def test_the_example_file_holds_every_setting_and_no_other() -> None:
    written = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text_of(".env.example"), re.MULTILINE)
    assert sorted(written) == sorted(NAMES)


def test_the_settings_page_holds_every_setting_and_no_other() -> None:
    cells = re.findall(r"^\| (`[^|]*) \|", text_of("docs/settings.md"), re.MULTILINE)
    assert sorted(re.findall(r"`([A-Z0-9_]+)`", " ".join(cells))) == sorted(NAMES)


def test_no_setting_is_read_and_then_forgotten() -> None:
    app = "".join(path.read_text() for path in sorted((ROOT / "bot" / "app").glob("*.py")))
    used = app + text_of("bot/__main__.py") + text_of("bot/settings.py").partition("@classmethod")[2]
    assert [name for name in NAMES if not re.search(rf"\.{name.lower()}\b", used)] == []


# --- Commands and routes


def commands(of: argparse.ArgumentParser, before: str = "") -> set[str]:
    """`check`, `prompts lint`, ...: whatever the command line takes."""
    found = set()
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                found |= commands(child, f"{before}{name} ") or {f"{before}{name}"}
    return found


def test_every_command_does_something() -> None:
    assert {name.split()[0] for name in commands(parser())} == set(COMMANDS)


def test_every_command_is_in_the_readme() -> None:
    readme = text_of("README.md")
    assert [name for name in commands(parser()) if f"`python -m bot {name}" not in readme] == []


def test_every_command_in_the_readme_exists() -> None:
    shown = re.findall(r"python -m bot ((?:[a-z-]+ ?)+)", text_of("README.md"))
    assert {name.strip() for name in shown} <= commands(parser())


ROUTES = re.compile(r"^(/\S*) {2,}", re.MULTILINE)


def test_every_route_is_in_the_readme() -> None:
    sitemap = ROUTES.findall(text_of("bot/web/__init__.py"))
    assert len(sitemap) > 3
    inner = {"/chat/...", "/static/..."}  # what the page itself asks for
    assert [
        route for route in sitemap if route not in inner and f"`{route}`" not in text_of("README.md")
    ] == []


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(r"^(#+) ", id="headings"),
        pytest.param(r"^(?:export |curl |python3 |from |stream = |printf ).*?(?=  #|$)", id="commands"),
        pytest.param(r"^\| (`[^|]*) \|", id="what tables begin with"),
        pytest.param(r"^\d\. ", id="steps"),
    ],
)
def test_the_chinese_readme_keeps_the_order_of_the_english_one(what: str) -> None:
    english, chinese = (re.findall(what, text_of(name), re.MULTILINE) for name in READMES)
    assert english
    assert chinese == english


@pytest.mark.parametrize("what", [r"(?<!`)`([^`\n]+)`(?!`)", r"\]\(([^)\s]+)\)"], ids=["names", "links"])
def test_the_chinese_readme_names_what_the_english_one_does(what: str) -> None:
    english, chinese = (set(re.findall(what, text_of(name))) for name in READMES)
    of_one_language = {*READMES, "docs/images/console.en.png", "docs/images/console.zh.png"}
    assert english ^ chinese <= of_one_language


READMES = ("README.md", "README.zh.md")


# --- The two commands


def test_the_readme_begins_with_the_two_commands() -> None:
    first = re.search(r"^```\w*\n(.*?)^```", text_of("README.md"), re.MULTILINE | re.DOTALL)
    assert first
    assert re.findall(r"^python3 run\S*(?: test)?", first[1], re.MULTILINE) == [
        "python3 run",
        "python3 run test",
    ]


def test_ci_uses_the_readmes_test_command() -> None:
    assert re.search(r"^step python3 run test$", text_of(".ci/run"), re.MULTILINE)


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_take_other_peoples_code_by_its_commit_only(workflow: Path) -> None:
    uses = re.findall(r"\buses: *(.*)", workflow.read_text(encoding="utf-8"))
    assert uses
    assert [each for each in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_end_in_time_and_may_only_read(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"] == {}
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert job["permissions"] == {"contents": "read"}
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}
    assert {"run": ".ci/run"} in content["jobs"]["test"]["steps"]


# --- The map


def test_the_map_shows_every_module_as_it_describes_itself() -> None:
    drawn = BLOCK.search(DOCUMENT.read_text(encoding="utf-8"))
    assert drawn
    assert drawn[0].splitlines() == house_map().splitlines(), "write it anew: python -m tests.house_map"


def test_every_path_in_the_documents_is_there() -> None:
    paths = re.compile(r"`((?:bot|context|prompts|tests|docs|benchmarks|deploy)/[\w./-]+)`")
    named = {
        (document.name, path)
        for document in DOCUMENTS
        for path in paths.findall(document.read_text(encoding="utf-8"))
    }
    assert sorted((name, path) for name, path in named if not (ROOT / path).exists()) == []


def test_every_document_that_the_code_points_to_is_there() -> None:
    pages = re.compile(r"\bdocs/[\w/-]+\.md\b")
    code = [name for name in tracked() if name.endswith((".py", ".yaml", ".toml", "run"))]
    named = {(name, page) for name in code for page in pages.findall(text_of(name))}
    assert sorted((name, page) for name, page in named if not (ROOT / page).exists()) == []


# --- Dependencies


def direct_dependencies() -> set[str]:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    every = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[\[<>=!;~ ]", entry)[0].lower().replace("_", "-") for entry in every}
    return names - {project["name"]}


def test_every_direct_dependency_is_explained() -> None:
    cells = re.findall(r"^\| ([a-z0-9][^|]*) \|", text_of("docs/dependencies.md"), re.MULTILINE)
    explained = {re.sub(r" \(.*\)", "", name) for cell in cells for name in cell.split(", ")}
    assert explained - {"package"} == direct_dependencies()


def test_every_direct_dependency_has_an_exact_version() -> None:
    pinned = re.findall(r"^([a-z0-9-]+)==", text_of("constraints.txt"), re.MULTILINE)
    assert direct_dependencies() - set(pinned) == set()


def test_exact_versions_hold_on_any_machine() -> None:
    lines = text_of("constraints.txt").splitlines()
    assert [
        line for line in lines if re.search(r"://|\+cpu|@|^(nvidia-(?!ml-py)|cuda|triton|--)", line)
    ] == []


# --- Words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    inside = [link.partition("#")[0] for link in links if "://" not in link]
    assert [link for link in inside if link and not (document.parent / link).exists()] == []


def test_the_documents_become_pages_without_a_warning(tmp_path: Path) -> None:
    """MkDocs looks for dead links, dead anchors, and pages that no menu leads to."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?([^\s\">]+)", page.read_text(encoding="utf-8")
        )
        assert loaded
        assert [address for address in loaded if re.match(r"(\w+:)?//", address)] == [], page
        links = re.findall(r"(?:src|href)=\"([^\"#?]+)", page.read_text(encoding="utf-8"))
        inside = [link for link in links if not re.match(r"\w+:|/", link)]
        assert [link for link in inside if not (page.parent / link).exists()] == [], page


def test_nothing_names_a_place_on_somebodys_machine() -> None:
    place = re.compile(
        r"(?<![\w.-])/(work|root|home/\w+|opt/\w+|Users/\w+)/|[\w.]+/simple/?\b", re.IGNORECASE
    )
    found = {}
    for name in tracked():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content and name != "tests/test_docs.py":
            hits = {match[0] for match in place.finditer(content.decode("utf-8", "replace"))}
            if hits:
                found[name] = hits
    assert found == {}
