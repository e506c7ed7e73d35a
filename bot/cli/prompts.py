"""`python -m bot prompts lint` and `list`: check the templates, and name them."""

from __future__ import annotations

from bot.engines.rules import lint_rules
from prompts.house_styles import HouseStyles
from prompts.prompts import Prompts


def lint(*, company: str) -> int:
    """Print what is wrong with templates and rules, one line each; 1 if something is.

    `company` is what is said about the company: it belongs to the version.
    """
    prompts, styles = Prompts(company=company), HouseStyles()
    problems = prompts.lint() + styles.lint() + lint_rules()
    for problem in problems:
        print(problem)
    if not problems:
        versions = (prompts.version, *map(styles.version, styles.names))
        print(*(f"{version}: nothing wrong" for version in versions), sep="\n")
    return int(bool(problems))


def show(*, company: str) -> int:
    """Print every template with its version and its titles; `company` as for `lint`."""
    styles = HouseStyles()
    print(f"{Prompts(company=company).version:32} {'Support: fault diagnosis':40} 客服：故障诊断")
    for name in styles.names:
        print(f"{styles.version(name):32} {styles.title(name, 'en'):40} {styles.title(name, 'zh')}")
    return 0
