"""The parts that `python -m bot check` looks at: the state of each, and how to fix it.

Each part is built as `bot.app` builds it, tried, and closed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from bot.errors import BadConfiguration, EngineUnavailable
from bot.settings import NAMES, Settings
from context.health import Health

TEST_PHOTO = Path(__file__).parent / "check.png"
TEST_CODE = "E4"
GIB = 1024**3
LITTLE_DISK, TOO_LITTLE_DISK = 2 * GIB, GIB // 4


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one part."""

    state: Literal["ok", "warn", "fail"]
    detail: str
    mend: str = ""
    """The command or setting that fixes it; empty if nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to check, and how thoroughly."""

    settings: Settings
    online: bool


Look = Callable[[Asked], Awaitable[Standing]]


async def _python(_: Asked) -> Standing:
    return Standing("ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


async def _read(asked: Asked) -> Standing:
    given = [name for name in NAMES if name.lower() in asked.settings.model_fields_set]
    return Standing("ok", f"given: {', '.join(given)}" if given else "all at their defaults")


async def _telegram(asked: Asked) -> Standing:
    token = asked.settings.telegram_bot_token.get_secret_value()
    if not token:
        return Standing("warn", "no token: the chat page only", "TELEGRAM_BOT_TOKEN, from @BotFather")
    how = "webhook" if asked.settings.telegram_webhook_url else "polling"
    if not asked.online:
        return Standing("ok", f"token of bot {token.partition(':')[0]}, {how}; not asked (--online)")
    from bot.telegram.api import BotApi  # noqa: PLC0415 - heavy

    api = BotApi(token, url=asked.settings.telegram_api_url)
    try:
        await api.open()
        me = await api.me()
    finally:
        await api.close()
    return Standing("ok", f"@{me.username}, {how}")


async def _database(asked: Asked) -> Standing:
    from context.db import StoreDown  # noqa: PLC0415 - sqlalchemy
    from context.upkeep.schema import NEWEST, schema_of  # noqa: PLC0415

    try:
        number = await asyncio.to_thread(schema_of, asked.settings.database)
    except StoreDown as error:
        return Standing("fail", str(error), "DATABASE_URL, or the server it names")
    if number is None:
        return Standing("ok", f"will be made in {asked.settings.data_dir}")
    if number > NEWEST:
        return Standing("fail", f"schema {number}, this version knows {NEWEST}", "run the newer version")
    return Standing("ok", f"schema {number}" + (f", the start makes it {NEWEST}" if number < NEWEST else ""))


async def _retention(asked: Asked) -> Standing:
    from bot.app.records import lifetimes  # noqa: PLC0415 - sqlalchemy
    from bot.cli.retention import in_words  # noqa: PLC0415

    return Standing("ok", f"kept: {in_words(lifetimes(asked.settings))}")


async def _staff(asked: Asked) -> Standing:
    from context.db import StoreDown  # noqa: PLC0415 - sqlalchemy
    from context.upkeep.schema import staff_of  # noqa: PLC0415

    try:
        accounts = await asyncio.to_thread(staff_of, asked.settings.database)
    except StoreDown as error:
        return Standing("fail", str(error), "DATABASE_URL, or the server it names")
    if not accounts:
        return Standing(
            "warn", "nobody may use the console at /staff", "python -m bot staff add NAME --role admin"
        )
    return Standing("ok", f"accounts for the console at /staff: {accounts}")


async def _photos(_: Asked) -> Standing:
    from context.photos import Intake, Photos  # noqa: PLC0415 - starts a helper process
    from context.turns import Rejection  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        photos = Photos(Path(folder), intake=Intake(at_once=1))
        await photos.start()
        try:
            taken = await photos.take_in(TEST_PHOTO.read_bytes())
        finally:
            await photos.close()
    if isinstance(taken, Rejection):
        return Standing("fail", f"a test photo was refused: {taken.code} {taken.detail}".strip())
    return Standing("ok", f"a test photo was taken in at {taken.width} x {taken.height}")


async def _ocr(_: Asked) -> Standing:
    from bot.engines.ocr import Ocr, OcrUnavailable  # noqa: PLC0415

    ocr = Ocr()
    try:
        lines = await ocr.read(
            TEST_PHOTO.read_bytes(), enough=lambda lines: TEST_CODE in {line.text for line in lines}
        )
    except OcrUnavailable as error:
        return Standing(
            "fail", str(error), f"{sys.executable} -m pip install --force-reinstall rapidocr onnxruntime"
        )
    finally:
        await ocr.close()
    texts = [line.text for line in lines]
    if TEST_CODE not in texts:
        return Standing("fail", f"read {texts} on a test photo that shows {TEST_CODE}")
    return Standing("ok", f"read {TEST_CODE} on a test photo")


async def _gpu(_: Asked) -> Standing:
    cards = await _output(
        "nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"
    )
    if find_spec("torch") is None:
        if cards:
            return Standing("warn", f"{cards}, but torch is not installed", "python3 run --with gpu")
        return Standing("ok", "none")
    if not cards and sys.platform != "darwin":
        return Standing("ok", f"none; torch {version('torch')} would use the CPU")
    script = "import torch; print(torch.cuda.is_available() or torch.backends.mps.is_available())"
    sees = await _output(sys.executable, "-c", script) == "True"
    torch = f"torch {version('torch')}"
    if not sees:
        return Standing(
            "fail",
            f"{cards or 'a Mac'}, but {torch} does not see it",
            "a torch build for this driver: docs/settings.md",
        )
    return Standing("ok", f"{cards or 'found'}, {torch}")


async def _output(*command: str) -> str:
    """The output of a command, its lines joined; empty if it does not exist or fails."""
    try:
        child = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return ""
    try:
        printed, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return (
        ", ".join(printed.decode(errors="replace").split("\n")).strip(", ") if child.returncode == 0 else ""
    )


async def _model(asked: Asked) -> Standing:
    if asked.settings.model_url and asked.online:
        return await _model_server(asked.settings)
    if asked.settings.model_url:
        return Standing("ok", f"{asked.settings.model_url}; not asked (--online)")
    from bot.app.engines import DEFAULT_MODEL, has_gpu  # noqa: PLC0415 - hangs on everything
    from bot.engines.demo import resolve  # noqa: PLC0415

    model = asked.settings.model or (DEFAULT_MODEL if has_gpu() else "")
    if not model:
        return Standing(
            "warn", "none: OCR and rules answer", "MODEL_URL, or MODEL after python3 run --with gpu"
        )
    missing = await asyncio.to_thread(_missing, resolve(model))
    return missing or await _outlook(model, asked.settings)


def _missing(model: str) -> Standing | None:
    """What is wrong if the model is not on this machine; None if it is."""
    if Path(model).exists():
        if (Path(model) / "config.json").is_file():
            return None
        return Standing("fail", f"{model} holds no config.json", "MODEL: the folder of a downloaded model")
    # https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    cache = os.environ.get("HF_HUB_CACHE") or f"{os.environ.get('HF_HOME') or '~/.cache/huggingface'}/hub"
    if (Path(cache).expanduser() / f"models--{model.replace('/', '--')}" / "snapshots").is_dir():
        return None
    return Standing("warn", f"{model} is not on this machine: the first start downloads it")


async def _outlook(model: str, settings: Settings) -> Standing:
    """Whether the model fits, without loading it."""
    from bot.engines.local.outlook import outlook  # noqa: PLC0415

    try:
        found = await outlook(model, quantisation=settings.model_quantization or "none")
    except EngineUnavailable as error:
        return Standing("fail", str(error), "MODEL, MODEL_QUANTIZATION, or MODEL_URL for a model elsewhere")
    weights, free = (float(str(found[name])) / GIB for name in ("weights_bytes", "free_bytes"))
    detail = f"{model}: {weights:.1f} GB of {found['dtype']} for {free:.1f} GB on {found['device']}"
    if not found["fits"]:
        return Standing("fail", detail, "MODEL_QUANTIZATION=4bit, or a smaller MODEL")
    chats = f"{found['chats_at_once']} chats at once, {found['chats_remembered']} remembered"
    runner = "continuous batching" if found["runner"] == "rows" else "static batches"
    chosen = f"{runner}, steps {found['steps']}, attention {found['attention']}"
    reasons = found["reasons"]
    why = f" ({'; '.join(map(str, reasons))})" if isinstance(reasons, list) and reasons else ""
    return Standing("ok", f"{detail}, {chats}; {chosen}{why}")


async def _model_server(settings: Settings) -> Standing:
    from bot.app.engines import build_model  # noqa: PLC0415 - hangs on everything

    engine = build_model(settings)
    assert engine is not None, "MODEL_URL is set"
    try:
        await engine.start()
        health = await engine.health()
        if health.state == "ok":
            return Standing("ok", health.detail)
        mend = "MODEL_URL, MODEL, MODEL_API_KEY, or the server they name"
        return Standing("warn", f"{health.detail}; meanwhile OCR and rules answer", mend)
    finally:
        await engine.close()


async def _prompts(asked: Asked) -> Standing:
    from bot.engines.rules import lint_rules  # noqa: PLC0415 - yaml
    from prompts.house_styles import HouseStyles  # noqa: PLC0415 - jinja2
    from prompts.prompts import Prompts  # noqa: PLC0415

    prompts, styles = Prompts(context_tokens=asked.settings.context_tokens), HouseStyles()
    if problems := prompts.lint() + styles.lint() + lint_rules():
        return Standing("fail", "; ".join(problems), "the templates or rules named")
    return Standing("ok", f"{prompts.version}, {len(styles.names)} house styles")


async def _company(asked: Asked) -> Standing:
    """What the model is told about the company, and what the guard would not let it repeat."""
    from bot.app.guard import build_guard  # noqa: PLC0415 - imports the whole bot
    from bot.company import read_company  # noqa: PLC0415
    from bot.language import language_of  # noqa: PLC0415
    from prompts.prompts import COMPANY, tokens  # noqa: PLC0415

    try:
        company = await asyncio.to_thread(read_company, asked.settings.data_dir)
    except BadConfiguration as error:
        return Standing("fail", str(error), COMPANY)
    if not company:
        return Standing("ok", f"nothing is told about it: no {COMPANY} in {asked.settings.data_dir}")
    stopped = []
    guard = build_guard(asked.settings.model_copy(update={"guard_url": ""}))
    try:
        for number, line in enumerate(company.splitlines(), 1):
            verdict = await guard.judge(line, asked="", language=language_of(line))
            # The shape is that of a reply, which a line of a list is not.
            rules = [reason.rule for reason in verdict.reasons if not reason.rule.startswith("shape.")]
            stopped += [f"line {number} ({', '.join(rules)})"] if rules else []
    finally:
        await guard.close()
    detail = f"{COMPANY} adds about {tokens(company)} tokens to every prompt"
    if not stopped:
        return Standing("ok", detail)
    mend = "ALLOWED_HOSTS, ALLOWED_PHONES, policy.yaml, or other words: docs/company.md"
    return Standing("warn", f"{detail}; no reply may say {'; '.join(stopped)}", mend)


async def _guard(asked: Asked) -> Standing:
    from bot.app.guard import build_guard  # noqa: PLC0415 - imports the whole bot

    guard = build_guard(asked.settings)
    try:
        return _standing(await guard.health(), "the policy's files")
    finally:
        await guard.close()


async def _redis(asked: Asked) -> Standing:
    from context.redis_server import RedisRefuses, open_redis  # noqa: PLC0415 - may start a server

    mend = "REDIS_URL, or the server it names"
    with tempfile.TemporaryDirectory() as folder:  # the bot's own may be in use
        try:
            async with open_redis(asked.settings.redis_url.get_secret_value() or None, Path(folder)) as redis:
                health = await redis.health()
                if redis.kind == "private" and health.state == "ok":
                    return Standing("ok", "a private server starts on this machine")
                if redis.kind == "server" and health.state != "ok":
                    return Standing("fail", health.detail, mend)
                return _standing(health, "apt install redis-server, or REDIS_URL")
        except RedisRefuses as error:
            return Standing("fail", str(error), mend)


async def _disk(asked: Asked) -> Standing:
    folder = asked.settings.data_dir.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Standing(
            "fail", f"{there} cannot be written: {error.strerror}", "DATA_DIR, or its owner and mode"
        )
    free = shutil.disk_usage(there).free
    detail = f"{free / GIB:.1f} GB free in {asked.settings.data_dir}"
    if free < TOO_LITTLE_DISK:
        return Standing("fail", detail, "free some space, or DATA_DIR on another disk")
    if free < LITTLE_DISK:
        return Standing("warn", detail, "DATA_DIR on a larger disk")
    return Standing("ok", detail)


async def _port(asked: Asked) -> Standing:
    host, port = asked.settings.http_host, asked.settings.http_port
    with contextlib.closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE and await _is_ours(host, port):
                return Standing("ok", f"a bot is answering on {host}:{port}")
            return Standing("fail", f"{host}:{port} cannot be had: {error.strerror}", "HTTP_PORT, HTTP_HOST")
    return Standing("ok", f"{host}:{port} is free")


async def _is_ours(host: str, port: int) -> bool:
    """Whether what listens there answers `/health` as we do."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                writer.write(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = await reader.read(65536)
    except (OSError, TimeoutError):
        return False
    return b'"parts"' in answer


def _standing(health: Health, mend: str) -> Standing:
    state: dict[str, Literal["ok", "warn", "fail"]] = {"ok": "ok", "degraded": "warn", "down": "fail"}
    return Standing(state[health.state], health.detail, "" if health.state == "ok" else mend)


PARTS: dict[str, Look] = {
    "python": _python,
    "settings": _read,
    "data": _disk,
    "database": _database,
    "retention": _retention,
    "staff": _staff,
    "redis": _redis,
    "photos": _photos,
    "ocr": _ocr,
    "gpu": _gpu,
    "model": _model,
    "prompts": _prompts,
    "company": _company,
    "guard": _guard,
    "telegram": _telegram,
    "port": _port,
}

_AFRESH = "rm -r .venv, then python3 run: installs everything anew"
MENDS = {
    "telegram": "TELEGRAM_BOT_TOKEN, TELEGRAM_API_URL, or the network and proxy in between",
    "model": "MODEL_URL, MODEL, MODEL_API_KEY, or the server they name",
    "guard": "GUARD_URL, GUARD_MODEL, GUARD_API_KEY, or the server they name",
    "photos": _AFRESH,
    "ocr": _AFRESH,
}
"""How to fix a part that failed without a word about it."""
