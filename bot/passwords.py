"""Passwords of staff: hashed with argon2id, compared in a time that tells nothing.

The library's own parameters are RFC 9106's second recommendation (64 MiB, 3 passes, 4 lanes): some
50 ms and 64 MiB a try: work for a thread, and not for many at once.
"""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LEAST_LENGTH = 10
"""NIST SP 800-63B asks for 8 and against rules about what is in it; ours opens other people's photos."""
MOST_LENGTH = 256

_hasher = PasswordHasher()
_NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$9JzedaHvS6aBT0Nug+Hz1A$hKC+h8zrRKn4UlOWEV8pkIe7rLKR6GNy4CQpmSvfzlk"
"""What a wrong name is compared with, so that it takes as long as a right one: of 32 random bytes."""


def hashed(password: str) -> str:
    """For the database; blocks for some 50 ms."""
    return _hasher.hash(password)


def is_right(password: str, stored: str | None) -> bool:
    """Whether this is the password of the account; of no account (None) after the same time.  Blocks."""
    try:
        _hasher.verify(stored or _NOBODYS, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def complaint(password: str) -> str:
    """What is wrong with a new password; empty when nothing is."""
    if len(password) < LEAST_LENGTH:
        return f"a password has at least {LEAST_LENGTH} characters"
    if len(password) > MOST_LENGTH:
        return f"a password has at most {MOST_LENGTH} characters"
    return ""
