"""Passwords of staff: hashed with argon2id, compared in constant time.

The library's default parameters are RFC 9106's second recommendation (64 MiB, 3 passes, 4 lanes): about 50 ms
and 64 MiB per attempt.  So call them in a thread, and only a few at a time.
"""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LEAST_LENGTH = 10
"""NIST SP 800-63B requires 8 and advises against rules about the characters.  Ours is longer since these
passwords open other people's photos."""
MOST_LENGTH = 256

_hasher = PasswordHasher()
_NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$9JzedaHvS6aBT0Nug+Hz1A$hKC+h8zrRKn4UlOWEV8pkIe7rLKR6GNy4CQpmSvfzlk"
"""What the password for an unknown name is compared with, so that it takes just as long: the hash of 32
random bytes."""


def hashed(password: str) -> str:
    """The hash to store.  Blocks for about 50 ms."""
    return _hasher.hash(password)


def is_right(password: str, stored: str | None) -> bool:
    """Whether this is the account's password; False for no account (None), after the same time.  Blocks."""
    try:
        _hasher.verify(stored or _NOBODYS, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def complaint(password: str) -> str:
    """What is wrong with a new password; empty if nothing is."""
    if len(password) < LEAST_LENGTH:
        return f"a password has at least {LEAST_LENGTH} characters"
    if len(password) > MOST_LENGTH:
        return f"a password has at most {MOST_LENGTH} characters"
    return ""
