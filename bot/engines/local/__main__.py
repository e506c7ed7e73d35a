"""The start of the model worker: `python -m bot.engines.local`, which the bot runs."""

from __future__ import annotations

import gc


def main() -> None:
    """Import the libraries, and serve."""
    gc.disable()  # a fifth of the start, for objects that the imports keep; the worker enables it
    from bot.engines.local import worker  # noqa: PLC0415  (torch and transformers)

    worker.main()


if __name__ == "__main__":
    main()
