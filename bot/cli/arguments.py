"""Arguments: every command of `python -m bot` with its options.

A new command needs three things of the same name: a function here that adds its parser, an entry in
`parser`, and a function in `COMMANDS` of `bot/__main__.py` that does the work.  Nothing heavy is imported,
so that `--help` and a wrong option are answered at once.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from bot.addresses import openai_url

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
    run = commands.add_parser("run", help="answer customers until stopped (the default)")
    run.set_defaults(command="run")


def _check(commands: Commands) -> None:
    check = commands.add_parser("check", help="check every part, and say how to fix what is wrong")
    check.set_defaults(command="check")
    check.add_argument("part", nargs="*", help="only these: redis, database, model, ... (default: all)")
    check.add_argument("--online", action="store_true", help="also contact Telegram and the model server")
    check.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _describe(commands: Commands) -> None:
    describe = commands.add_parser("describe", help="describe every picture in a folder")
    describe.set_defaults(command="describe")
    describe.add_argument(
        "folder", metavar="FOLDER", help="folder with pictures; folders inside it are included"
    )
    describe.add_argument(
        "--template", required=True, metavar="NAME", help="a house style; `prompts list` shows them"
    )
    describe.add_argument(
        "--lang", type=_languages, default=("zh", "en"), metavar="zh,en", help="languages (default: both)"
    )
    describe.add_argument(
        "--out", required=True, metavar="FILE", help="file of JSON lines; an existing one is continued"
    )
    describe.add_argument("--limit", type=_count, default=0, metavar="N", help="describe at most N pictures")
    describe.add_argument(
        "--at-once", type=_count, default=8, metavar="N", help="pictures described at a time (default: 8)"
    )
    describe.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _prompts(commands: Commands) -> None:
    prompts = commands.add_parser("prompts", help="check, list and preview the templates of prompts")
    prompts.set_defaults(command="prompts")
    jobs = prompts.add_subparsers(dest="job", metavar="COMMAND", required=True)
    jobs.add_parser("lint", help="check the templates and rules for mistakes")
    jobs.add_parser("list", help="list the templates")
    preview = jobs.add_parser("preview", help="print the prompt that a template makes")
    preview.add_argument("template", help="`support` (customers' questions), or a house style")
    preview.add_argument("picture", nargs="?", metavar="IMAGE", help="a picture to put into the prompt")
    preview.add_argument("--text", default="", help="the customer's words, for `support`")
    preview.add_argument("--lang", choices=("zh", "en"), help="default: the language of the text")
    preview.add_argument("--answer", action="store_true", help="also ask the model")


def _staff(commands: Commands) -> None:
    staff = commands.add_parser("staff", help="add, list and remove accounts of the staff console")
    staff.set_defaults(command="staff")
    jobs = staff.add_subparsers(dest="job", metavar="COMMAND", required=True)
    add = jobs.add_parser("add", help="create an account; asks for a password")
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--role",
        choices=("viewer", "agent", "admin"),
        default="agent",
        help="viewers look, agents also act, admins also export and erase (default: agent)",
    )
    jobs.add_parser("passwd", help="set a new password").add_argument("name", metavar="NAME")
    jobs.add_parser("remove", help="remove an account").add_argument("name", metavar="NAME")
    jobs.add_parser("list", help="list the accounts")


def _keys(commands: Commands) -> None:
    keys = commands.add_parser("keys", help="add, list and revoke keys of the HTTP API")
    keys.set_defaults(command="keys")
    jobs = keys.add_subparsers(dest="job", metavar="COMMAND", required=True)
    add = jobs.add_parser("add", help="create a key and print it, once")
    add.add_argument("name", metavar="NAME", help="the app that will use it")
    add.add_argument(
        "--requests-per-min", type=_limit, default=600, metavar="N", help="default: 600; 0 = no limit"
    )
    add.add_argument("--tokens-per-day", type=_limit, default=0, metavar="N", help="default: 0 = no limit")
    add.add_argument(
        "--streams", type=_limit, default=64, metavar="N", help="requests at a time (default: 64)"
    )
    jobs.add_parser("list", help="list the keys, and what each used today")
    revoke = jobs.add_parser("revoke", help="revoke a key, and end its jobs")
    revoke.add_argument("id", metavar="ID", help="the key's id, see `keys list`")


def _export(commands: Commands) -> None:
    export = commands.add_parser("export", help="write conversations as JSON lines and CSV tables")
    export.set_defaults(command="export")
    export.add_argument(
        "chat", nargs="?", metavar="CHAT", help="one chat, such as telegram:42 (default: all)"
    )
    export.add_argument(
        "--out", required=True, metavar="FOLDER", help="an empty or new folder, or a .zip file"
    )
    export.add_argument(
        "--channel", choices=("telegram", "web"), default="", help="only chats of this channel"
    )
    export.add_argument(
        "--since", type=_day, metavar="DATE", help="from this day on, such as 2026-01-31 (UTC)"
    )
    export.add_argument("--until", type=_day, metavar="DATE", help="before this day")
    export.add_argument("--photos", action="store_true", help="also the photos, in photos.zip")
    export.add_argument("--unmasked", action="store_true", help="do not mask personal data")


def _forget(commands: Commands) -> None:
    forget = commands.add_parser("forget", help="erase a customer's data everywhere, and print a receipt")
    forget.set_defaults(command="forget")
    forget.add_argument("chat", metavar="CHAT", help="the chat, such as telegram:42; the console shows it")


def _retention(commands: Commands) -> None:
    retention = commands.add_parser("retention", help="show what is older than the settings allow")
    retention.set_defaults(command="retention")
    retention.add_argument("--sweep", action="store_true", help="delete it now, as the bot does once a day")


def _backup(commands: Commands) -> None:
    backup = commands.add_parser("backup", help="back up database and photos, also while the bot is running")
    backup.set_defaults(command="backup")
    backup.add_argument(
        "folder", metavar="FOLDER", help="folder for all backups; each photo is copied there once"
    )
    backup.add_argument(
        "--keep", type=_count, default=0, metavar="N", help="afterwards delete all but the newest N backups"
    )
    backup.add_argument("--verify", action="store_true", help="make no backup, check the existing ones")


def _restore(commands: Commands) -> None:
    restore = commands.add_parser("restore", help="restore a backup, while no bot is running")
    restore.set_defaults(command="restore")
    restore.add_argument(
        "backup", metavar="BACKUP", help="a backup, or the folder of all backups for the newest"
    )
    restore.add_argument("--replace", action="store_true", help="overwrite the existing data")


def _release(commands: Commands) -> None:
    release = commands.add_parser(
        "release", help="try a new model, template or policy on a share of the chats"
    )
    release.set_defaults(command="release")
    jobs = release.add_subparsers(dest="job", metavar="COMMAND", required=True)
    start = jobs.add_parser("start", help="start a trial; it stops by itself if it is worse")
    start.add_argument("name", metavar="NAME")
    start.add_argument(
        "--share", type=_share, default=0.1, metavar="PERCENT", help="share of the chats (default: 10)"
    )
    start.add_argument(
        "--model", default="", metavar="NAME", help="another model, on this machine or at MODEL_URL"
    )
    start.add_argument("--model-url", type=_server, metavar="URL", help="another model server")
    start.add_argument(
        "--templates",
        type=Path,
        metavar="FOLDER",
        help="folder of templates that replace those of the same name",
    )
    start.add_argument("--policy", type=Path, metavar="FILE", help="a policy to use instead of policy.yaml")
    status = jobs.add_parser("status", help="compare the candidate with the current version")
    status.add_argument("--json", action="store_true")
    share = jobs.add_parser("share", help="change the candidate's share of the chats")
    share.add_argument("share", type=_share, metavar="PERCENT")
    jobs.add_parser("promote", help="let the candidate answer every chat")
    jobs.add_parser("withdraw", help="end the trial without the candidate")


def _verify_audit(commands: Commands) -> None:
    audit = commands.add_parser("verify-audit", help="prove that nobody has altered the guard's verdicts")
    audit.set_defaults(command="verify-audit")
    audit.add_argument("--head", metavar="NUMBER:SEAL", help="the last row, as an earlier run printed it")


def _torture(commands: Commands) -> None:
    torture = commands.add_parser("torture", help="break everything around a bot and count lost messages")
    torture.set_defaults(command="torture")
    torture.add_argument("--quick", action="store_true", help="fewer messages and kills, several at a time")
    torture.add_argument(
        "--scenario", action="append", default=[], metavar="NAME", help="only this scenario; may be repeated"
    )
    torture.add_argument("--list", action="store_true", help="list the scenarios")
    torture.add_argument("--command", dest="words", default="", help="command line of another bot to test")
    torture.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="environment of that bot: docs/torture.md",
    )
    torture.add_argument("--json", metavar="FILE", help="also write the results to FILE")
    torture.add_argument("--keep", metavar="FOLDER", help="keep logs and databases in FOLDER")
    torture.add_argument(
        "--patience",
        type=float,
        default=45.0,
        metavar="SECONDS",
        help="a message without an answer by then is lost (default: 45)",
    )
    torture.add_argument("--jobs", type=int, default=0, help="scenarios run at a time")
    torture.add_argument("--seed", type=int, default=0, help="seed for everything random")


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
    try:
        return openai_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
