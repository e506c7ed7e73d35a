"""`python -m bot`: read the command line and the settings, set up logging, do what was asked.

Every import beyond the standard library stays inside the command that needs it, so that `--help`
and a wrong option answer at once.  Exit codes: 0 ok, 1 a check failed or the bot could not go on,
2 usage, 78 bad configuration.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bot import __version__
from bot.command_line import parser
from bot.errors import BadConfiguration, BotError

if TYPE_CHECKING:
    from bot.settings import Settings
    from bot.studio import Studio

OK, FAILED, USAGE, BAD_CONFIGURATION = 0, 1, 2, 78


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = parser().parse_args(argv)
    if options.version:
        return _version()
    try:
        return COMMANDS[options.command](options)
    except BadConfiguration as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return BAD_CONFIGURATION
    except BotError as error:
        print(f"bot: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


def _version() -> int:
    print(f"photo-support-bot {__version__}")
    return OK


def _run(_options: argparse.Namespace) -> int:
    gc.disable()  # a fifth of a start was looking through what the imports made; `run` enables it
    settings = _settings()
    from bot import run  # noqa: PLC0415  (everything hangs on it)

    return _in_loop(run.run(settings))


def _check(options: argparse.Namespace) -> int:
    from bot import check  # noqa: PLC0415  (imports most of the bot)

    return _in_loop(check.run(options.part, online=options.online, as_json=options.json))


def _describe(options: argparse.Namespace) -> int:
    settings = _settings(log_level="WARNING")
    from bot import describe  # noqa: PLC0415  (imports most of the bot)

    job = describe.Job(
        folder=Path(options.folder),
        style=options.template,
        languages=options.lang,
        out=Path(options.out),
        limit=options.limit,
        at_once=options.at_once,
        dry_run=options.dry_run,
    )
    return _in_loop(describe.run(job, studio=lambda: _studio(settings)))


def _prompts(options: argparse.Namespace) -> int:
    match options.job:
        case "lint":
            return _lint()
        case "preview":
            return _preview(options)
        case _:
            return _list()


def _lint() -> int:
    from prompts.house_styles import HouseStyles  # noqa: PLC0415  (jinja2)
    from prompts.prompts import Prompts  # noqa: PLC0415

    prompts, styles = Prompts(), HouseStyles()
    problems = prompts.lint() + styles.lint()
    for problem in problems:
        print(problem)
    if not problems:
        versions = (prompts.version, *map(styles.version, styles.names))
        print(*(f"{version}: nothing wrong" for version in versions), sep="\n")
    return FAILED if problems else OK


def _list() -> int:
    from prompts.house_styles import HouseStyles  # noqa: PLC0415  (jinja2)
    from prompts.prompts import Prompts  # noqa: PLC0415

    styles = HouseStyles()
    print(f"{Prompts().version:32} {'Support: fault diagnosis':40} 客服：故障诊断")
    for name in styles.names:
        print(f"{styles.version(name):32} {styles.title(name, 'en'):40} {styles.title(name, 'zh')}")
    return OK


def _preview(options: argparse.Namespace) -> int:
    from bot import preview  # noqa: PLC0415  (imports most of the bot)
    from bot.language import language_of  # noqa: PLC0415

    settings = _settings() if options.answer else None
    return _in_loop(
        preview.run(
            options.template,
            picture=Path(options.picture) if options.picture else None,
            text=options.text,
            language=options.lang or language_of(options.text),
            studio=(lambda: _studio(settings)) if settings else None,
        )
    )


@asynccontextmanager
async def _studio(settings: Settings) -> AsyncIterator[Studio]:
    """Model and guard as customers get them; no rules stand in for the model."""
    from bot.app.engines import build_model, keeping  # noqa: PLC0415  (everything hangs on it)
    from bot.app.guard import build_guard  # noqa: PLC0415  (same)
    from bot.app.stores import open_store  # noqa: PLC0415  (same)
    from bot.metrics import Metrics  # noqa: PLC0415
    from bot.studio import open_studio  # noqa: PLC0415

    model = build_model(settings)
    if model is None:
        raise BadConfiguration(["MODEL_URL or MODEL is needed: OCR and rules cannot describe a picture"])
    guard, photos = build_guard(settings), settings.data_dir / "photos"
    async with AsyncExitStack() as stack:
        if settings.cache_ttl_s:
            redis = await open_store(stack, settings)
            model = keeping(settings, model, redis=redis, guard=guard, metrics=Metrics())
        yield await stack.enter_async_context(open_studio(engine=model, guard=guard, photos=photos))


def _staff(options: argparse.Namespace) -> int:
    settings = _settings(log_level="WARNING")
    from bot import accounts  # noqa: PLC0415  (SQLAlchemy, argon2)

    match options.job:
        case "add":
            return _in_loop(accounts.add(settings.database, options.name, options.role))
        case "passwd":
            return _in_loop(accounts.set_password(settings.database, options.name))
        case "remove":
            return _in_loop(accounts.remove(settings.database, options.name))
        case _:
            return _in_loop(accounts.show(settings.database))


def _keys(options: argparse.Namespace) -> int:
    settings = _settings(log_level="WARNING")
    from bot import api_keys  # noqa: PLC0415  (SQLAlchemy)

    match options.job:
        case "add":
            limits = (options.requests_per_min, options.tokens_per_day, options.streams)
            return _in_loop(api_keys.add(settings.database, options.name, limits))
        case "revoke":
            return _in_loop(api_keys.revoke(settings.database, options.id))
        case _:
            return _in_loop(api_keys.show(settings.database))


def _export(options: argparse.Namespace) -> int:
    from bot import export  # noqa: PLC0415  (SQLAlchemy)

    settings = _settings(log_level="WARNING")
    selection = export.selected(
        options.chat, channel=options.channel, since=options.since, until=options.until
    )
    wanted = export.Wanted(selection, masked=not options.unmasked, photos=options.photos)
    return _in_loop(export.run(settings.database, settings.data_dir / "photos", wanted, Path(options.out)))


def _release(options: argparse.Namespace) -> int:
    settings = _settings(log_level="WARNING")
    from bot import releases  # noqa: PLC0415  (SQLAlchemy)

    match options.job:
        case "start":
            return _in_loop(
                releases.start(
                    settings.database,
                    options.name,
                    share=options.share,
                    model_url=options.model_url,
                    model=options.model,
                    templates=options.templates,
                    policy=options.policy,
                )
            )
        case "share":
            return _in_loop(releases.widen(settings.database, options.share))
        case "promote":
            return _in_loop(releases.promote(settings.database))
        case "withdraw":
            return _in_loop(releases.withdraw(settings.database))
        case _:
            return _in_loop(releases.status(settings.database, as_json=options.json))


def _forget(options: argparse.Namespace) -> int:
    from bot import forget  # noqa: PLC0415  (SQLAlchemy, Redis)
    from bot.app.stores import open_erasure  # noqa: PLC0415  (everything hangs on it)

    settings = _settings(log_level="WARNING")

    async def work() -> int:
        async with open_erasure(settings) as erasure:
            return await forget.run(erasure, options.chat)

    return _in_loop(work())


def _retention(options: argparse.Namespace) -> int:
    from bot import retention  # noqa: PLC0415  (SQLAlchemy, Redis)
    from bot.app.records import lifetimes  # noqa: PLC0415  (everything hangs on it)
    from bot.app.stores import open_retention  # noqa: PLC0415  (same)

    settings = _settings(log_level="WARNING")

    async def work() -> int:
        async with open_retention(settings) as (kept, erasure):
            days = lifetimes(settings)
            return await retention.run(kept, days, scrub=erasure.scrub, sweep=options.sweep)

    return _in_loop(work())


def _backup(options: argparse.Namespace) -> int:
    from bot import backup  # noqa: PLC0415  (SQLAlchemy)

    settings, folder = _settings(log_level="WARNING"), Path(options.folder)
    if options.verify:
        return _in_loop(backup.verify(folder))
    return _in_loop(backup.run(settings.database, settings.data_dir, folder, keep=options.keep))


def _restore(options: argparse.Namespace) -> int:
    from bot import restore  # noqa: PLC0415  (SQLAlchemy)
    from bot.app.stores import clear_copies  # noqa: PLC0415  (everything hangs on it)

    settings = _settings(log_level="WARNING")
    return _in_loop(
        restore.run(
            settings.database,
            settings.data_dir,
            Path(options.backup),
            replace=options.replace,
            clear=lambda: clear_copies(settings),
        )
    )


def _verify_audit(options: argparse.Namespace) -> int:
    from bot import audit  # noqa: PLC0415  (SQLAlchemy)
    from bot.app.stores import audit_key  # noqa: PLC0415  (everything hangs on it)

    settings = _settings()
    return _in_loop(audit.run(settings.database, key=audit_key(settings), head=options.head))


def _torture(options: argparse.Namespace) -> int:
    root = Path(__file__).resolve().parent.parent
    if not (root / "torture" / "command.py").exists():
        raise BotError("torture needs a source checkout with the development tools: python3 run --with dev")
    sys.path.insert(0, str(root))  # it and the servers of the tests are no part of what is installed
    from torture.command import run  # noqa: PLC0415

    return run(options)


def _settings(*, log_level: str = "") -> Settings:
    """The settings, with logging set up as they say, or less of it beside a progress bar."""
    from bot import logs  # noqa: PLC0415  (structlog)
    from bot.settings import Settings  # noqa: PLC0415  (pydantic)

    settings = Settings.read()
    logs.configure(settings.log_format or None, log_level or settings.log_level, settings.secrets)
    return settings


def _in_loop(work: Coroutine[object, object, int]) -> int:
    import uvloop  # noqa: PLC0415  (heavy)

    return uvloop.run(work)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "check": _check,
    "describe": _describe,
    "prompts": _prompts,
    "staff": _staff,
    "keys": _keys,
    "export": _export,
    "forget": _forget,
    "retention": _retention,
    "backup": _backup,
    "restore": _restore,
    "release": _release,
    "verify-audit": _verify_audit,
    "torture": _torture,
}

if __name__ == "__main__":
    sys.exit(main())
