"""Secrets from files, as an operator mounts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.errors import BadConfiguration
from bot.settings import NAMES, Settings
from tests.until import PROCESS_S

TOKEN = "123456789:" + "A" * 35
SECRETS = [name for name in NAMES if Settings.model_fields[name.lower()].annotation is SecretStr]
DOCUMENT = (Path(__file__).parent.parent / "docs" / "settings.md").read_text("utf-8")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_secret_is_read_from_the_file_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "keys").write_text("first-key-0123456789\nsecond-key-0123456789\n")
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / ".env").write_text("API_KEYS_FILE=keys\n")
    settings = Settings.read()
    assert settings.telegram_bot_token.get_secret_value() == TOKEN
    assert settings.api_key_list == ["first-key-0123456789", "second-key-0123456789"]
    assert {TOKEN, "second-key-0123456789"} <= set(settings.secrets)
    assert TOKEN not in repr(settings)


def test_no_setting_of_a_secrets_kind_is_a_plain_text() -> None:
    words = ("token", "secret", "password", "_key")
    plain = {name for name in NAMES if any(word in name.lower() for word in words)} - set(SECRETS)
    assert {name for name in plain if Settings.model_fields[name.lower()].annotation is str} == set()


def test_every_secret_that_may_lie_in_a_file_is_in_the_document() -> None:
    paragraph = DOCUMENT.partition("Each secret can also be read from a file")[2].partition("##")[0]
    assert [name for name in SECRETS if f"`{name}`" not in paragraph] == []


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        (b" \n", "is empty"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        (b"x" * 70_000, "has more than 64 KB"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv(f"{name}_FILE", str(file))
    with pytest.raises(BadConfiguration) as caught:
        Settings.read()
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name} is to be read from {file} ({name}_FILE), which {why}; for example")


def test_a_secret_set_both_ways_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    with pytest.raises(BadConfiguration, match="TELEGRAM_BOT_TOKEN_FILE are both set"):
        Settings.read()


def test_the_bot_ends_with_78_and_never_shows_what_it_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("9:not-a-whole-token")
    environment = os.environ | {"TELEGRAM_BOT_TOKEN_FILE": str(tmp_path / "token"), "AUDIT_KEY_FILE": "gone"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "bot", "run"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        check=False,
    )
    assert done.returncode == 78
    assert done.stderr.count("\n") == 2
    assert "not-a-whole-token" not in done.stderr
