"""`python -m bot`: read the command line and the settings, set up logging, run the command.

Every import beyond the standard library is inside the command that needs it, so that `--help` and a wrong
option are answered at once.  Exit codes: 0 success, 1 failure, 2 wrong usage, 78 wrong settings.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bot import __version__
from bot.cli.arguments import parser
from bot.errors import BadConfiguration, BotError

if TYPE_CHECKING:
    from bot.settings import Settings

OK, FAILED, USAGE, BAD_CONFIGURATION = 0, 1, 2, 78


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(argv)
    if options.version:
        return _version()
    try:
        code = COMMANDS[options.command](options)
        sys.stdout.flush()
    except BadConfiguration as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return BAD_CONFIGURATION
    except BotError as error:
        print(f"bot: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader of our output has closed it: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its exit
        return FAILED
    except KeyboardInterrupt:
        return 130
    return code


def _version() -> int:
    print(f"photo-support-bot {__version__}")
    return OK


def _run(_options: argparse.Namespace) -> int:
    gc.disable()  # it took a fifth of the start, for objects that the imports keep; `run` enables it
    settings = _settings()
    from bot import run  # noqa: PLC0415  (everything hangs on it)

    return _in_loop(run.run(settings))


def _check(options: argparse.Namespace) -> int:
    from bot.cli import check  # noqa: PLC0415  (imports most of the bot)

    return _in_loop(check.run(options.part, online=options.online, as_json=options.json))


def _describe(options: argparse.Namespace) -> int:
    settings = _settings(log_level="WARNING")
    from bot.app.studio import open_studio_of  # noqa: PLC0415  (everything hangs on it)
    from bot.cli import describe  # noqa: PLC0415  (imports most of the bot)

    job = describe.Job(
        folder=Path(options.folder),
        style=options.template,
        languages=options.lang,
        out=Path(options.out),
        limit=options.limit,
        at_once=options.at_once,
        dry_run=options.dry_run,
    )
    return _in_loop(describe.run(job, studio=partial(open_studio_of, settings)))


def _prompts(options: argparse.Namespace) -> int:
    if options.job == "preview":
        return _preview(options)
    company = _company(_settings(log_level="WARNING"))
    from bot.cli import prompts  # noqa: PLC0415  (jinja2)

    return prompts.lint(company=company) if options.job == "lint" else prompts.show(company=company)


def _company(settings: Settings) -> str:
    from bot.company import read_company  # noqa: PLC0415  (jinja2)

    return read_company(settings.data_dir)


def _preview(options: argparse.Namespace) -> int:
    from bot.app.studio import open_studio_of  # noqa: PLC0415  (everything hangs on it)
    from bot.cli import preview  # noqa: PLC0415  (imports most of the bot)
    from bot.language import language_of  # noqa: PLC0415

    is_support = options.template == preview.SUPPORT
    settings = _settings(log_level="WARNING") if is_support or options.answer else None
    return _in_loop(
        preview.run(
            options.template,
            picture=Path(options.picture) if options.picture else None,
            text=options.text,
            language=options.lang or language_of(options.text),
            company=_company(settings) if settings and is_support else "",
            studio=partial(open_studio_of, settings) if settings and options.answer else None,
        )
    )


def _staff(options: argparse.Namespace) -> int:
    settings = _settings(log_level="WARNING")
    from bot.cli import staff  # noqa: PLC0415  (SQLAlchemy, argon2)

    match options.job:
        case "add":
            return _in_loop(staff.add(settings.database, options.name, options.role))
        case "passwd":
            return _in_loop(staff.set_password(settings.database, options.name))
        case "remove":
            return _in_loop(staff.remove(settings.database, options.name))
        case _:
            return _in_loop(staff.show(settings.database))


def _keys(options: argparse.Namespace) -> int:
    settings = _settings(log_level="WARNING")
    from bot.cli import keys  # noqa: PLC0415  (SQLAlchemy)

    match options.job:
        case "add":
            limits = (options.requests_per_min, options.tokens_per_day, options.streams)
            return _in_loop(keys.add(settings.database, options.name, limits))
        case "revoke":
            return _in_loop(keys.revoke(settings.database, options.id))
        case _:
            return _in_loop(keys.show(settings.database))


def _export(options: argparse.Namespace) -> int:
    from bot.cli import export  # noqa: PLC0415  (SQLAlchemy)
    from bot.export import Wanted  # noqa: PLC0415  (same)

    settings = _settings(log_level="WARNING")
    selection = export.selected(
        options.chat, channel=options.channel, since=options.since, until=options.until
    )
    wanted = Wanted(selection, masked=not options.unmasked, photos=options.photos)
    return _in_loop(export.run(settings.database, settings.data_dir / "photos", wanted, Path(options.out)))


def _release(options: argparse.Namespace) -> int:
    settings = _settings(log_level="WARNING")
    from bot.cli import release  # noqa: PLC0415  (SQLAlchemy)

    match options.job:
        case "start":
            return _in_loop(
                release.start(
                    settings.database,
                    options.name,
                    share=options.share,
                    model_url=options.model_url or "",
                    model=options.model,
                    templates=options.templates,
                    policy=options.policy,
                )
            )
        case "share":
            return _in_loop(release.widen(settings.database, options.share))
        case "promote":
            return _in_loop(release.promote(settings.database))
        case "withdraw":
            return _in_loop(release.withdraw(settings.database))
        case _:
            return _in_loop(release.status(settings.database, as_json=options.json))


def _forget(options: argparse.Namespace) -> int:
    from bot.app.stores import open_erasure  # noqa: PLC0415  (everything hangs on it)
    from bot.cli import forget  # noqa: PLC0415  (SQLAlchemy, Redis)

    settings = _settings(log_level="WARNING")

    async def work() -> int:
        async with open_erasure(settings) as erasure:
            return await forget.run(erasure, options.chat)

    return _in_loop(work())


def _retention(options: argparse.Namespace) -> int:
    from bot.app.records import lifetimes  # noqa: PLC0415  (everything hangs on it)
    from bot.app.stores import open_retention  # noqa: PLC0415  (same)
    from bot.cli import retention  # noqa: PLC0415  (SQLAlchemy, Redis)

    settings = _settings(log_level="WARNING")

    async def work() -> int:
        async with open_retention(settings) as (kept, erasure):
            days = lifetimes(settings)
            return await retention.run(kept, days, scrub=erasure.scrub, sweep=options.sweep)

    return _in_loop(work())


def _backup(options: argparse.Namespace) -> int:
    from bot.cli import backup  # noqa: PLC0415  (SQLAlchemy)

    settings, folder = _settings(log_level="WARNING"), Path(options.folder)
    if options.verify:
        return _in_loop(backup.verify(folder))
    return _in_loop(backup.run(settings.database, settings.data_dir, folder, keep=options.keep))


def _restore(options: argparse.Namespace) -> int:
    from bot.app.stores import clear_copies  # noqa: PLC0415  (everything hangs on it)
    from bot.cli import restore  # noqa: PLC0415  (SQLAlchemy)

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
    from bot.app.stores import audit_key  # noqa: PLC0415  (everything hangs on it)
    from bot.cli import audit  # noqa: PLC0415  (SQLAlchemy)

    settings = _settings()
    return _in_loop(audit.run(settings.database, key=audit_key(settings), head=options.head))


def _torture(options: argparse.Namespace) -> int:
    root = Path(__file__).resolve().parent.parent
    if not (root / "torture" / "command.py").exists():
        raise BotError("torture needs a source checkout with the development tools: python3 run --with dev")
    sys.path.insert(0, str(root))  # torture and the test servers are not part of the installed packages
    from torture.command import run  # noqa: PLC0415

    return run(options)


def _settings(*, log_level: str = "") -> Settings:
    """Read the settings, and set up logging at their level or at `log_level`."""
    from bot import logs  # noqa: PLC0415  (structlog)
    from bot.misspelt import misspelt_in_environment  # noqa: PLC0415  (difflib)
    from bot.settings import NAMES, SECRETS, Settings  # noqa: PLC0415  (pydantic)

    settings = Settings.read()
    logs.configure(settings.log_format or None, log_level or settings.log_level, settings.secrets)
    for doubt in misspelt_in_environment(NAMES, SECRETS):
        logging.getLogger("bot").warning(doubt)
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
