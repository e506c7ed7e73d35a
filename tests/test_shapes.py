"""Every shape that deploy/ describes, started from its own files as far as one machine goes.

The same conversations pass through each: one machine; one machine with a model of its own; two bots with
PostgreSQL and Redis behind nginx with TLS, watched by Prometheus.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.api_world import KEY, data_url
from tests.bot_api import BotApiServer
from tests.model_server import ModelServer
from tests.postgres import Postgres
from tests.processes import bot, free_ports, is_ready, parts_of
from tests.real_redis import RealRedis
from tests.until import PROCESS_S, until
from tests.world import noted, picture

DEPLOY = Path(__file__).parent.parent / "deploy"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
PROMETHEUS = shutil.which("prometheus")
CHATS = 6


def environment_of(compose: str, given: dict[str, str]) -> dict[str, str]:
    """The bot's settings in a compose file, with `given` in place of what the operator fills in."""
    service = yaml.safe_load((DEPLOY / "compose" / compose).read_text())["services"]["bot"]

    def filled(value: str) -> str:
        return re.sub(
            r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: given.get(found[1], found[2] or ""), value
        )

    return {name: filled(str(value)) for name, value in service.get("environment", {}).items()}


async def converse(telegram: BotApiServer, *, says: Callable[[str], str | None]) -> None:
    """Text, a photo with words and text again, from several customers at once: one answer each, in order."""

    async def customer(chat: int) -> None:
        person = telegram.customer(1000 + chat)
        for turn in range(3):
            words = f"c{chat}t{turn}"
            if turn == 1:
                person.sends_photo(picture((200, 30 * chat, 40)), caption=words)
            else:
                person.says(words)
            (reply,) = await telegram.replies(1000 + chat)
            expected = says(words)
            assert reply.text == expected if expected is not None else reply.text

    await asyncio.gather(*(customer(chat) for chat in range(CHATS)))
    assert [len(telegram.sent_to(1000 + chat)) for chat in range(CHATS)] == [3] * CHATS


async def get(url: str, **more: Any) -> tuple[int, str]:
    try:
        async with aiohttp.request("GET", url, timeout=aiohttp.ClientTimeout(10), **more) as answer:
            return answer.status, await answer.text()
    except (aiohttp.ClientError, OSError):
        return 0, ""


def noted_words(words: str) -> str:
    return f"Noted: {words}."


def read_only_root(folder: Path, *writable: Path) -> list[str]:
    """What becomes a command that can write into `writable` only, as in our containers.

    Nothing, where we may not mount: then the command runs as it is.
    """
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return []
    for each in writable:
        each.mkdir()
    binds = " && ".join(f"mount --bind '{each}' '{each}'" for each in writable)
    closed = f"! touch '{folder}/written' 2>/dev/null"
    walls = f'{binds} && mount -o remount,bind,ro / && {closed} && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", walls, "sh"]


async def test_one_machine(tmp_path: Path) -> None:
    """On a root that cannot be written to: /data and /tmp are all it has."""
    (port,) = free_ports(1)
    data, scratch = tmp_path / "data", tmp_path / "tmp"
    within = read_only_root(tmp_path, data, scratch)
    given = {"HTTP_PORT": str(port), "HTTP_HOST": "0.0.0.0", "HOME": str(data), "TMPDIR": str(scratch)}
    async with BotApiServer() as telegram, ModelServer(answer=noted) as model:
        with bot(telegram, model, tmp_path, within=within, **(given if within else {"HTTP_PORT": str(port)})):
            await until(lambda: is_ready(port, alone=True), timeout_s=PROCESS_S)
            await converse(telegram, says=noted_words)
            assert (await get(f"http://127.0.0.1:{port}/"))[0] == 200
            parts = await parts_of(port)
    assert [parts[name]["state"] for name in ("database", "photos")] == ["ok", "ok"]


