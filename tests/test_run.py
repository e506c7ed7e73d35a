"""The script `run` in a small project of its own: what a fresh, moved, broken or old machine gets.

The project has no dependencies and builds itself, so that nothing is downloaded.  Most tests put a
`uv` on the PATH that is a few lines of shell: it only keeps a log, since there is nothing to install.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

RUN = Path(__file__).parent.parent / "run"

PYPROJECT = """
[build-system]
requires = []
build-backend = "build_here"
backend-path = ["."]

[project]
name = "tiny"
version = "1"

[project.optional-dependencies]
gpu = []
dev = []
"""
BACKEND = """
import zipfile

INFO = {
    "METADATA": ["Metadata-Version: 2.1", "Name: tiny", "Version: 1", "Provides-Extra: gpu"],
    "WHEEL": ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"],
    "RECORD": [],
}

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        for file, lines in INFO.items():
            wheel.writestr(f"tiny-1.dist-info/{file}", chr(10).join([*lines, ""]))
    return name
"""
BOT = "import json, sys; print(json.dumps([sys.argv[1:], sys.prefix]))"
COMPILED = "import sys; print(sys.dont_write_bytecode, sys.pycache_prefix)"
UV = """#!/bin/sh
echo "$@ find-links=$UV_FIND_LINKS" >> "$UV_LOG"
exit ${UV_EXIT:-0}
"""


def test_every_extra_can_be_asked_for() -> None:
    project = tomllib.loads(RUN.with_name("pyproject.toml").read_text(encoding="utf-8"))["project"]
    (named,) = re.findall(r"^EXTRAS = (\(.+\))$", RUN.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(ast.literal_eval(named)) == set(project["optional-dependencies"])


class Project:
    """A folder with `run` in it, and the machine around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder.parent / "bin"
        self.uv_log = folder.parent / "uv.log"
        self.hooks = folder.parent / "hooks"
        for new in (folder / "bot", self.bin, self.hooks):
            new.mkdir(parents=True)
        shutil.copy(RUN, folder / "run")
        (folder / "pyproject.toml").write_text(PYPROJECT)
        (folder / "constraints.txt").write_text("")
        (folder / "build_here.py").write_text(BACKEND)
        (folder / "bot" / "__init__.py").write_text("")
        (folder / "bot" / "__main__.py").write_text(BOT)
        (folder / "pytest.py").write_text(BOT)

    def has_uv(self, script: str = UV) -> None:
        (self.bin / "uv").write_text(script)
        (self.bin / "uv").chmod(0o755)

    def machine(self, python: str) -> None:
        """Something that this machine's Python does before anything else."""
        (self.hooks / "sitecustomize.py").write_text(f"import sys\n{python}\n")

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.folder / "run"), *args],
            env={
                "PATH": f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin",
                "HOME": str(self.folder.parent),
                "PYTHONPATH": str(self.hooks),
                "PIP_FIND_LINKS": "/wheels /more",
                "UV_LOG": str(self.uv_log),
                **environment,
            },
            cwd=self.folder.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,  # a loaded machine: pip alone takes 15 s of a quiet one
            check=False,
        )

    @property
    def installations(self) -> list[str]:
        return self.uv_log.read_text().splitlines() if self.uv_log.exists() else []


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "a folder")


