"""`python -m bot check` against real parts: what it says of each, and how it exits."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bot.__main__ import main
from bot.cli import check
from bot.cli.parts import PARTS
from bot.settings import NAMES
from context.console.accounts import Staff
from context.db import Database
from context.upkeep.schema import NEWEST
from tests.bot_api.faults import unauthorized
from tests.bot_api.server import BotApiServer
from tests.model_server import ModelServer
from tests.tiny_model import tiny_model
from tests.web_world import open_world

Says = Callable[..., Awaitable[dict[str, str]]]


@pytest.fixture(autouse=True)
def fresh_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PORT", "0")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def check_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    """Checks one part under these settings; its standing, and the exit code as `exit`."""

    async def look(part: str, *, online: bool = False, **settings: str) -> dict[str, str]:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        code = await check.run([part], online=online, as_json=True)
        return {**json.loads(capsys.readouterr().out)[part], "exit": str(code)}

    return look


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that even root cannot write to")
async def test_a_data_folder_that_cannot_be_written_is_found_before_the_start(check_of: Says) -> None:
    said = await check_of("data", DATA_DIR="/proc/bot")
    assert (said["state"], said["exit"]) == ("fail", "1")
    assert said["detail"].startswith("/proc cannot be written: ")
    assert "DATA_DIR" in said["mend"]


def test_a_fresh_machine_passes_and_is_told_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check"])
    lines = capsys.readouterr().out.splitlines()
    marks = {line.split()[1]: line.split()[0] for line in lines if line[:4].strip() in {"ok", "warn", "fail"}}
    assert code == 0, lines
    assert set(marks) == set(PARTS)
    assert {part for part, mark in marks.items() if mark == "warn"} == {"telegram", "model", "staff"}
    assert any("-> TELEGRAM_BOT_TOKEN, from @BotFather" in line for line in lines)
    assert not Path("data").exists()


async def test_the_test_photo_is_taken_in_and_read(check_of: Says) -> None:
    assert (await check_of("photos"))["state"] == "ok"
    assert (await check_of("ocr"))["detail"] == "read E4 on a test photo"


def test_a_part_that_there_is_not_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "reddis"]) == 2
    assert "no part reddis; there are python, settings" in capsys.readouterr().err


async def test_what_the_guard_would_not_let_out_of_the_companys_own_words_is_named(
    check_of: Says, tmp_path: Path
) -> None:
    assert (await check_of("company"))["state"] == "ok"
    data = tmp_path / "data"
    data.mkdir()
    told = "\n\nWe are Northwind.\n\nHotline: 010-5550-0142\n- www.northwind.example\n"
    (data / "company.md").write_text(f"{told}- In the first month you will get a full\n  refund from us.\n")
    said = await check_of("company", DATA_DIR=str(data))
    assert said["state"] == "warn"
    places = "line 5 (contact.phone); line 6 (contact.link); lines 7 to 8 (promise.refund)"
    assert f"no reply may say {places}" in said["detail"]
    (data / "company.md").write_text(told)
    allowed = {"ALLOWED_PHONES": "010-5550-0142", "ALLOWED_HOSTS": "northwind.example"}
    assert (await check_of("company", DATA_DIR=str(data), **allowed))["state"] == "ok"
    (data / "company.md").write_bytes(b"\xff")
    assert (await check_of("company", DATA_DIR=str(data)))["state"] == "fail"


# --- Telegram


async def test_telegram_is_asked_only_online(check_of: Says) -> None:
    async with BotApiServer() as telegram:
        settings = {"TELEGRAM_API_URL": telegram.url, "TELEGRAM_BOT_TOKEN": telegram.token}
        offline = await check_of("telegram", **settings)
        assert (offline["state"], telegram.calls) == ("ok", [])
        online = await check_of("telegram", online=True, **settings)
        assert (online["state"], online["detail"]) == ("ok", "@support_bot, polling")


async def test_a_refused_token_fails_and_is_not_printed(check_of: Says) -> None:
    async with BotApiServer() as telegram:
        telegram.faults.on("getMe", unauthorized(), times=None)
        said = await check_of(
            "telegram", online=True, TELEGRAM_API_URL=telegram.url, TELEGRAM_BOT_TOKEN=telegram.token
        )
    assert (said["state"], said["exit"]) == ("fail", "1")
    assert "TELEGRAM_BOT_TOKEN" in said["detail"]
    assert telegram.token not in json.dumps(said)


async def test_telegram_out_of_reach_fails(check_of: Says) -> None:
    said = await check_of(
        "telegram",
        online=True,
        TELEGRAM_API_URL=f"http://127.0.0.1:{closed_port()}",
        TELEGRAM_BOT_TOKEN="4:x",
    )
    assert said["state"] == "fail"
    assert "TELEGRAM_API_URL" in said["mend"]


# --- The model


async def test_a_model_server_is_asked_only_online(check_of: Says) -> None:
    async with ModelServer(dialect="vllm", models=("support-model",)) as server:
        assert "not asked" in (await check_of("model", MODEL_URL=server.url))["detail"]
        said = await check_of("model", online=True, MODEL_URL=server.url, MODEL="support-model")
    assert said["state"] == "ok", said
    assert "support-model" in said["detail"]


async def test_a_model_that_the_server_lacks_is_named(check_of: Says) -> None:
    async with ModelServer(dialect="vllm", models=("support-model",)) as server:
        said = await check_of("model", online=True, MODEL_URL=server.url, MODEL="another")
    assert said["state"] == "warn", said
    assert "support-model" in said["detail"]


async def test_a_model_server_out_of_reach_is_shown_with_what_mends_it(check_of: Says) -> None:
    said = await check_of("model", online=True, MODEL_URL=f"http://127.0.0.1:{closed_port()}")
    assert said["state"] in {"warn", "fail"}
    assert "MODEL_URL" in said["mend"]


async def test_a_folder_without_a_model_fails(check_of: Says, tmp_path: Path) -> None:
    said = await check_of("model", MODEL=str(tmp_path))
    assert (said["state"], said["detail"]) == ("fail", f"{tmp_path} holds no config.json")


async def test_a_model_on_this_machine_is_measured_without_loading_it(check_of: Says) -> None:
    said = await check_of("model", MODEL=tiny_model())
    assert said["state"] == "ok", said
    sums = r": 0\.0 GB of \w+ for [\d.]+ GB on \w+, \d+ chats at once, \d+ remembered; "
    assert re.search(sums + r"continuous batching, steps \w+, attention text: \w+", said["detail"])


async def test_a_model_that_is_not_here_is_announced(
    check_of: Says, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    said = await check_of("model", MODEL="somebody/some-model")
    assert (said["state"], said["detail"]) == (
        "warn",
        "somebody/some-model is not on this machine: the first start downloads it",
    )


# --- Stores


async def test_the_database_is_looked_at_and_not_made(check_of: Says, tmp_path: Path) -> None:
    assert (await check_of("database"))["detail"] == "will be made in data"
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - an async test may not use Path for it


async def test_a_database_in_use_is_read_beside_the_bot(check_of: Says, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/bot.db")
    said = await check_of("database", DATA_DIR=str(tmp_path))
    await database.close()
    assert (said["state"], said["detail"]) == ("ok", f"schema {NEWEST}")


async def test_a_database_of_a_newer_version_fails(check_of: Says, tmp_path: Path) -> None:
    await Database(f"sqlite:///{tmp_path}/bot.db").close()
    with sqlite3.connect(tmp_path / "bot.db") as connection:
        connection.execute("INSERT INTO migrations (number) VALUES (999)")
    connection.close()
    said = await check_of("database", DATA_DIR=str(tmp_path))
    assert (said["state"], said["mend"]) == ("fail", "run the newer version")


async def test_a_console_without_accounts_is_named_with_what_mends_it(check_of: Says, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/bot.db")
    said = await check_of("staff", DATA_DIR=str(tmp_path))
    assert (said["state"], said["mend"]) == ("warn", "python -m bot staff add NAME --role admin")
    await Staff(database).add("mei", "agent", "hash")
    await database.close()
    said = await check_of("staff", DATA_DIR=str(tmp_path))
    assert (said["state"], said["detail"]) == ("ok", "accounts for the console at /staff: 1")


async def test_a_file_that_is_no_database_fails(check_of: Says, tmp_path: Path) -> None:
    (tmp_path / "bot.db").write_text("a letter to somebody" * 100)
    said = await check_of("database", DATA_DIR=str(tmp_path))
    assert said["state"] == "fail"
    assert "not a database" in said["detail"]


async def test_postgres_out_of_reach_fails_without_its_password(check_of: Says) -> None:
    said = await check_of("database", DATABASE_URL=f"postgresql://bot:hunter2@127.0.0.1:{closed_port()}/bot")
    assert said["state"] == "fail"
    assert "hunter2" not in json.dumps(said)


async def test_redis_out_of_reach_is_shown_with_what_mends_it(check_of: Says) -> None:
    said = await check_of("redis", REDIS_URL=f"redis://:hunter2@127.0.0.1:{closed_port()}/0")
    assert (said["state"], said["mend"]) == ("fail", "REDIS_URL, or the server it names")
    assert "hunter2" not in json.dumps(said)


# --- The port


async def test_a_port_that_another_program_has_fails(check_of: Says) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = await check_of("port", HTTP_PORT=str(port))
    assert (said["state"], said["mend"]) == ("fail", "HTTP_PORT, HTTP_HOST")


async def test_a_bot_at_work_has_its_port(check_of: Says, tmp_path: Path) -> None:
    async with open_world(tmp_path / "site") as world:
        port = world.url.rpartition(":")[2]
        said = await check_of("port", HTTP_PORT=port)
    assert (said["state"], said["detail"]) == ("ok", f"a bot is answering on 127.0.0.1:{port}")


# --- The command line


@pytest.mark.parametrize("command", [[], ["run"], ["check"], ["check", "--json"]])
def test_bad_configuration_ends_every_command_with_78_and_all_problems(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTP_PORT", "eighty")
    monkeypatch.setenv("MODEL_URL", "model.example.com")
    assert main(command) == 78
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["MODEL_URL", "HTTP_PORT"]


@pytest.mark.parametrize("command", [["runn"], ["check", "--offline"], ["--verbose"]])
def test_a_wrong_command_line_is_a_usage_error(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2
    assert "usage: python -m bot" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("photo-support-bot 0.")


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
