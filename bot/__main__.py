"""`python -m bot`: parse the command line, read the settings, set up logging, run.

Every import beyond the standard library stays inside the command that needs it, so that `--help`
and a wrong option answer at once.  Exit codes: 0 ok, 1 a check failed or the bot could not go on,
2 usage, 78 bad configuration.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bot import __version__
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
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except BadConfiguration as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return BAD_CONFIGURATION
    except BotError as error:
        print(f"bot: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The whole command line: `command` of what it parses is the function to call with it."""
    root = argparse.ArgumentParser(
        prog="python -m bot",
        description="A customer-service bot that understands photos in context.",
        epilog="Settings come from the environment and .env: see .env.example and docs/settings.md.",
    )
    root.add_argument("--version", action="store_true", help="print the version and exit")
    root.set_defaults(command=_run)
    commands = root.add_subparsers(metavar="COMMAND")

    run = commands.add_parser("run", help="answer customers until told to stop (the default)")
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="look at every part and name what mends it")
    check.add_argument("part", nargs="*", help="only these: redis, database, model, ... (default: all)")
    check.add_argument("--online", action="store_true", help="also ask Telegram and the model server")
    check.add_argument("--json", action="store_true", help="print JSON instead of a table")
    check.set_defaults(command=_check)

    describe = commands.add_parser("describe", help="write a text about every picture in a folder")
    describe.add_argument("folder", metavar="FOLDER", help="pictures, also in folders below it")
    describe.add_argument("--template", required=True, metavar="NAME", help="a house style: `prompts list`")
    describe.add_argument(
        "--lang", type=_languages, default=("zh", "en"), metavar="zh,en", help="default: both"
    )
    describe.add_argument("--out", required=True, metavar="FILE", help="JSON lines; an old one is continued")
    describe.add_argument("--limit", type=_count, default=0, metavar="N", help="at most so many pictures")
    describe.add_argument("--at-once", type=_count, default=8, metavar="N", help="pictures at a time (8)")
    describe.add_argument("--dry-run", action="store_true", help="say what would be done")
    describe.set_defaults(command=_describe)

    prompts = commands.add_parser("prompts", help="look at the templates that make a prompt")
    prompts_commands = prompts.add_subparsers(metavar="COMMAND", required=True)
    lint = prompts_commands.add_parser("lint", help="say what is wrong with the templates, a line each")
    lint.set_defaults(command=_lint)
    prompts_commands.add_parser("list", help="name the templates").set_defaults(command=_list)
    preview = prompts_commands.add_parser("preview", help="print the prompt that a template makes")
    preview.add_argument("template", help="`support` for customers' questions, or a style")
    preview.add_argument("picture", nargs="?", metavar="IMAGE", help="a picture to go with it")
    preview.add_argument("--text", default="", help="what the customer writes, for `support`")
    preview.add_argument("--lang", choices=("zh", "en"), help="default: by the text")
    preview.add_argument("--answer", action="store_true", help="also ask the model")
    preview.set_defaults(command=_preview)

    _add_staff(commands)
    _add_keys(commands)
    _add_records(commands)
    _add_release(commands)

    audit = commands.add_parser("verify-audit", help="prove that nobody changed what the guard said")
    audit.add_argument("--head", metavar="NUMBER:SEAL", help="the last row as an earlier run printed it")
    audit.set_defaults(command=_verify_audit)

    _add_torture(commands)
    return root


def _add_torture(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    torture = commands.add_parser("torture", help="break everything around a bot and count what it loses")
    torture.set_defaults(command=_torture)
    torture.add_argument("--quick", action="store_true", help="fewer messages and kills, several at a time")
    torture.add_argument("--scenario", action="append", default=[], metavar="NAME", help="only these")
    torture.add_argument("--list", action="store_true", help="name the scenarios")
    torture.add_argument("--command", dest="words", default="", help="run this bot in place of ours")
    torture.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="what that bot is told; see docs"
    )
    torture.add_argument("--json", metavar="FILE", help="also write the cards there")
    torture.add_argument("--keep", metavar="FOLDER", help="leave logs and databases there")
    torture.add_argument(
        "--patience", type=float, default=45.0, metavar="SECONDS", help="without an answer, then it is lost"
    )
    torture.add_argument("--jobs", type=int, default=0, help="scenarios at a time")
    torture.add_argument("--seed", type=int, default=0, help="of everything random")


