"""Misspelt settings: names in the environment that are nearly ours.  Those in `.env`: `env_file`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Container, Sequence

from bot.secret_files import SUFFIX

_VERY_NEAR = 0.9
"""How alike two names are by difflib's measure; one wrong letter in ten."""


def misspelt_in_environment(names: Sequence[str], secrets: Container[str]) -> list[str]:
    """Names in the environment that are very near to one of our `names`, a sentence each.

    These are doubts and no errors, since the environment is shared with other programs.
    """
    doubts = []
    for name in map(str.upper, os.environ):
        near = difflib.get_close_matches(name, names, n=1, cutoff=_VERY_NEAR)
        is_known = name in names or name.removesuffix(SUFFIX) in secrets
        if near and not is_known and not name.startswith("OTEL_"):  # OpenTelemetry has many alike
            doubts.append(f"{name} in the environment is no setting; did you mean {near[0]}?")
    return doubts
