"""Logging: one line per event, from our modules and from libraries alike, without secrets.

Secrets are removed from the finished line, after messages, arguments, URLs and tracebacks have been rendered.
Customers' words are never logged by us; libraries that would log them are limited by `_CEILINGS`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterable, MutableMapping
from typing import Any, Literal, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import Processor

Format = Literal["text", "json"]

# `\b` would not do: there is no word boundary in `/bot123456:AA...`, the very place where tokens leak.
BOT_TOKEN = re.compile(r"(?<!\d)(\d{6,12})(:|%3[Aa])[A-Za-z0-9_-]{30,}")

_CEILINGS = {
    # URLs with the bot token, one line per request.
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "telegram": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "uvicorn": logging.WARNING,
    # At DEBUG these print request bodies and SQL parameters: customers' words and photos.
    "aiosqlite": logging.INFO,
    "sqlalchemy": logging.WARNING,
    # At DEBUG a line per chunk of a picture.
    "PIL": logging.INFO,
    "python_multipart": logging.INFO,
}


def configure(
    form: Format | None, level: str = "INFO", secrets: Iterable[str] = (), *, stream: TextIO | None = None
) -> None:
    """Set up logging for the whole process; calling it again replaces the previous setup.

    With `form` None it is `text` on a terminal, otherwise `json`.  `secrets` are hidden wherever they appear,
    bot tokens by their shape.  `stream` is standard error unless given.
    """
    stream = stream or sys.stderr
    form = form or ("text" if stream.isatty() else "json")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(form, secrets, colors=stream.isatty()))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, _RedactingFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, ceiling in _CEILINGS.items():
        logging.getLogger(name).setLevel(max(ceiling, root.level))
    logging.captureWarnings(capture=True)
    # A crash would otherwise print its traceback past the chain.
    sys.excepthook = _log_crash
    threading.excepthook = _log_thread_crash
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=False,
    )


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _formatter(form: Format, secrets: Iterable[str], *, colors: bool) -> _RedactingFormatter:
    render: list[Processor]
    if form == "json":
        render = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ]
    else:
        # The plain traceback: a boxed one wraps lines, and a token broken in two is found by no pattern.
        render = [
            _whole_seconds,
            structlog.dev.ConsoleRenderer(
                colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=30
            ),
        ]
    return _RedactingFormatter(
        hide=_hider(secrets),
        foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder(_EXTRAS)],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )


def _whole_seconds(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """People read seconds; JSON keeps microseconds for programs."""
    event["timestamp"] = f"{event['timestamp'][:19].replace('T', ' ')}Z"
    return event


# `extra=` of libraries may carry anything; these are ours: ids, counts and reasons, nobody's words.
_EXTRAS = {
    *("chat", "turn", "update", "worker", "origin", "outcome"),
    *("messages", "parts", "ms", "request", "attempts", "reason", "error", "s", "code", "folder"),
}


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Hides secrets in the finished line; nothing is rendered after it."""

    def __init__(self, *, hide: _Hider, **options: Any) -> None:
        super().__init__(**options)
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        return self._hide(super().format(record))


class _Hider:
    """Replaces every secret in a line."""

    def __init__(self, pattern: re.Pattern[str] | None) -> None:
        self._pattern = pattern

    def __call__(self, line: str) -> str:
        line = BOT_TOKEN.sub(r"\1\2[hidden]", line)
        return line if self._pattern is None else self._pattern.sub("[hidden]", line)


def _hider(secrets: Iterable[str]) -> _Hider:
    """Find each secret as it is, and as `repr`, JSON and URLs write it, also two of these combined."""
    forms = {secret for secret in secrets if secret.strip()}
    for _ in range(2):
        forms |= {written for secret in forms for written in _escapes(secret)}
    if not forms:
        return _Hider(None)
    # Longest first, so that a secret that begins like another is hidden whole.
    return _Hider(re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))))


def _escapes(secret: str) -> tuple[str, ...]:
    as_json = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
    return (*as_json, repr(secret)[1:-1], quote(secret), quote(secret, safe=""))


def _dumps(event: MutableMapping[str, Any], **options: Any) -> str:
    return json.dumps(event, ensure_ascii=False, **options)


def _log_crash(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("bot").critical("crashed", exc_info=(kind, error, trace))


def _log_thread_crash(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else "?"
    logging.getLogger("bot").critical(
        "thread %s crashed", name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
    )
