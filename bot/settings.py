"""Settings: one frozen value, read once from the environment and `.env`; all problems are reported together.

Only `bot.app`, `bot.cli` and `bot.__main__` know this type; every other part takes plain constructor
arguments.  The name of a setting is the name of its field in capitals; the field's `examples` entry is the
correct value that an error message shows.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bot.addresses import http_url, is_host, openai_url, scheme_of
from bot.env_file import look_through
from bot.errors import BadConfiguration
from bot.hours import Hours
from bot.secret_files import SecretFiles, Unusable

TELEGRAM = "https://api.telegram.org"
TOKEN_LENGTH = 30
"""Fewest characters after the colon (today there are 35).  Other Bot API servers accept any token."""
API_KEY_LENGTH = 16
"""Fewest characters of a key: shorter ones could be guessed."""
WEBHOOK_PATH = "/telegram/webhook"
WEBHOOK_PORTS = (443, 80, 88, 8443)
"""https://core.telegram.org/bots/api#setwebhook; a self-hosted Bot API server accepts any port."""

_Words = Annotated[tuple[str, ...], NoDecode]


def _setting(default: Any, example: str, **limits: Any) -> Any:
    return Field(default, examples=[example], **limits)


class Settings(BaseSettings):
    """What the operator decided.  `Settings.read()` makes one; secrets stay masked when it is printed."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, validate_default=False
    )

    # Order matters: a rule about two settings is at the later one and finds the earlier in `info.data`.
    telegram_api_url: str = _setting(TELEGRAM, "http://127.0.0.1:8081")
    telegram_bot_token: SecretStr = _setting(SecretStr(""), "123456789:AAExampleExampleExampleExampleExamp")
    telegram_webhook_secret: SecretStr = _setting(SecretStr(""), "f0c21e7d93b84b5a")
    telegram_webhook_url: str = _setting("", "https://bot.example.com")
    telegram_sends_per_s: float = _setting(30.0, "30", ge=0, allow_inf_nan=False)
    telegram_chat_sends_per_s: float = _setting(1.0, "1", ge=0, allow_inf_nan=False)
    telegram_staff_chat_id: int | None = _setting(None, "-1001234567890")

    staff_hours: str = _setting("", "mon-fri 09:00-18:00; sat 10:00-14:00")
    staff_time_zone: str = _setting("UTC", "Asia/Shanghai")
    follow_up_h: float = _setting(24.0, "24", ge=0, le=168, allow_inf_nan=False)

    model_url: str = _setting("", "http://127.0.0.1:8000/v1")
    model_api_key: SecretStr = _setting(SecretStr(""), "sk-example")
    model: str = _setting("", "Qwen/Qwen3-VL-8B-Instruct")
    model_timeout_s: float = _setting(120.0, "120", gt=0, le=3600)
    model_quantization: Literal["", "4bit", "8bit"] = _setting("", "4bit")
    ocr: Literal["", "always"] = _setting("", "always")

    guard_model: str = _setting("", "Qwen/Qwen3Guard-Gen-4B")
    guard_url: str = _setting("", "http://127.0.0.1:8001/v1", validate_default=True)
    guard_api_key: SecretStr = _setting(SecretStr(""), "sk-example")
    guard_timeout_s: float = _setting(5.0, "5", gt=0, le=3600)
    allowed_hosts: _Words = _setting((), "example.com,help.example.com")
    allowed_phones: _Words = _setting((), "+86 10 1234 5678,4008123456")

    redis_url: SecretStr = _setting(SecretStr(""), "redis://127.0.0.1:6379/0")
    database_url: SecretStr = _setting(SecretStr(""), "postgresql://bot:password@127.0.0.1/bot")
    audit_key: SecretStr = _setting(SecretStr(""), "a long random line, the same for every worker")
    retention_chats_days: int = _setting(0, "365", ge=0, le=36_500)
    retention_photos_days: int = _setting(0, "90", ge=0, le=36_500)
    retention_access_days: int = _setting(0, "365", ge=0, le=36_500)
    data_dir: Path = _setting(Path("data"), "./data", validate_default=True)
    context_turns: int = _setting(5, "5", ge=1, le=50)
    context_trim: int = _setting(1, "3", ge=1, le=50)
    context_tokens: int = _setting(2048, "2048", ge=256, le=1_000_000)
    cache_ttl_s: float = _setting(0.0, "86400", ge=0, le=31_536_000, allow_inf_nan=False)

    customer_messages_per_min: int = _setting(30, "30", ge=0, le=100_000)
    customer_messages_per_day: int = _setting(1000, "1000", ge=0, le=100_000)
    customer_photos_per_hour: int = _setting(100, "100", ge=0, le=100_000)
    customer_tokens_per_day: int = _setting(1_000_000, "1000000", ge=0, le=10**12)

    api_keys: SecretStr = _setting(SecretStr(""), "a-long-random-line,another-one-for-another-app")
    api_at_once: int = _setting(16, "16", ge=1, le=10_000)

    http_host: str = _setting("127.0.0.1", "127.0.0.1")
    http_port: int = _setting(8080, "8080", ge=0, le=65535)
    otel_exporter_otlp_endpoint: str = _setting("", "http://127.0.0.1:4318")
    log_format: Literal["", "text", "json"] = _setting("", "json")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting("INFO", "INFO")

    @classmethod
    def read(cls, *, env_file: Path | None = Path(".env")) -> Self:
        """Read the environment, and `env_file` if it exists; the environment wins.

        Raises BadConfiguration with all problems of both, one line each.
        """
        problems: list[str] = []
        logging.getLogger("dotenv").setLevel(logging.ERROR)  # broken lines are ours to report, by number
        if env_file is not None and env_file.exists():
            unreadable, problems = look_through(env_file, NAMES, SECRETS)
            env_file = None if unreadable else env_file
        try:
            settings = cls(_env_file=env_file, _env_file_encoding="utf-8-sig")  # type: ignore[call-arg]  # their own
        except ValidationError as error:
            problems += [_sentence(item) for item in error.errors(include_url=False)]
        if problems:
            raise BadConfiguration(problems)
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # a folder of theirs; we name files
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources of settings, strongest first: arguments, files with secrets, environment, `.env`."""
        assert isinstance(env_settings, EnvSettingsSource)
        assert isinstance(dotenv_settings, DotEnvSettingsSource)
        files = SecretFiles(settings_cls, beside=(env_settings, dotenv_settings))
        return init_settings, files, env_settings, dotenv_settings

    @property
    def database(self) -> str:
        """Address of the database, also if none was set.  May contain a password."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir}/bot.db"

    @property
    def api_key_list(self) -> list[str]:
        """The keys in `api_keys`, separated by commas, spaces or line ends."""
        return [key for key in re.split(r"[,\s]+", self.api_keys.get_secret_value()) if key]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must not appear in a log, including passwords inside addresses."""
        values = (getattr(self, name) for name in type(self).model_fields)
        plain = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        plain += self.api_key_list
        passwords = [urlsplit(value).password or "" for value in plain if "://" in value]
        return tuple(value for value in plain + passwords if value and "://" not in value)

    @field_validator("*", mode="before")
    @classmethod
    def _trimmed(cls, value: object) -> object:
        if isinstance(value, Unusable):
            raise ValueError(value.why)  # noqa: TRY004  # the file is wrong, not a type
        return value.strip() if isinstance(value, str) else value

    @field_validator("telegram_api_url")
    @classmethod
    def _bot_api(cls, value: str) -> str:
        return http_url(value).geturl().rstrip("/").removesuffix("/bot")

    @field_validator("telegram_bot_token")
    @classmethod
    def _token(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        found = re.fullmatch(r"\d+:([A-Za-z0-9_-]+)", value.get_secret_value())
        if not found:
            raise ValueError("is not a bot token: digits, a colon, then letters, digits, - and _")
        if info.data.get("telegram_api_url") == TELEGRAM and len(found[1]) < TOKEN_LENGTH:
            raise ValueError(f"is cut short: {len(found[1])} characters after the colon, Telegram gives 35")
        return value

    @field_validator("telegram_webhook_secret")
    @classmethod
    def _webhook_secret(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", value.get_secret_value()):
            raise ValueError("may hold letters, digits, _ and - only, up to 256 of them")
        return value

    @field_validator("telegram_webhook_url")
    @classmethod
    def _webhook(cls, value: str, info: ValidationInfo) -> str:
        url = http_url(value)
        if info.data.get("telegram_api_url") == TELEGRAM:
            if url.scheme != "https":
                raise ValueError("must begin with https://, Telegram calls no other")
            if (url.port or 443) not in WEBHOOK_PORTS:
                raise ValueError(
                    f"has port {url.port}, Telegram calls only {', '.join(map(str, WEBHOOK_PORTS))}"
                )
        for name in ("telegram_webhook_secret", "telegram_bot_token"):
            if name in info.data and not info.data[name].get_secret_value():
                raise ValueError(f"needs {name.upper()} beside it")
        return url._replace(path=url.path.rstrip("/").removesuffix(WEBHOOK_PATH)).geturl()

    @field_validator("staff_hours")
    @classmethod
    def _week(cls, value: str) -> str:
        Hours.parse(value)
        return value

    @field_validator("staff_time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        Hours.parse("", value)
        return value

    @field_validator("model_url")
    @classmethod
    def _model_server(cls, value: str) -> str:
        return openai_url(value)

    @field_validator("model")
    @classmethod
    def _model(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("model_url") == "" and importlib.util.find_spec("torch") is None:
            raise ValueError(
                "is to run on this machine, which needs `python3 run --with gpu`; or set MODEL_URL"
            )
        return value

    @field_validator("context_trim")
    @classmethod
    def _trim(cls, value: int, info: ValidationInfo) -> int:
        if value > (turns := info.data.get("context_turns", value)):
            raise ValueError(f"must be CONTEXT_TURNS ({turns}) or less")
        return value

    @field_validator("model_quantization")
    @classmethod
    def _quantization(cls, value: str) -> str:
        if value and importlib.util.find_spec("bitsandbytes") is None:
            raise ValueError("needs `python3 run --with gpu,quantization`")
        return value

    @field_validator("guard_url")
    @classmethod
    def _guard_server(cls, value: str, info: ValidationInfo) -> str:
        if "guard_model" in info.data and bool(value) != bool(info.data["guard_model"]):
            raise ValueError("and GUARD_MODEL go together: set both or neither")
        return openai_url(value) if value else value

    @field_validator("allowed_hosts", "allowed_phones", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(entry.strip() for entry in value.split(",") if entry.strip())
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not is_host(host):
                raise ValueError(f"holds {host!r}, which is no host name: no scheme, path or port")
        return tuple(host.lower() for host in value)

    @field_validator("allowed_phones")
    @classmethod
    def _phones(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for phone in value:
            if not re.fullmatch(r"\+?[\d ()-]{3,24}", phone):
                raise ValueError(f"holds {phone!r}, which is no telephone number")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        scheme_of(value.get_secret_value(), ("redis", "rediss", "unix"))
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        address = re.sub(r"^postgres(?=[:+])", "postgresql", value.get_secret_value())
        scheme = scheme_of(address, ("sqlite", "postgresql", "postgresql+psycopg"))
        if scheme == "sqlite" and not address.startswith("sqlite:///"):
            raise ValueError("needs three slashes before the path of the file: sqlite:///data/bot.db")
        if scheme != "sqlite" and importlib.util.find_spec("psycopg") is None:
            raise ValueError("is PostgreSQL, which needs `python3 run --with postgres`")
        return SecretStr(address)

    @field_validator("api_keys")
    @classmethod
    def _api_keys(cls, value: SecretStr) -> SecretStr:
        for key in re.split(r"[,\s]+", value.get_secret_value().strip()):
            if key and not re.fullmatch(rf"[\x21-\x7e]{{{API_KEY_LENGTH},512}}", key):
                raise ValueError(
                    f"holds a key of other than {API_KEY_LENGTH} to 512 visible ASCII characters"
                )
        return value

    @field_validator("data_dir")
    @classmethod
    def _writable(cls, value: Path) -> Path:
        value = value.expanduser()
        there = next(folder for folder in (value, *value.absolute().parents) if folder.exists())
        if not there.is_dir():
            raise ValueError(f"cannot be a folder: {there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ValueError(f"cannot be written: no permission in {there}")
        return value

    @field_validator("http_host")
    @classmethod
    def _host(cls, value: str) -> str:
        if not is_host(value):
            raise ValueError(f"{value!r} is no address or host name; the port is HTTP_PORT")
        return value

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _collector(cls, value: str) -> str:
        if importlib.util.find_spec("opentelemetry") is None:
            raise ValueError("needs `python3 run --with otel`")
        return http_url(value).geturl().removesuffix("/v1/traces")

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("log_format", "model_quantization", "ocr", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


NAMES = tuple(field.upper() for field in Settings.model_fields)
SECRETS = frozenset(
    name.upper() for name, field in Settings.model_fields.items() if field.annotation is SecretStr
)


def _sentence(error: ErrorDetails) -> str:
    """One line with the setting, what is wrong with it, and a correct example.  Never shows a secret."""
    field = str(error["loc"][0])
    info = Settings.model_fields[field]
    shown = "" if "Secret" in str(info.annotation) else f"{error['input']!r:.60} "
    ctx = error.get("ctx", {})
    what = {
        "value_error": str(ctx.get("error", "")),
        "int_parsing": f"{shown}is not a whole number",
        "int_parsing_size": f"{shown}is not a number that a computer holds",
        "float_parsing": f"{shown}is not a number",
        "finite_number": f"{shown}is not a number that one can count to",
        "greater_than": f"{shown}must be more than {ctx.get('gt', 0):g}",
        "greater_than_equal": f"{shown}must be {ctx.get('ge')} or more",
        "less_than_equal": f"{shown}must be {ctx.get('le')} or less",
        "literal_error": f"{shown}must be {ctx.get('expected')}",
    }.get(error["type"], error["msg"])
    return f"{field.upper()} {what}; for example {field.upper()}={info.examples[0] if info.examples else ''}"