def bot_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The arguments that the bot in .venv was started with."""
    assert done.returncode == 0, done.stderr
    args, prefix = json.loads(done.stdout)
    assert Path(prefix).name == ".venv"
    return list(args)


def test_with_nothing_but_python_it_installs_with_pip_and_starts_the_bot(project: Project) -> None:
    done = project.run("check", "--json")
    assert bot_of(done) == ["check", "--json"]
    assert [line.split(" ...")[0] for line in done.stderr.splitlines()] == [
        "Making .venv",
        "Adding pip",
        "Installing with pip",
    ]
    assert bot_of(project.run()) == []
    assert project.run().stderr == ""


def test_uv_is_used_where_it_is_there_and_only_once(project: Project) -> None:
    project.has_uv()
    assert bot_of(project.run()) == []
    assert bot_of(project.run("run")) == ["run"]
    assert len(project.installations) == 1
    assert project.installations[0].endswith("-c constraints.txt -e . find-links=/wheels,/more")


def test_pip_takes_over_where_uv_fails(project: Project) -> None:
    """That it then installs is shown above; here this Python has none, so that it ends at once."""
    project.has_uv()
    project.machine("sys.modules['ensurepip'] = None")
    done = project.run(UV_EXIT="2")
    assert len(project.installations) == 1
    assert "run: uv could not; trying pip\nrun: this Python lacks pip for a new .venv." in done.stderr


def test_an_optional_part_stays_installed(project: Project) -> None:
    project.has_uv()
    bot_of(project.run("--with", "gpu", "check"))
    bot_of(project.run())
    (project.folder / "constraints.txt").write_text("something==1\n")
    bot_of(project.run())
    assert [line.split(" find")[0].rpartition(" ")[2] for line in project.installations] == [".[gpu]"] * 2


def test_the_whole_suite_runs_on_all_cores_and_a_part_of_it_as_asked(project: Project) -> None:
    project.has_uv()
    assert bot_of(project.run("test"))[:2] == ["-n", str(min(4, (os.cpu_count() or 1) + 2))]
    assert bot_of(project.run("test", "-k", "album")) == ["-k", "album"]
    assert project.installations[0].split(" find")[0].endswith("-e .[dev]")


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(project: Project, file: str) -> None:
    project.has_uv()
    bot_of(project.run())
    with (project.folder / file).open("a") as stream:
        stream.write("# changed\n")
    done = project.run()
    assert "Installing" in done.stderr
    assert "Making" not in done.stderr


def test_a_moved_folder_gets_a_new_venv(project: Project) -> None:
    project.has_uv()
    bot_of(project.run())
    project.folder = project.folder.rename(project.folder.parent / "moved")
    assert "Making .venv" in project.run().stderr


def test_a_killed_installation_is_begun_again(project: Project) -> None:
    project.has_uv(UV.replace("exit", "kill -9 $PPID; exit"))
    assert project.run().returncode == -9
    project.has_uv()
    assert "Making .venv" in project.run().stderr


@pytest.mark.parametrize("lost", ["pyvenv.cfg", "bin/python", "installed.json", "bin"])
def test_a_half_lost_venv_is_made_again(project: Project, lost: str) -> None:
    project.has_uv()
    bot_of(project.run())
    part = project.folder / ".venv" / lost
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink()
    done = project.run()
    assert bot_of(done) == []
    assert "Making .venv" in done.stderr


def test_a_failed_update_leaves_the_old_installation_usable(project: Project) -> None:
    project.has_uv()
    bot_of(project.run())
    project.machine("sys.modules['ensurepip'] = None")
    assert project.run("--with", "gpu", UV_EXIT="1").returncode == 1
    assert project.run().stderr == ""


def test_a_python_in_pieces_is_told_the_debian_package(project: Project) -> None:
    project.machine("sys.modules['ensurepip'] = None")
    done = project.run()
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "run: this Python lacks pip for a new .venv. "
        f"On Debian and Ubuntu: sudo apt install python{version}-venv (or python3-venv)."
    )


def test_an_old_python_is_told_in_a_sentence(project: Project) -> None:
    ast.parse(RUN.read_text(), feature_version=(3, 7))  # it must get as far as saying so
    project.machine("sys.version_info = (3, 9, 2)")
    done = project.run()
    assert done.returncode == 1
    assert done.stderr == (
        "run: this is Python 3.9, the bot needs 3.11 or newer. "
        "Try python3.11, python3.12 or python3.13 in place of python3.\n"
    )


@pytest.mark.parametrize("args", [["--with"], ["--with", "gpt"], ["--with", "gpu,,"]])
def test_an_unknown_part_is_refused_before_anything_is_made(project: Project, args: list[str]) -> None:
    done = project.run(*args)
    assert done.returncode == 1
    assert "--with takes one or more of gpu, quantization, postgres, heic, otel, dev" in done.stderr
    assert not (project.folder / ".venv").exists()


def test_the_bots_own_exit_code_comes_through(project: Project) -> None:
    project.has_uv()
    (project.folder / "bot" / "__main__.py").write_text("raise SystemExit(78)")
    assert project.run().returncode == 78


def test_bytecode_is_kept_where_none_may_lie_beside_the_sources(project: Project) -> None:
    project.has_uv()
    (project.folder / "bot" / "__main__.py").write_text(COMPILED)
    assert project.run().stdout == "False None\n"
    kept = project.run(PYTHONDONTWRITEBYTECODE="1")
    assert kept.stdout == f"False {project.folder}/.venv/bytecode\n"
    assert (project.folder / ".venv" / "bytecode").is_dir()
    assert project.run(PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX="/else").stdout == "False /else\n"