async def test_one_machine_with_a_model_of_its_own(tmp_path: Path) -> None:
    """As gpu.yaml starts it, but for the card and the size of the model."""
    (port,) = free_ports(1)
    settings = environment_of("gpu.yaml", {"MODEL": "demo"})
    assert settings == {"MODEL": "demo"}
    async with BotApiServer() as telegram, ModelServer() as unused:
        with bot(telegram, unused, tmp_path, HTTP_PORT=str(port), MODEL_URL="", **settings):
            await until(lambda: is_ready(port, alone=True), timeout_s=PROCESS_S)
            await converse(telegram, says=lambda _words: None)
            _, metrics = await get(f"http://127.0.0.1:{port}/metrics")
    turns = re.findall(r'^bot_turns_total\{engine="(\w+)",outcome="(\w+)"\} (\S+)$', metrics, re.MULTILINE)
    assert {engine for engine, _, _ in turns} <= {"local", "notice:held", "notice:blocked"}
    assert 'bot_engine_tokens_total{engine="local",kind="completion"}' in metrics


# --- Several bots


@contextmanager
def program(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()


def certificate(folder: Path) -> ssl.SSLContext:
    """A key and a certificate for localhost in `folder`; what believes it comes back."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    files = ["-keyout", f"{folder}/privkey.pem", "-out", f"{folder}/fullchain.pem"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True, timeout=PROCESS_S)
    return ssl.create_default_context(cafile=f"{folder}/fullchain.pem")


def nginx_configuration(folder: Path, *, tls_port: int, port: int, bots: list[int]) -> Path:
    """Our template as nginx's image would fill it in, on this machine's ports."""
    text = (DEPLOY / "nginx" / "bot.conf.template").read_text()
    servers = "\n".join(f"    server 127.0.0.1:{number} max_fails=2 fail_timeout=5s;" for number in bots)
    for old, new in (
        ("${NGINX_LOCAL_RESOLVERS}", "127.0.0.1"),
        ("${PUBLIC_HOST}", "localhost"),
        ("    server bot:8080 resolve max_fails=2 fail_timeout=5s;", servers),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("    listen [::]:80;\n", ""),
        ("listen 443 ssl;", f"listen 127.0.0.1:{tls_port} ssl;"),
        ("    listen [::]:443 ssl;\n", ""),
        ("    http2 on;\n", ""),  # Debian's nginx is older than the image's and writes this elsewhere
        ("/etc/nginx/tls", str(folder)),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "bot.conf").write_text(text)
    temporary = "".join(
        f"  {name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\n  access_log off;\n{temporary}  include {folder}/bot.conf;\n}}\n"
    )
    return file


def prometheus_configuration(folder: Path, *, bots: list[int]) -> Path:
    """Ours, with addresses in place of Docker's name server, and a scrape every half second."""
    text = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    text["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    text["rule_files"] = [str(DEPLOY / "prometheus" / "alerts.yaml")]
    (job,) = (job for job in text["scrape_configs"] if job["job_name"] == "bot")
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in bots]}]
    text["scrape_configs"] = [job]
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(text))
    return file