def _add_staff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    staff = commands.add_parser("staff", help="who may use the console at /staff")
    staff_commands = staff.add_subparsers(metavar="COMMAND", required=True)
    for name, wants in (
        ("add", "make an account"),
        ("passwd", "set a password"),
        ("remove", "close an account"),
    ):
        one = staff_commands.add_parser(name, help=wants)
        one.add_argument("name", metavar="NAME")
        one.set_defaults(command=_staff, job=name)
        if name == "add":
            one.add_argument("--role", choices=("viewer", "agent", "admin"), default="agent")
    staff_commands.add_parser("list", help="name the accounts").set_defaults(command=_staff, job="list")


def _add_keys(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    keys = commands.add_parser("keys", help="who may use the HTTP API")
    keys_commands = keys.add_subparsers(metavar="COMMAND", required=True)
    add = keys_commands.add_parser("add", help="make a key and print it, once")
    add.add_argument("name", metavar="NAME", help="the app that it is for")
    add.add_argument("--requests-per-min", type=_limit, default=600, metavar="N", help="600; 0 is no limit")
    add.add_argument("--tokens-per-day", type=_limit, default=0, metavar="N", help="0, which is no limit")
    add.add_argument("--streams", type=_limit, default=64, metavar="N", help="requests at a time: 64")
    add.set_defaults(command=_keys, job="add")
    keys_commands.add_parser("list", help="name them, and what they used today").set_defaults(
        command=_keys, job="list"
    )
    revoke = keys_commands.add_parser("revoke", help="take one back, and end its jobs")
    revoke.add_argument("id", metavar="ID", help="as `keys list` shows it")
    revoke.set_defaults(command=_keys, job="revoke")


def _add_records(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser("export", help="write conversations as JSON lines, tables and photos")
    export.add_argument("chat", nargs="?", metavar="CHAT", help="telegram:42, web:...; default: all")
    export.add_argument("--out", required=True, metavar="FOLDER", help="an empty folder, or a file .zip")
    export.add_argument("--channel", choices=("telegram", "web"), default="", help="only this one")
    export.add_argument("--since", type=_day, metavar="DATE", help="from this day on, 2026-01-31 (UTC)")
    export.add_argument("--until", type=_day, metavar="DATE", help="up to this day, without it")
    export.add_argument("--photos", action="store_true", help="photos too, in photos.zip")
    export.add_argument("--unmasked", action="store_true", help="real ids, and words as they are kept")
    export.set_defaults(command=_export)
    forget = commands.add_parser("forget", help="erase a customer everywhere, and print a receipt")
    forget.add_argument("chat", metavar="CHAT", help="telegram:42, web:...; the console shows it")
    forget.set_defaults(command=_forget)


def _add_release(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    release = commands.add_parser(
        "release", help="try another model, template or policy on a share of the chats"
    )
    jobs = release.add_subparsers(metavar="COMMAND", required=True)
    start = jobs.add_parser("start", help="begin; it stops by itself when it is worse")
    start.add_argument("name", metavar="NAME")
    start.add_argument("--share", type=_share, default=0.1, metavar="PERCENT", help="of the chats: 10")
    start.add_argument("--model", default="", metavar="NAME", help="another model, here or behind MODEL_URL")
    start.add_argument("--model-url", type=_server, default="", metavar="URL", help="another server")
    start.add_argument("--templates", type=Path, metavar="FOLDER", help="templates that replace ours by name")
    start.add_argument("--policy", type=Path, metavar="FILE", help="a policy beside policy.yaml")
    start.set_defaults(command=_release, job="start")
    status = jobs.add_parser("status", help="both side by side")
    status.add_argument("--json", action="store_true")
    status.set_defaults(command=_release, job="status")
    share = jobs.add_parser("share", help="give the candidate another share")
    share.add_argument("share", type=_share, metavar="PERCENT")
    share.set_defaults(command=_release, job="share")
    jobs.add_parser("promote", help="let it answer every chat").set_defaults(command=_release, job="promote")
    jobs.add_parser("withdraw", help="take it back").set_defaults(command=_release, job="withdraw")


def _version() -> int:
    print(f"photo-support-bot {__version__}")
    return OK


def _run(_options: argparse.Namespace) -> int:
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


def _languages(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if not set(names) <= {"zh", "en"}:
        raise argparse.ArgumentTypeError(f"{text!r} is not zh, en or zh,en")
    return names


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _day(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day like 2026-01-31") from None


def _limit(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _share(text: str) -> float:
    percent = float(text.removesuffix("%"))
    if not 0 < percent <= 100:  # noqa: PLR2004  (of a hundred)
        raise ValueError
    return percent / 100


def _server(text: str) -> str:
    from bot.settings import openai_url  # noqa: PLC0415  (pydantic)

    try:
        return openai_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error


def _lint(_options: argparse.Namespace) -> int:
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


def _list(_options: argparse.Namespace) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
