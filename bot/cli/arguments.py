"""Arguments: every command of `python -m bot` with its options.

A new command needs three things of the same name: a function here that adds its parser, an entry in
`parser`, and a function in `COMMANDS` of `bot/__main__.py` that does the work.  Only the standard library is
imported, so that `--help` and a wrong option are answered at once.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  (what `add_subparsers` returns)


def parser() -> argparse.ArgumentParser:
    """The parser.  Of its result, `command` names the command, and `job` its subcommand."""
    root = argparse.ArgumentParser(
        prog="python -m bot",
        description="A customer-service bot that understands photos in context.",
        epilog="Settings come from the environment and .env: see .env.example and docs/settings.md.",
    )
    root.add_argument("--version", action="store_true", help="print the version and exit")
    root.set_defaults(command="run")
    commands = root.add_subparsers(metavar="COMMAND")
    for add in (
        _run,
        _check,
        _describe,
        _prompts,
        _staff,
        _keys,
        _export,
        _forget,
        _retention,
        _backup,
        _restore,
        _release,
        _verify_audit,
        _torture,
    ):
        add(commands)
    return root


def _run(commands: Commands) -> None:
    run = commands.add_parser("run", help="answer customers until told to stop (the default)")
    run.set_defaults(command="run")


def _check(commands: Commands) -> None:
    check = commands.add_parser("check", help="look at every part and name what mends it")
    check.set_defaults(command="check")
    check.add_argument("part", nargs="*", help="only these: redis, database, model, ... (default: all)")
    check.add_argument("--online", action="store_true", help="also ask Telegram and the model server")
    check.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _describe(commands: Commands) -> None:
    describe = commands.add_parser("describe", help="write a text about every picture in a folder")
    describe.set_defaults(command="describe")
    describe.add_argument("folder", metavar="FOLDER", help="pictures, also in folders below it")
    describe.add_argument("--template", required=True, metavar="NAME", help="a house style: `prompts list`")
    describe.add_argument(
        "--lang", type=_languages, default=("zh", "en"), metavar="zh,en", help="default: both"
    )
    describe.add_argument("--out", required=True, metavar="FILE", help="JSON lines; an old one is continued")
    describe.add_argument("--limit", type=_count, default=0, metavar="N", help="at most so many pictures")
    describe.add_argument("--at-once", type=_count, default=8, metavar="N", help="pictures at a time (8)")
    describe.add_argument("--dry-run", action="store_true", help="say what would be done")


def _prompts(commands: Commands) -> None:
    prompts = commands.add_parser("prompts", help="look at the templates that make a prompt")
    prompts.set_defaults(command="prompts")
    jobs = prompts.add_subparsers(dest="job", metavar="COMMAND", required=True)
    jobs.add_parser("lint", help="say what is wrong with the templates and rules, a line each")
    jobs.add_parser("list", help="name the templates")
    preview = jobs.add_parser("preview", help="print the prompt that a template makes")
    preview.add_argument("template", help="`support` for customers' questions, or a style")
    preview.add_argument("picture", nargs="?", metavar="IMAGE", help="a picture to go with it")
    preview.add_argument("--text", default="", help="what the customer writes, for `support`")
    preview.add_argument("--lang", choices=("zh", "en"), help="default: by the text")
    preview.add_argument("--answer", action="store_true", help="also ask the model")


def _staff(commands: Commands) -> None:
    staff = commands.add_parser("staff", help="who may use the console at /staff")
    staff.set_defaults(command="staff")
    jobs = staff.add_subparsers(dest="job", metavar="COMMAND", required=True)
    add = jobs.add_parser("add", help="make an account")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", choices=("viewer", "agent", "admin"), default="agent")
    jobs.add_parser("passwd", help="set a password").add_argument("name", metavar="NAME")
    jobs.add_parser("remove", help="close an account").add_argument("name", metavar="NAME")
    jobs.add_parser("list", help="name the accounts")


def _keys(commands: Commands) -> None:
    keys = commands.add_parser("keys", help="who may use the HTTP API")
    keys.set_defaults(command="keys")
    jobs = keys.add_subparsers(dest="job", metavar="COMMAND", required=True)
    add = jobs.add_parser("add", help="make a key and print it, once")
    add.add_argument("name", metavar="NAME", help="the app that it is for")
    add.add_argument("--requests-per-min", type=_limit, default=600, metavar="N", help="600; 0 is no limit")
    add.add_argument("--tokens-per-day", type=_limit, default=0, metavar="N", help="0, which is no limit")
    add.add_argument("--streams", type=_limit, default=64, metavar="N", help="requests at a time: 64")
    jobs.add_parser("list", help="name them, and what they used today")
    revoke = jobs.add_parser("revoke", help="take one back, and end its jobs")
    revoke.add_argument("id", metavar="ID", help="as `keys list` shows it")


def _export(commands: Commands) -> None:
    export = commands.add_parser("export", help="write conversations as JSON lines, tables and photos")
    export.set_defaults(command="export")
    export.add_argument("chat", nargs="?", metavar="CHAT", help="telegram:42, web:...; default: all")
    export.add_argument("--out", required=True, metavar="FOLDER", help="an empty folder, or a file .zip")
    export.add_argument("--channel", choices=("telegram", "web"), default="", help="only this one")
    export.add_argument("--since", type=_day, metavar="DATE", help="from this day on, 2026-01-31 (UTC)")
    export.add_argument("--until", type=_day, metavar="DATE", help="up to this day, without it")
    export.add_argument("--photos", action="store_true", help="photos too, in photos.zip")
    export.add_argument("--unmasked", action="store_true", help="real ids, and words as they are kept")


def _forget(commands: Commands) -> None:
    forget = commands.add_parser("forget", help="erase a customer everywhere, and print a receipt")
    forget.set_defaults(command="forget")
    forget.add_argument("chat", metavar="CHAT", help="telegram:42, web:...; the console shows it")


def _retention(commands: Commands) -> None:
    retention = commands.add_parser("retention", help="say what is too old to be kept, by the settings")
    retention.set_defaults(command="retention")
    retention.add_argument("--sweep", action="store_true", help="let it go now, as the bot does every day")


def _backup(commands: Commands) -> None:
    backup = commands.add_parser("backup", help="copy database and photos, also while the bot is at work")
    backup.set_defaults(command="backup")
    backup.add_argument("folder", metavar="FOLDER", help="of all backups; photos are copied into it once")
    backup.add_argument("--keep", type=_count, default=0, metavar="N", help="delete all but the newest N")
    backup.add_argument("--verify", action="store_true", help="make none, read those that are there")


def _restore(commands: Commands) -> None:
    restore = commands.add_parser("restore", help="put a backup in the place of what is there")
    restore.set_defaults(command="restore")
    restore.add_argument("backup", metavar="BACKUP", help="one of a FOLDER, or FOLDER for its newest")
    restore.add_argument("--replace", action="store_true", help="give up what is there now")


def _release(commands: Commands) -> None:
    release = commands.add_parser(
        "release", help="try another model, template or policy on a share of the chats"
    )
    release.set_defaults(command="release")
    jobs = release.add_subparsers(dest="job", metavar="COMMAND", required=True)
    start = jobs.add_parser("start", help="begin; it stops by itself when it is worse")
    start.add_argument("name", metavar="NAME")
    start.add_argument("--share", type=_share, default=0.1, metavar="PERCENT", help="of the chats: 10")
    start.add_argument("--model", default="", metavar="NAME", help="another model, here or behind MODEL_URL")
    start.add_argument("--model-url", type=_server, metavar="URL", help="another server")
    start.add_argument("--templates", type=Path, metavar="FOLDER", help="templates that replace ours by name")
    start.add_argument("--policy", type=Path, metavar="FILE", help="a policy beside policy.yaml")
    status = jobs.add_parser("status", help="both side by side")
    status.add_argument("--json", action="store_true")
    share = jobs.add_parser("share", help="give the candidate another share")
    share.add_argument("share", type=_share, metavar="PERCENT")
    jobs.add_parser("promote", help="let it answer every chat")
    jobs.add_parser("withdraw", help="take it back")


def _verify_audit(commands: Commands) -> None:
    audit = commands.add_parser("verify-audit", help="prove that nobody changed what the guard said")
    audit.set_defaults(command="verify-audit")
    audit.add_argument("--head", metavar="NUMBER:SEAL", help="the last row as an earlier run printed it")


def _torture(commands: Commands) -> None:
    torture = commands.add_parser("torture", help="break everything around a bot and count what it loses")
    torture.set_defaults(command="torture")
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
