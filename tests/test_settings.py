"""Settings as an operator meets them: names in the environment or `.env`, complaints on a line each."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bot.errors import BadConfiguration
from bot.misspelt import misspelt_in_environment
from bot.settings import NAMES, Settings

TOKEN = "123456789:" + "A" * 35


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def problems_of(monkeypatch: pytest.MonkeyPatch, **values: str) -> list[str]:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadConfiguration) as caught:
        Settings.read()
    return caught.value.problems


def test_every_setting_has_a_default() -> None:
    settings = Settings.read()
    assert (settings.context_turns, settings.http_host, settings.http_port) == (5, "127.0.0.1", 8080)
    assert settings.database == "sqlite:///data/bot.db"


BROKEN = {
    "not a token": (
        {"TELEGRAM_BOT_TOKEN": "my-bot"},
        "TELEGRAM_BOT_TOKEN is not a bot token: digits, a colon, then letters, digits, - and _",
        "TELEGRAM_BOT_TOKEN=123456789:AAExampleExampleExampleExampleExamp",
    ),
    "token cut short": (
        {"TELEGRAM_BOT_TOKEN": "123456789:AAE"},
        "TELEGRAM_BOT_TOKEN is cut short: 3 characters after the colon, Telegram gives 35",
        "TELEGRAM_BOT_TOKEN=123456789:AAExampleExampleExampleExampleExamp",
    ),
    "webhook without a secret": (
        {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_WEBHOOK_URL": "https://bot.example.com"},
        "TELEGRAM_WEBHOOK_URL needs TELEGRAM_WEBHOOK_SECRET beside it",
        "TELEGRAM_WEBHOOK_URL=https://bot.example.com",
    ),
    "webhook without TLS": (
        {"TELEGRAM_WEBHOOK_URL": "http://bot.example.com", "TELEGRAM_WEBHOOK_SECRET": "s"},
        "TELEGRAM_WEBHOOK_URL must begin with https://, Telegram calls no other",
        "TELEGRAM_WEBHOOK_URL=https://bot.example.com",
    ),
    "webhook port Telegram does not call": (
        {"TELEGRAM_WEBHOOK_URL": "https://bot.example.com:9000", "TELEGRAM_WEBHOOK_SECRET": "s"},
        "TELEGRAM_WEBHOOK_URL has port 9000, Telegram calls only 443, 80, 88, 8443",
        "TELEGRAM_WEBHOOK_URL=https://bot.example.com",
    ),
    "webhook secret with a space": (
        {"TELEGRAM_WEBHOOK_SECRET": "two words"},
        "TELEGRAM_WEBHOOK_SECRET may hold letters, digits, _ and - only, up to 256 of them",
        "TELEGRAM_WEBHOOK_SECRET=f0c21e7d93b84b5a",
    ),
    "model server without a scheme": (
        {"MODEL_URL": "127.0.0.1:8000/v1"},
        "MODEL_URL must be an address that begins with http:// or https://",
        "MODEL_URL=http://127.0.0.1:8000/v1",
    ),
    "model server with the key in its address": (
        {"MODEL_URL": "https://user:hunter2@model.example.com"},
        "MODEL_URL must not hold a name or password; the key is a setting of its own",
        "MODEL_URL=http://127.0.0.1:8000/v1",
    ),
    "guard server without a model": (
        {"GUARD_URL": "http://127.0.0.1:8001"},
        "GUARD_URL and GUARD_MODEL go together: set both or neither",
        "GUARD_URL=http://127.0.0.1:8001/v1",
    ),
    "guard model without a server": (
        {"GUARD_MODEL": "Qwen/Qwen3Guard-Gen-4B"},
        "GUARD_URL and GUARD_MODEL go together: set both or neither",
        "GUARD_URL=http://127.0.0.1:8001/v1",
    ),
    "port in words": (
        {"HTTP_PORT": "eighty"},
        "HTTP_PORT 'eighty' is not a whole number",
        "HTTP_PORT=8080",
    ),
    "port too high": (
        {"HTTP_PORT": "80800"},
        "HTTP_PORT '80800' must be 65535 or less",
        "HTTP_PORT=8080",
    ),
    "host with a port": (
        {"HTTP_HOST": "0.0.0.0:8080"},
        "HTTP_HOST '0.0.0.0:8080' is no address or host name; the port is HTTP_PORT",
        "HTTP_HOST=127.0.0.1",
    ),
    "no turns": (
        {"CONTEXT_TURNS": "0"},
        "CONTEXT_TURNS '0' must be 1 or more",
        "CONTEXT_TURNS=5",
    ),
    "too many turns": (
        {"CONTEXT_TURNS": "51"},
        "CONTEXT_TURNS '51' must be 50 or less",
        "CONTEXT_TURNS=5",
    ),
    "more turns trimmed than there are": (
        {"CONTEXT_TURNS": "3", "CONTEXT_TRIM": "4"},
        "CONTEXT_TRIM must be CONTEXT_TURNS (3) or less",
        "CONTEXT_TRIM=3",
    ),
    "no time": (
        {"MODEL_TIMEOUT_S": "0"},
        "MODEL_TIMEOUT_S '0' must be more than 0",
        "MODEL_TIMEOUT_S=120",
    ),
    "endless rate": (
        {"TELEGRAM_SENDS_PER_S": "inf"},
        "TELEGRAM_SENDS_PER_S 'inf' is not a number that one can count to",
        "TELEGRAM_SENDS_PER_S=30",
    ),
    "Redis over http": (
        {"REDIS_URL": "http://127.0.0.1:6379"},
        "REDIS_URL must begin with redis://, rediss:// or unix://",
        "REDIS_URL=redis://127.0.0.1:6379/0",
    ),
    "another database": (
        {"DATABASE_URL": "mysql://bot:hunter2@db/bot"},
        "DATABASE_URL must begin with sqlite://, postgresql:// or postgresql+psycopg://",
        "DATABASE_URL=postgresql://bot:password@127.0.0.1/bot",
    ),
    "relative SQLite file": (
        {"DATABASE_URL": "sqlite://bot.db"},
        "DATABASE_URL needs three slashes before the path of the file: sqlite:///data/bot.db",
        "DATABASE_URL=postgresql://bot:password@127.0.0.1/bot",
    ),
    "data in a file": (
        {"DATA_DIR": "/dev/null"},
        "DATA_DIR cannot be a folder: /dev/null is a file",
        "DATA_DIR=./data",
    ),
    "quantization of another kind": (
        {"MODEL_QUANTIZATION": "gguf"},
        "MODEL_QUANTIZATION 'gguf' must be '', '4bit' or '8bit'",
        "MODEL_QUANTIZATION=4bit",
    ),
    "allowed host as an address": (
        {"ALLOWED_HOSTS": "example.com, https://example.com/help"},
        "ALLOWED_HOSTS holds 'https://example.com/help', which is no host name: no scheme, path or port",
        "ALLOWED_HOSTS=example.com,help.example.com",
    ),
    "telephone in words": (
        {"ALLOWED_PHONES": "call us"},
        "ALLOWED_PHONES holds 'call us', which is no telephone number",
        "ALLOWED_PHONES=+86 10 1234 5678,4008123456",
    ),
    "log format": (
        {"LOG_FORMAT": "xml"},
        "LOG_FORMAT 'xml' must be '', 'text' or 'json'",
        "LOG_FORMAT=json",
    ),
    "log level": (
        {"LOG_LEVEL": "loud"},
        "LOG_LEVEL 'LOUD' must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
        "LOG_LEVEL=INFO",
    ),
    "staff chat by name": (
        {"TELEGRAM_STAFF_CHAT_ID": "@our_staff"},
        "TELEGRAM_STAFF_CHAT_ID '@our_staff' is not a whole number",
        "TELEGRAM_STAFF_CHAT_ID=-1001234567890",
    ),
}


@pytest.mark.parametrize(("values", "what", "example"), BROKEN.values(), ids=BROKEN)
def test_a_wrong_setting_is_named_with_an_example_of_right(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], what: str, example: str
) -> None:
    assert problems_of(monkeypatch, **values) == [f"{what}; for example {example}"]


def test_all_problems_are_reported_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("this is not a line\nTELEGRAM_BOT_TOKNE=1:a\nLOG_LEVEL=chatty\n")
    found = problems_of(monkeypatch, HTTP_PORT="x", CONTEXT_TURNS="99", GUARD_URL="http://guard")
    assert [problem.split()[0] for problem in found] == [
        ".env:",
        "TELEGRAM_BOT_TOKNE",
        "GUARD_URL",
        "CONTEXT_TURNS",
        "HTTP_PORT",
        "LOG_LEVEL",
    ]


def test_misspelt_names_in_the_environment_are_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "TELEGRAM_BOT_TOKN",
        "MODEL_HOST",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "MODEL_API_KEY_FILE",
    ):
        monkeypatch.setenv(name, "x")
    assert misspelt_in_environment(NAMES, {"MODEL_API_KEY"}) == [
        "TELEGRAM_BOT_TOKN in the environment is no setting; did you mean TELEGRAM_BOT_TOKEN?"
    ]


def test_misspelt_names_in_the_file_are_named_with_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "TELEGRAM_BOT_TOKNE=1:a\nMODEL_HOST=x\nPOSTGRES_PASSWORD=x\nHTTP_PROXY=x\n"
    )
    assert problems_of(monkeypatch) == [
        "TELEGRAM_BOT_TOKNE in .env is no setting; did you mean TELEGRAM_BOT_TOKEN?",
        "MODEL_HOST in .env is no setting; did you mean MODEL?",
    ]


def test_a_line_that_cannot_be_read_is_named_by_its_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("HTTP_PORT=1\n\n\nMODEL 'x\n")
    assert problems_of(monkeypatch) == [".env: line 4 is not NAME=value; for example HTTP_PORT=8080"]


def test_a_file_in_another_encoding_is_refused_not_guessed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes("ALLOWED_HOSTS=例子".encode("gb18030"))
    assert problems_of(monkeypatch) == [".env: is not text in UTF-8; save it as UTF-8"]


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\ufeffHTTP_PORT=1\nCONTEXT_TURNS=7 # a note\nMODEL_TIMEOUT_S=\n")
    monkeypatch.setenv("HTTP_PORT", "2")
    settings = Settings.read()
    assert (settings.http_port, settings.context_turns, settings.model_timeout_s) == (2, 7, 120)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("https://model.example.com/v1/chat/completions", "https://model.example.com/v1"),
        ("https://example.com/llm", "https://example.com/llm/v1"),
        ("https://example.com/compatible-mode/v1", "https://example.com/compatible-mode/v1"),
        ("https://example.com/api/paas/v4", "https://example.com/api/paas/v4"),
        ("https://example.com/v1beta/openai/", "https://example.com/v1beta/openai"),
    ],
)
def test_model_server_is_used_up_to_its_version(
    monkeypatch: pytest.MonkeyPatch, given: str, used: str
) -> None:
    monkeypatch.setenv("MODEL_URL", given)
    assert Settings.read().model_url == used


@pytest.mark.parametrize(
    "given",
    [
        "https://bot.example.com",
        "https://bot.example.com/",
        "https://bot.example.com/telegram/webhook",
        "https://bot.example.com:443/telegram/webhook/",
    ],
)
def test_webhook_may_be_given_with_or_without_our_route(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_WEBHOOK_SECRET", "secret")
    monkeypatch.setenv("TELEGRAM_WEBHOOK_URL", given)
    assert Settings.read().telegram_webhook_url.removesuffix(":443") == "https://bot.example.com"


def test_a_bot_api_server_of_ones_own_takes_any_token_and_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_API_URL", "http://127.0.0.1:8081/")
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "42:test")
    monkeypatch.setenv("TELEGRAM_WEBHOOK_SECRET", "secret")
    monkeypatch.setenv("TELEGRAM_WEBHOOK_URL", "http://127.0.0.1:9999")
    settings = Settings.read()
    assert settings.telegram_api_url == "http://127.0.0.1:8081"
    assert settings.telegram_webhook_url == "http://127.0.0.1:9999"


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", " Example.com , help.example.com,")
    assert Settings.read().allowed_hosts == ("example.com", "help.example.com")


SECRETS = {
    "TELEGRAM_BOT_TOKEN": TOKEN,
    "TELEGRAM_WEBHOOK_SECRET": "hunter2",
    "MODEL_API_KEY": "hunter2",
    "GUARD_API_KEY": "hunter2",
    "REDIS_URL": "redis://:hunter2@redis/0",
    "DATABASE_URL": "postgresql://bot:hunter2@db/bot",
}


def test_secrets_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    shown = repr(Settings.read())
    assert "hunter2" not in shown
    assert TOKEN not in shown


def test_all_secrets_are_handed_to_the_log_to_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert sorted(Settings.read().secrets) == sorted([TOKEN] + ["hunter2"] * 5)


@pytest.mark.parametrize("name", SECRETS)
def test_a_complaint_never_shows_the_secret(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert "hunter2" not in "\n".join(
        problems_of(monkeypatch, **{name: "hunter2 \u2028 ,x y", "HTTP_PORT": "x"})
    )


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        Settings.read().http_port = 1
