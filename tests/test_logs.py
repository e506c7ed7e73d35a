from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import httpx
import pytest
import structlog

from bot import logs

TOKEN = "123456789:AAF-fake_Token0123456789abcdefghijklm"  # the shape of a bot token, never a real one
KEY = 'sk-"quoted"\\key/ü'


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook)
    levels = {name: logging.getLogger(name).level for name in logs._CEILINGS}
    yield
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _in_message() -> None:
    logging.getLogger("library").debug(f"GET https://api.telegram.org/bot{TOKEN}/getMe")  # noqa: G004 - the careless way


def _in_arguments() -> None:
    logging.getLogger("library").info("calling %s with %r", TOKEN, {"token": TOKEN, "key": KEY})


def _in_event_values() -> None:
    structlog.get_logger("bot.turn").info(
        "turn", url=f"/bot{TOKEN}/sendMessage", key=KEY, deep={"a": [TOKEN]}
    )


def _in_context() -> None:
    with structlog.contextvars.bound_contextvars(bot=TOKEN, key=KEY):
        structlog.get_logger().warning("in a context")


def _in_exception() -> None:
    def fail() -> None:
        raise ValueError(TOKEN) from RuntimeError(f"Bearer {KEY}")

    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("failed", token=TOKEN)
        logging.getLogger("library").exception("failed")


def _in_a_quoted_url() -> None:
    logging.getLogger("library").info(
        str(httpx.URL("https://proxy/", params={"to": f"/bot{TOKEN}/", "k": KEY}))
    )


def _in_a_crash() -> None:
    sys.excepthook(ValueError, ValueError(f"{TOKEN} {KEY}"), None)


def _in_a_thread_crash() -> None:
    def crash() -> None:
        raise ValueError(TOKEN)

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()


def _in_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"odd token {TOKEN}", stacklevel=1)


LEAKS = [
    _in_message,
    _in_arguments,
    _in_event_values,
    _in_context,
    _in_exception,
    _in_a_quoted_url,
    _in_a_crash,
    _in_a_thread_crash,
    _in_a_warning,
]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__.strip("_"))
def test_no_secret_reaches_the_log_at_debug(leak: Callable[[], None], form: logs.Format) -> None:
    written = io.StringIO()
    logs.configure(form, "DEBUG", [KEY], stream=written)
    leak()
    out = written.getvalue()
    assert "[hidden]" in out
    secret = TOKEN.partition(":")[2]
    for shape in (secret, KEY, json.dumps(KEY)[1:-1], repr(KEY)[1:-1], "sk-", "quoted"):
        assert shape not in out


def test_the_bots_number_stays_readable() -> None:
    written = io.StringIO()
    logs.configure("text", "INFO", stream=written)
    logging.getLogger("x").info("bot %s", TOKEN)
    assert "123456789:[hidden]" in written.getvalue()


def test_json_lines_carry_time_level_logger_and_values() -> None:
    written = io.StringIO()
    logs.configure("json", "INFO", stream=written)
    structlog.get_logger("bot.turn").info("turn", chat="web:1", ms={"engine": 12.5}, note="红灯")
    logging.getLogger("library").warning("slow %d", 3)
    ours, theirs = (json.loads(line) for line in written.getvalue().splitlines())
    assert ours["event"] == "turn"
    assert (ours["logger"], ours["level"], ours["chat"]) == ("bot.turn", "info", "web:1")
    assert ours["ms"] == {"engine": 12.5}
    assert "红灯" in written.getvalue()
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("slow 3", "library", "warning")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    "name", ["httpx", "httpcore.http11", "telegram.Bot", "aiohttp.access", "uvicorn.error"]
)
def test_chatty_libraries_speak_only_when_something_is_wrong(name: str) -> None:
    written = io.StringIO()
    logs.configure("json", "DEBUG", stream=written)
    logging.getLogger(name).info("one more request")
    assert written.getvalue() == ""
    logging.getLogger(name).warning("wrong")
    assert "wrong" in written.getvalue()


def test_lines_under_the_level_are_not_written() -> None:
    written = io.StringIO()
    logs.configure("json", "WARNING", stream=written)
    structlog.get_logger().info("no")
    logging.getLogger("library").info("no")
    structlog.get_logger().warning("yes")
    assert [json.loads(line)["event"] for line in written.getvalue().splitlines()] == ["yes"]


def test_configuring_twice_writes_each_line_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure("text", "INFO", stream=first)
    logs.configure("json", "INFO", stream=second)
    logging.getLogger("x").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_a_stream_that_is_no_terminal_gets_json() -> None:
    written = io.StringIO()
    logs.configure(None, "INFO", stream=written)
    logging.getLogger("x").info("hello")
    assert json.loads(written.getvalue())["event"] == "hello"