@pytest.mark.skipif(NGINX is None or PROMETHEUS is None, reason="no nginx or no Prometheus is installed")
async def test_several_bots_behind_nginx_watched_by_prometheus(
    postgres: Postgres, redis: RealRedis, tmp_path: Path
) -> None:
    assert NGINX is not None and PROMETHEUS is not None  # noqa: PT018
    first, second, tls_port, plain_port, watch_port = free_ports(5)
    trust = certificate(tmp_path)
    async with (
        BotApiServer(webhook_tls=trust) as telegram,
        ModelServer(answer=noted) as model,
        AsyncExitStack() as stack,
    ):
        given = {
            "PUBLIC_HOST": f"localhost:{tls_port}",
            "TELEGRAM_BOT_TOKEN": telegram.token,
            "TELEGRAM_WEBHOOK_SECRET": "long-and-random",
            "POSTGRES_PASSWORD": "unused",
            "AUDIT_KEY": "the same for both",
            "MODEL": "stub-model",
            "MODEL_URL": model.url,
        }
        settings = environment_of("workers.yaml", given) | {
            "API_KEYS": KEY,
            "DATABASE_URL": postgres.database(),
            "REDIS_URL": f"unix://{redis.socket}",
            "TELEGRAM_SENDS_PER_S": "0",
            "TELEGRAM_API_URL": telegram.url,
        }
        assert settings["TELEGRAM_WEBHOOK_URL"] == f"https://localhost:{tls_port}"
        configuration = nginx_configuration(
            tmp_path, tls_port=tls_port, port=plain_port, bots=[first, second]
        )
        stack.enter_context(program([NGINX, "-c", str(configuration)], tmp_path / "nginx.log"))
        for port in (first, second):
            stack.enter_context(bot(telegram, model, tmp_path, HTTP_PORT=str(port), **settings))
        for port in (first, second):
            await until(lambda port=port: is_ready(port), timeout_s=PROCESS_S)  # type: ignore[misc]
        watching = prometheus_configuration(tmp_path, bots=[first, second])
        options = [f"--config.file={watching}", f"--web.listen-address=127.0.0.1:{watch_port}"]
        options.append(f"--storage.tsdb.path={tmp_path}/tsdb")
        stack.enter_context(program([PROMETHEUS, *options], tmp_path / "prometheus.log"))

        await converse(telegram, says=noted_words)

        public = f"https://localhost:{tls_port}"
        assert (await get(f"{public}/", ssl=trust))[0] == 200
        for inside in ("/metrics", "/health"):
            assert (await get(f"{public}{inside}", ssl=trust))[0] == 404
        await an_app_asks(f"{public}/v1", trust)
        status, _ = await get(f"http://localhost:{plain_port}/", allow_redirects=False)
        assert status == 308

        async def seen(query: str) -> list[dict[str, Any]]:
            url = f"http://127.0.0.1:{watch_port}/api/v1/query"
            _, body = await get(url, params={"query": query})
            return list(json.loads(body)["data"]["result"]) if body else []

        await until(_counts(seen, "sum(bot_turns_total)", 3 * CHATS))
        await until(
            _counts(seen, "sum(bot_api_requests_total{endpoint='chat',outcome='200'})", 60), timeout_s=60
        )
        await until(_counts(seen, "sum(up{job='bot'})", 2))
        assert await seen("ALERTS{alertstate='firing'}") == []

        async def shows_everything() -> bool:  # a rate needs two scrapes
            return await empty_panels(seen) <= NOT_HERE

        await until(shows_everything, every_s=0.5)


NOT_HERE = {"Prompts in the cache", "GPUs: memory", "GPUs: busy", "Parts", "In doubt or refused, an hour"}
"""Panels of what these bots do not have, and of what has not gone wrong."""


async def empty_panels(seen: Callable[[str], Awaitable[list[dict[str, Any]]]]) -> set[str]:
    """Titles of the dashboard's panels for which Prometheus has nothing, after a few conversations."""
    empty = set()
    for panel in json.loads((DEPLOY / "grafana" / "bot.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
            if await seen(query):
                break
        else:
            empty |= {panel["title"]} if panel["type"] != "row" else set()
    return empty


async def an_app_asks(api: str, trust: ssl.SSLContext) -> None:
    """More streams at one address than a stranger may hold; a job beyond what else may be sent."""
    body = {"model": "support", "messages": [{"role": "user", "content": "c0t0"}], "stream": True}
    item = {"image": data_url(), "prompt": "c0t0"}

    async def lines() -> AsyncIterator[bytes]:
        for _ in range(66):
            yield b" " * 2**20 + b"\n"
        yield json.dumps(item).encode()

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust, limit=0), headers={"Authorization": f"Bearer {KEY}"}
    ) as app:

        async def stream() -> str:
            async with app.post(f"{api}/chat/completions", json=body) as answer:
                return await answer.text()

        answers = await asyncio.gather(*(stream() for _ in range(60)))
        assert all("Noted: c0t0." in answer and answer.endswith("data: [DONE]\n\n") for answer in answers)
        kind = {"Content-Type": "application/jsonl"}
        stranger = kind | {"Authorization": "Bearer nobody's"}
        async with app.post(f"{api}/jobs", data=lines(), headers=stranger) as answer:
            assert (await answer.json())["error"]["code"] == "invalid_api_key"
        async with app.post(f"{api}/jobs", data=lines(), headers=kind) as answer:
            assert answer.status == 202, await answer.text()
            assert (await answer.json())["total"] == 1


def _counts(seen: Callable[[str], Awaitable[list[dict[str, Any]]]], query: str, count: int) -> Any:
    async def holds() -> bool:
        return [float(series["value"][1]) for series in await seen(query)] == [count]

    return holds
